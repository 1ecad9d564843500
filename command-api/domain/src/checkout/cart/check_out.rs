//! A cart becomes an order.

use cartwright_events::{CartId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::price::Price;

/// Make an order of a cart. A cart that is one already answers with its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckOut {
    /// The cart.
    pub cart_id: CartId,
    /// The total that the shopper agreed to: with any other, there is no order.
    #[serde(default)]
    pub expected_total: Option<Price>,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}
