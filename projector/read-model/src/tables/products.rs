//! Products by SKU.

use cartwright_events::Stream;

use crate::schema::{Column, Projection, Store, Table};

/// A product as it is now.
pub static PRODUCTS: Table = Table {
    name: "products",
    partition: &[Column::text("sku")],
    clustering: &[],
    cells: &[
        Column::text("name"),
        Column::text("description"),
        Column::int("price_minor"),
        Column::text("currency"),
        Column::flag("retired"),
        Column::int("version"),
        Column::time("created_at"),
        Column::time("updated_at"),
    ],
    indexes: &[],
};

/// Folds the product stream.
pub static PROJECTION: Projection = Projection {
    name: "products",
    version: 1,
    fold_version: 1,
    store: Store::Cassandra,
    streams: &[Stream::Product],
    tables: &[&PRODUCTS],
    differs: &[],
};
