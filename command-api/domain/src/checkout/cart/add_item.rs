//! An item is put into a cart.

use cartwright_events::{CartId, Sku};
use serde::{Deserialize, Serialize};

use crate::price::Price;

/// An item to be put into a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// What.
    pub sku: Sku,
    /// Units: 1 to `max_line_quantity`.
    pub quantity: i64,
    /// The unit price that the shopper saw: if the catalog's is another, nothing is added.
    #[serde(default)]
    pub expected_price: Option<Price>,
    /// The unit price to charge instead of the catalog's; needs `allow_quoted_prices`.
    #[serde(default)]
    pub quoted_price: Option<Price>,
}

/// Put an item into a cart. It joins the line that has the same SKU, unit price and price source, or
/// becomes a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddItem {
    /// The cart.
    pub cart_id: CartId,
    /// The item.
    pub item: NewItem,
}
