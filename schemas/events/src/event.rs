//! The event itself: whose it is, when it happened, what happened; and its envelope in the log.

use serde::{Deserialize, Serialize};

use crate::cart::CartEvent;
use crate::catalog::ProductEvent;
use crate::inventory::StockEvent;
use crate::order::OrderEvent;
use crate::streams::Stream;
use crate::types::Timestamp;
use crate::wire::{DecodeError, Wire};

/// What happened, on any of the public streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventBody {
    /// On `catalog.product.events.v1`.
    Product(ProductEvent),
    /// On `inventory.stock.events.v1`.
    Stock(StockEvent),
    /// On `checkout.cart.events.v1`.
    Cart(CartEvent),
    /// On `checkout.order.events.v1`.
    Order(OrderEvent),
}

impl EventBody {
    /// The stream that it belongs to.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        match self {
            EventBody::Product(_) => Stream::Product,
            EventBody::Stock(_) => Stream::Stock,
            EventBody::Cart(_) => Stream::Cart,
            EventBody::Order(_) => Stream::Order,
        }
    }

    /// The type's name, for example `OrderCreated`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            EventBody::Product(event) => event.type_name(),
            EventBody::Stock(event) => event.type_name(),
            EventBody::Cart(event) => event.type_name(),
            EventBody::Order(event) => event.type_name(),
        }
    }
}

macro_rules! from_event {
    ($($variant:ident($event:ty)),*) => {$(
        impl From<$event> for EventBody {
            fn from(event: $event) -> Self { EventBody::$variant(event) }
        }
    )*};
}
from_event!(
    Product(ProductEvent),
    Stock(StockEvent),
    Cart(CartEvent),
    Order(OrderEvent)
);

/// An event: a fact about one aggregate. This is the record's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The aggregate's id: the record's key (SKU, cart id or order id).
    pub aggregate_id: String,
    /// The aggregate's version after it, dense from 1.
    pub version: u64,
    /// Business time.
    pub occurred_at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

impl Event {
    /// The Avro body of the stream's flat record (without the wire format's schema id).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.encode_into(&mut out);
        out
    }

    /// Appends what [`Event::encode`] gives.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.aggregate_id.encode(out);
        self.version.encode(out);
        self.occurred_at.encode(out);
        match &self.body {
            EventBody::Product(event) => event.encode(out),
            EventBody::Stock(event) => event.encode(out),
            EventBody::Cart(event) => event.encode(out),
            EventBody::Order(event) => event.encode(out),
        }
    }

    /// Reads the Avro body of `stream`'s flat record, written with the current schema.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::NoBranch`] means a newer writer, and must stop the reader.
    pub fn decode(stream: Stream, mut input: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut input;
        let aggregate_id = String::decode(input)?;
        let version = u64::decode(input)?;
        let occurred_at = Timestamp::decode(input)?;
        let body = match stream {
            Stream::Product => EventBody::Product(Wire::decode(input)?),
            Stream::Stock => EventBody::Stock(Wire::decode(input)?),
            Stream::Cart => EventBody::Cart(Wire::decode(input)?),
            Stream::Order => EventBody::Order(Wire::decode(input)?),
        };
        match input.len() {
            0 => Ok(Event {
                aggregate_id,
                version,
                occurred_at,
                body,
            }),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}
