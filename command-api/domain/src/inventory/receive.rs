//! Goods come in.

use cartwright_events::{Reference, Sku};
use serde::{Deserialize, Serialize};

/// Book goods that came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveStock {
    /// What came in.
    pub sku: Sku,
    /// Units; above zero.
    pub quantity: i64,
    /// The delivery's reference, remembered for ever among the SKU's receipts: with it a retry is
    /// safe for ever, without it every call is a delivery of its own.
    #[serde(default)]
    pub reference: Option<Reference>,
}
