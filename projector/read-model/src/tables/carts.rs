//! Carts by id.

use cartwright_events::Stream;

use crate::schema::{Column, Order, Projection, Store, Table};

/// A cart as it is now.
pub static CARTS: Table = Table {
    name: "carts",
    partition: &[Column::text("cart_id")],
    clustering: &[],
    cells: &[
        Column::text("customer_id"),
        Column::text("currency"),
        Column::text("ship_to_country"),
        Column::text("external_reference"),
        Column::text("status"),
        Column::text("order_id"),
        Column::int("total_minor"),
        Column::int("version"),
        Column::time("created_at"),
        Column::time("updated_at"),
    ],
    indexes: &[],
};

/// The lines that a cart holds now.
pub static CART_LINES: Table = Table {
    name: "cart_lines",
    partition: &[Column::text("cart_id")],
    clustering: &[(Column::int("line"), Order::Ascending)],
    cells: &[
        Column::text("sku"),
        Column::text("name"),
        Column::int("quantity"),
        Column::int("unit_price_minor"),
        Column::text("price_source"),
        Column::int("line_total_minor"),
    ],
    indexes: &[],
};

/// Folds the cart stream.
pub static PROJECTION: Projection = Projection {
    name: "carts",
    version: 1,
    fold_version: 1,
    store: Store::Cassandra,
    streams: &[Stream::Cart],
    tables: &[&CARTS, &CART_LINES],
    differs: &[],
};
