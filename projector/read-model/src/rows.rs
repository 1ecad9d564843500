//! Typed rows: what query-api answers with.
//!
//! Amounts are in minor units of the currency beside them, times are RFC 3339 in JSON.

use cartwright_events::Timestamp;
use serde::Serialize;

use crate::row::typed_row;

mod order;

pub use order::{
    CustomerOrderRow, OrderRow, OrderStatus, OrderView, PaymentRow, RefundDueRow, ReturnRow,
    ShipmentRow, stage,
};

typed_row! {
    /// A product by SKU.
    pub struct ProductRow of PRODUCTS {
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
        /// The aggregate's version that the row shows.
        pub version: u64,
        /// When it entered the catalog.
        pub created_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
        /// Seq of the event that last wrote to the row.
        pub row_seq: u64,
    }
}

typed_row! {
    /// A product as lists and search find it.
    pub struct CatalogRow of CATALOG_PRODUCTS {
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
        /// The aggregate's version that the row shows.
        pub version: u64,
        /// When it entered the catalog.
        pub created_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
        /// Seq of the event that last wrote to the row.
        pub row_seq: u64,
    }
}

typed_row! {
    /// The stock of a SKU.
    pub struct StockRow of STOCK {
        /// Stock keeping unit.
        pub sku: String,
        /// Units that the books say lie in the warehouse.
        pub on_hand: i64,
        /// Units held for orders.
        pub reserved: i64,
        /// What can be sold: on_hand − reserved, never below 0.
        pub available: i64,
        /// Units held beyond what is on hand, never below 0.
        pub shortfall: i64,
        /// The aggregate's version that the row shows.
        pub version: u64,
        /// When it last changed.
        pub updated_at: Timestamp,
        /// Seq of the event that last wrote to the row.
        pub row_seq: u64,
    }
}

typed_row! {
    /// A cart without its lines.
    pub struct CartRow of CARTS {
        /// The cart.
        pub cart_id: String,
        /// Who shops; none for a guest.
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
        /// The aggregate's version that the row shows.
        pub version: u64,
        /// When it was opened.
        pub created_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
        /// Seq of the event that last wrote to the row.
        pub row_seq: u64,
    }
}

typed_row! {
    /// A line of a cart.
    pub struct CartLineRow of CART_LINES {
        /// The line's number.
        pub line: u32,
        /// What.
        pub sku: String,
        /// The product's name as it was.
        pub name: String,
        /// Units.
        pub quantity: i64,
        /// Price of one unit.
        pub unit_price_minor: i64,
        /// `catalog` or `quoted`.
        pub price_source: String,
        /// Price of the line.
        pub line_total_minor: i64,
    }
}

/// Words of [`CartRow::status`].
pub mod cart_status {
    /// Takes changes.
    pub const OPEN: &str = "open";
    /// Became an order.
    pub const CHECKED_OUT: &str = "checked_out";
    /// Ended after its idle time.
    pub const ABANDONED: &str = "abandoned";
}

typed_row! {
    /// An event of a cart or an order.
    pub struct TimelineRow of TIMELINE {
        /// `cart` or `order`.
        pub stream: String,
        /// Number in its topic-partition.
        pub seq: u64,
        /// The aggregate's version after it.
        pub version: u64,
        /// The event's type.
        pub r#type: String,
        /// Business time.
        pub occurred_at: Timestamp,
        /// The log's time.
        pub recorded_at: Timestamp,
        /// The command that caused it.
        pub command_id: String,
        /// The request that everything in the chain goes back to.
        pub correlation_id: String,
        /// What happened; long lists are replaced by their length.
        pub summary: serde_json::Value,
    }
}

typed_row! {
    /// An event about an order, in whatever context.
    pub struct CausalRow of CAUSAL_EVENTS {
        /// `cart`, `order` or `stock`.
        pub stream: String,
        /// The partition of its topic.
        pub log_partition: u32,
        /// Number in its topic-partition.
        pub seq: u64,
        /// Its offset.
        pub log_offset: u64,
        /// The aggregate: the order, its cart or a SKU.
        pub subject: String,
        /// The aggregate's version after it.
        pub version: u64,
        /// The event's type.
        pub r#type: String,
        /// Business time.
        pub occurred_at: Timestamp,
        /// The log's time.
        pub recorded_at: Timestamp,
        /// The command, message or timer that caused it.
        pub command_id: String,
        /// The request that everything in the chain goes back to.
        pub correlation_id: String,
        /// The epoch of the shard that wrote it.
        pub writer_epoch: u64,
        /// What happened; long lists are replaced by their length.
        pub summary: serde_json::Value,
    }
}

/// A cart with its lines, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CartView {
    /// The cart.
    #[serde(flatten)]
    pub cart: CartRow,
    /// Its lines.
    pub lines: Vec<CartLineRow>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, TypedRow};
    use crate::value::Value;

    fn columns_exist<T: TypedRow>() {
        for name in T::COLUMNS {
            let name = name.trim_start_matches("r#");
            let found = T::TABLE.columns().any(|column| column.name == name);
            assert!(found, "{} has no column {name}", T::TABLE.name);
        }
    }

    #[test]
    fn typed_rows_read_columns_that_their_table_has() {
        columns_exist::<ProductRow>();
        columns_exist::<CatalogRow>();
        columns_exist::<StockRow>();
        columns_exist::<CartRow>();
        columns_exist::<CartLineRow>();
        columns_exist::<OrderRow>();
        columns_exist::<CustomerOrderRow>();
        columns_exist::<PaymentRow>();
        columns_exist::<ShipmentRow>();
        columns_exist::<ReturnRow>();
        columns_exist::<RefundDueRow>();
        columns_exist::<TimelineRow>();
        columns_exist::<CausalRow>();
    }

    #[test]
    fn a_row_without_a_needed_cell_is_no_typed_row() {
        let mut row = Row {
            table: StockRow::TABLE,
            values: vec![
                "cup".into(),
                Value::Int(5),
                Value::Int(2),
                Value::Int(3),
                Value::Int(0),
                Value::Int(7),
                Value::Time(Timestamp::EPOCH),
                Value::Int(9),
            ],
        };
        let typed = StockRow::from_row(&row).unwrap();
        assert_eq!((typed.available, typed.version, typed.row_seq), (3, 7, 9));
        row.values[3] = Value::Unset;
        assert_eq!(StockRow::from_row(&row), None);
    }
}
