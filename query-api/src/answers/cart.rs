//! Carts.

use cartwright_events::Timestamp;
use cartwright_read_model::rows::{CartLineRow, CartView};
use serde::Serialize;
use utoipa::ToSchema;

/// A cart as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cart {
    /// The cart.
    pub cart_id: String,
    /// Who shops; null for a guest.
    pub customer_id: Option<String>,
    /// Currency of all prices.
    pub currency: String,
    /// Where it will ship to.
    pub ship_to_country: Option<String>,
    /// The shop's own number.
    pub external_reference: Option<String>,
    /// `open`, `checked_out` or `abandoned`.
    pub status: String,
    /// The order that it became.
    pub order_id: Option<String>,
    /// Price of the cart.
    pub total_minor: i64,
    /// What is in it, by line number.
    pub lines: Vec<CartLine>,
    /// The aggregate's version.
    pub version: u64,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A line of a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CartLine {
    /// The line's number.
    pub line: u32,
    /// What.
    pub sku: String,
    /// The product's name as it was when it was added.
    pub name: String,
    /// Units.
    pub quantity: i64,
    /// Price of one unit.
    pub unit_price_minor: i64,
    /// Where the price comes from: `catalog` or `quoted`.
    pub price_source: String,
    /// Price of the line.
    pub line_total_minor: i64,
}

impl From<CartView> for Cart {
    fn from(CartView { cart, lines }: CartView) -> Self {
        Self {
            cart_id: cart.cart_id,
            customer_id: cart.customer_id,
            currency: cart.currency,
            ship_to_country: cart.ship_to_country,
            external_reference: cart.external_reference,
            status: cart.status,
            order_id: cart.order_id,
            total_minor: cart.total_minor,
            lines: lines.into_iter().map(CartLine::from).collect(),
            version: cart.version,
            created_at: cart.created_at,
            updated_at: cart.updated_at,
        }
    }
}

impl From<CartLineRow> for CartLine {
    fn from(row: CartLineRow) -> Self {
        Self {
            line: row.line,
            sku: row.sku,
            name: row.name,
            quantity: row.quantity,
            unit_price_minor: row.unit_price_minor,
            price_source: row.price_source,
            line_total_minor: row.line_total_minor,
        }
    }
}
