//! Sales reports.

use cartwright_read_model::postgres;
use serde::Serialize;
use utoipa::ToSchema;

/// A page of a sales report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SalesReport {
    /// Currency of all amounts; null when nothing was ever sold and none was asked for.
    pub currency: Option<String>,
    /// Rows, by key.
    pub rows: Vec<SalesRow>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A row of a sales report. A sale is an order that was paid in full; it counts on the day it was
/// made, refunds and returns on their own day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SalesRow {
    /// The day (`2011-01-31`), the country (empty where an order has none) or the SKU.
    pub key: String,
    /// Orders; by product: orders with a line of it.
    pub orders: i64,
    /// Units sold.
    pub units: i64,
    /// Units returned.
    pub returned_units: i64,
    /// What order lines were charged.
    pub gross_minor: i64,
    /// What was paid back.
    pub refunded_minor: i64,
    /// Gross less refunded.
    pub net_minor: i64,
    /// Of `orders`, those that have left in full. From version 2 of the view on; absent where an older
    /// one speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders_shipped: Option<i64>,
}

impl From<postgres::SalesRow> for SalesRow {
    fn from(row: postgres::SalesRow) -> Self {
        Self {
            key: row.key,
            orders: row.orders,
            units: row.units,
            returned_units: row.returned_units,
            gross_minor: row.gross_minor,
            refunded_minor: row.refunded_minor,
            net_minor: row.net_minor,
            orders_shipped: row.orders_shipped,
        }
    }
}
