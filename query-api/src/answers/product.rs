//! Products and their availability.

use cartwright_events::Timestamp;
use cartwright_read_model::postgres::SearchHit;
use cartwright_read_model::rows::{CatalogRow, ProductRow, StockRow};
use serde::Serialize;
use utoipa::ToSchema;

/// A product as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Product {
    /// Stock keeping unit.
    pub sku: String,
    /// Name shown to shoppers.
    pub name: String,
    /// Longer text.
    pub description: Option<String>,
    /// Price of one unit.
    pub price_minor: i64,
    /// Its currency.
    pub currency: String,
    /// Whether it is no longer sold.
    pub retired: bool,
    /// The aggregate's version.
    pub version: u64,
    /// When it entered the catalog.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<ProductRow> for Product {
    fn from(row: ProductRow) -> Self {
        Self {
            sku: row.sku,
            name: row.name,
            description: row.description,
            price_minor: row.price_minor,
            currency: row.currency,
            retired: row.retired,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<CatalogRow> for Product {
    fn from(row: CatalogRow) -> Self {
        Self {
            sku: row.sku,
            name: row.name,
            description: row.description,
            price_minor: row.price_minor,
            currency: row.currency,
            retired: row.retired,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A page of products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Products {
    /// Products, by SKU.
    pub items: Vec<Product>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A product that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FoundProduct {
    /// The product.
    #[serde(flatten)]
    pub product: Product,
    /// How well it fits, larger is better; only to be compared within one search.
    pub score: i64,
}

impl From<SearchHit> for FoundProduct {
    fn from(hit: SearchHit) -> Self {
        Self {
            product: hit.product.into(),
            score: hit.score,
        }
    }
}

/// A page of what a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FoundProducts {
    /// Products, best first.
    pub items: Vec<FoundProduct>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// How much of a product can be sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Availability {
    /// Stock keeping unit.
    pub sku: String,
    /// Units that the books say lie in the warehouse.
    pub on_hand: i64,
    /// Units held for orders.
    pub reserved: i64,
    /// What can be sold, never below 0.
    pub available: i64,
    /// Units held beyond what is on hand, never below 0.
    pub shortfall: i64,
    /// The aggregate's version; 0 when nothing was ever received.
    pub version: u64,
    /// When it last changed; null when nothing was ever received.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub updated_at: Option<Timestamp>,
}

impl Availability {
    /// Of a product that nothing was ever received of.
    #[must_use]
    pub fn none(sku: String) -> Self {
        Self {
            sku,
            on_hand: 0,
            reserved: 0,
            available: 0,
            shortfall: 0,
            version: 0,
            updated_at: None,
        }
    }
}

impl From<StockRow> for Availability {
    fn from(row: StockRow) -> Self {
        Self {
            sku: row.sku,
            on_hand: row.on_hand,
            reserved: row.reserved,
            available: row.available,
            shortfall: row.shortfall,
            version: row.version,
            updated_at: Some(row.updated_at),
        }
    }
}
