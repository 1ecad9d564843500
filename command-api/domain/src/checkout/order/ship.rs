//! Goods leave for the customer.

use cartwright_events::{OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};

/// Units of an order's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineQuantity {
    /// The line.
    pub line: u32,
    /// Units; above zero.
    pub quantity: i64,
}

/// Record a shipment of a paid order, in full or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// The order.
    pub order_id: OrderId,
    /// The shipment's reference, remembered for ever.
    pub shipment_id: Reference,
    /// What left, each line once; `None`: everything that had not left yet.
    #[serde(default)]
    pub lines: Option<Vec<LineQuantity>>,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}
