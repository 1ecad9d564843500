//! A product's price changes.

use cartwright_events::Sku;
use serde::{Deserialize, Serialize};

use crate::price::Price;

/// Set the price of one unit. The price that it already has is accepted and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePrice {
    /// The product.
    pub sku: Sku,
    /// The new price, above zero, in the product's currency.
    pub price: Price,
}
