//! A line's number of units changes.

use cartwright_events::CartId;
use serde::{Deserialize, Serialize};

/// Set a line's number of units. The number that it already has is accepted and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeItem {
    /// The cart.
    pub cart_id: CartId,
    /// The line.
    pub line: u32,
    /// Units from now on: 1 to `max_line_quantity`.
    pub quantity: i64,
}
