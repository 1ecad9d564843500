//! What happened about an order in every context, with what caused it and where it stands in the log.

use cartwright_events::Stream;

use crate::schema::{Column, Order, Projection, Store, Table};

/// One event of a cart, of its order, or of a stock that was held for it.
pub static CAUSAL_EVENTS: Table = Table {
    name: "causal_events",
    partition: &[Column::text("order_id")],
    clustering: &[
        (Column::text("stream"), Order::Ascending),
        (Column::int("log_partition"), Order::Ascending),
        (Column::int("seq"), Order::Ascending),
    ],
    cells: &[
        Column::int("log_offset"),
        Column::text("subject"),
        Column::int("version"),
        Column::text("type"),
        Column::time("occurred_at"),
        Column::time("recorded_at"),
        Column::text("command_id"),
        Column::text("correlation_id"),
        Column::int("writer_epoch"),
        Column::json("summary"),
    ],
    indexes: &[],
};

/// Folds every stream in which an order is named.
pub static PROJECTION: Projection = Projection {
    name: "causal",
    version: 1,
    fold_version: 1,
    store: Store::Postgres,
    streams: &[Stream::Cart, Stream::Order, Stream::Stock],
    tables: &[&CAUSAL_EVENTS],
    differs: &[],
};
