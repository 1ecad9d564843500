//! Goods come back.

use cartwright_events::{OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};

use super::ship::LineQuantity;

/// Record goods that came back: what they were charged is owed to the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// The order.
    pub order_id: OrderId,
    /// The return's reference, remembered for ever.
    pub return_id: Reference,
    /// What came back, each line once; never more than was shipped.
    pub lines: Vec<LineQuantity>,
    /// Whether the goods go back on the shelf.
    pub restock: bool,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}
