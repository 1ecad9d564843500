//! The books are corrected.

use cartwright_events::{Reference, Sku};
use serde::{Deserialize, Serialize};

/// Correct the books to what a count found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    /// What was counted.
    pub sku: Sku,
    /// Units to add or (negative) to take off; not zero. On hand cannot go below zero.
    pub delta: i64,
    /// Why, in the shop's words: 1 to 200 characters, not blank.
    pub reason: String,
    /// The correction's reference, remembered for ever among the SKU's adjustments.
    #[serde(default)]
    pub reference: Option<Reference>,
}
