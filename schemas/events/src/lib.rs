//! The public contract of Cartwright: event types, their envelope and their Avro form.
//!
//! The schemas themselves are in `schemas/avro`; this crate holds the types that go with them, a
//! codec written to them, the registry's client and the position token.

pub mod cart;
pub mod catalog;
pub mod codec;
pub mod envelope;
pub mod event;
pub mod framing;
pub mod inventory;
pub mod journal;
pub mod messages;
pub mod order;
pub mod partition;
pub mod position;
pub mod registry;
pub mod schema_book;
pub mod streams;
pub mod types;
mod upcast;
pub mod wire;

#[cfg(test)]
mod tests;

pub use codec::{Codec, CodecError};
pub use envelope::Envelope;
pub use event::{Event, EventBody};
pub use messages::Message;
pub use position::PositionToken;
pub use schema_book::SchemaTopic;
pub use streams::{Context, NODES_TOPIC, OWNERS_TOPIC, Stream};
pub use types::{CartId, Country, Currency, CustomerId, OrderId, Reference, Sku, Timestamp};
