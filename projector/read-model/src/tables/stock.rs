//! Availability by SKU.

use cartwright_events::Stream;

use crate::schema::{Column, Projection, Store, Table};

/// The stock of a SKU as it is now.
pub static STOCK: Table = Table {
    name: "stock",
    partition: &[Column::text("sku")],
    clustering: &[],
    cells: &[
        Column::int("on_hand"),
        Column::int("reserved"),
        Column::int("available"),
        Column::int("shortfall"),
        Column::int("version"),
        Column::time("updated_at"),
    ],
    indexes: &[],
};

/// Folds the stock stream.
pub static PROJECTION: Projection = Projection {
    name: "stock",
    version: 1,
    fold_version: 1,
    store: Store::Cassandra,
    streams: &[Stream::Stock],
    tables: &[&STOCK],
    differs: &[],
};
