//! A product enters the catalog.

use cartwright_events::Sku;
use serde::{Deserialize, Serialize};

use crate::price::Price;

/// Enter a product into the catalog. Again with the same content: a repeat; with other content:
/// `product_exists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateProduct {
    /// The product.
    pub sku: Sku,
    /// Name shown to shoppers: 1 to 500 characters, not blank.
    pub name: String,
    /// Longer text shown to shoppers: up to 5,000 characters.
    #[serde(default)]
    pub description: Option<String>,
    /// Price of one unit, above zero. Its currency is the product's for life.
    pub price: Price,
}
