//! The catalog, for lists and search.

use cartwright_events::Stream;

use crate::schema::{Column, Index, Projection, Store, Table};

/// A product as it is now, with indexes over its words and letters.
pub static CATALOG_PRODUCTS: Table = Table {
    name: "catalog_products",
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
    indexes: &[
        Index {
            suffix: "words",
            definition: "USING gin (to_tsvector('simple', coalesce(name, '') || ' ' || coalesce(description, '') || ' ' || sku))",
        },
        Index {
            suffix: "letters",
            definition: "USING gin (lower(coalesce(name, '') || ' ' || sku) gin_trgm_ops)",
        },
    ],
};

/// Folds the product stream.
pub static PROJECTION: Projection = Projection {
    name: "catalog",
    version: 1,
    fold_version: 1,
    store: Store::Postgres,
    streams: &[Stream::Product],
    tables: &[&CATALOG_PRODUCTS],
    differs: &[],
};
