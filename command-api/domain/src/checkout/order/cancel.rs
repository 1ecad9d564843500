//! An order is called off.

use cartwright_events::{OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};

/// Call off an order of which nothing was shipped. A second time is a repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// The order.
    pub order_id: OrderId,
    /// The caller's reference.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// The caller's words: up to 500 characters.
    #[serde(default)]
    pub note: Option<String>,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}
