//! What happened to a cart and to the order it became, event by event.

use cartwright_events::Stream;

use crate::schema::{Column, Order, Projection, Store, Table};

/// One event. A cart and its order share their id; by stream (`cart`, `order`) and seq the cart's events
/// come first, then the order's. So things happened, but for money that came for the order before there
/// was a cart.
pub static TIMELINE: Table = Table {
    name: "timeline",
    partition: &[Column::text("aggregate_id")],
    clustering: &[
        (Column::text("stream"), Order::Ascending),
        (Column::int("seq"), Order::Ascending),
    ],
    cells: &[
        Column::int("version"),
        Column::text("type"),
        Column::time("occurred_at"),
        Column::time("recorded_at"),
        Column::text("command_id"),
        Column::text("correlation_id"),
        Column::json("summary"),
    ],
    indexes: &[],
};

/// Folds the cart and the order stream.
pub static PROJECTION: Projection = Projection {
    name: "timeline",
    version: 1,
    fold_version: 1,
    store: Store::Postgres,
    streams: &[Stream::Cart, Stream::Order],
    tables: &[&TIMELINE],
    differs: &[],
};
