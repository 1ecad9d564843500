//! A line is taken out of a cart.

use cartwright_events::CartId;
use serde::{Deserialize, Serialize};

/// Take a line out of a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveItem {
    /// The cart.
    pub cart_id: CartId,
    /// The line.
    pub line: u32,
}
