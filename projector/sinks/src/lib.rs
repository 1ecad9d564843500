//! Sinks: where row operations and positions are applied.
//!
//! [`Sink`] is the seam; its documentation is the contract, and one suite ([`contract`]) holds every
//! implementation to it:
//!
//! * [`PostgresSink`]: rows and position in one transaction, guarded by the expected position.
//! * [`CassandraSink`]: idempotent writes with a time per cell, then the position.
//! * [`MemorySink`]: either, in memory, with scripted faults.

mod cassandra;
pub mod contract;
mod control;
mod memory;
mod merge;
mod postgres;
mod sink;
mod written;

pub use cassandra::{CassandraSink, CassandraStore};
pub use memory::{MemoryFault, MemorySink, MemoryStore, Semantics};
pub use postgres::PostgresSink;
pub use sink::{Batch, Begun, Loaded, SeqOp, Sink, SinkError, Unparked};
