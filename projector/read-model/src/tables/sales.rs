//! Facts for sales reports: what was sold, what was paid back, what came back.
//!
//! Each row holds what one event says. They are joined when a report is read, so an order that is
//! paid long after it was made appears on its own day then.

use cartwright_events::Stream;

use crate::schema::{Column, Index, Order, Projection, ROW_SEQ, Store, Table};

/// An order; a sale once `paid_at` is set. `shipped_at`: when the last of it left.
pub static SALES_ORDERS: Table = Table {
    name: "sales_orders",
    partition: &[Column::text("order_id")],
    clustering: &[],
    cells: &[
        Column::text("customer_id"),
        Column::text("country"),
        Column::text("currency"),
        Column::time("occurred_at"),
        Column::int("units"),
        Column::int("total_minor"),
        Column::time("paid_at"),
        Column::time("shipped_at"),
    ],
    indexes: &[SOLD],
};

/// The same in version 1, which did not tell what had left.
pub static SALES_ORDERS_1: Table = Table {
    name: "sales_orders",
    partition: &[Column::text("order_id")],
    clustering: &[],
    cells: &[
        Column::text("customer_id"),
        Column::text("country"),
        Column::text("currency"),
        Column::time("occurred_at"),
        Column::int("units"),
        Column::int("total_minor"),
        Column::time("paid_at"),
    ],
    indexes: &[SOLD],
};

const SOLD: Index = Index {
    suffix: "sold",
    definition: "USING btree (currency, occurred_at) WHERE paid_at IS NOT NULL",
};

/// A line of an order.
pub static SALES_LINES: Table = Table {
    name: "sales_lines",
    partition: &[Column::text("order_id")],
    clustering: &[(Column::int("line"), Order::Ascending)],
    cells: &[
        Column::text("sku"),
        Column::int("quantity"),
        Column::int("charge_minor"),
    ],
    indexes: &[],
};

/// The part of a refund that belongs to a line.
pub static SALES_REFUND_SHARES: Table = Table {
    name: "sales_refund_shares",
    partition: &[Column::text("order_id")],
    clustering: &[
        (Column::text("payment_id"), Order::Ascending),
        (Column::text("operation_id"), Order::Ascending),
        (Column::int("line"), Order::Ascending),
    ],
    cells: &[
        Column::text("sku"),
        Column::text("country"),
        Column::text("currency"),
        Column::time("occurred_at"),
        Column::int("amount_minor"),
    ],
    indexes: &[Index {
        suffix: "day",
        definition: "USING btree (currency, occurred_at)",
    }],
};

/// Units of a line that came back.
pub static SALES_RETURNED_LINES: Table = Table {
    name: "sales_returned_lines",
    partition: &[Column::text("order_id")],
    clustering: &[
        (Column::text("return_id"), Order::Ascending),
        (Column::int("line"), Order::Ascending),
    ],
    cells: &[
        Column::text("sku"),
        Column::text("country"),
        Column::text("currency"),
        Column::time("occurred_at"),
        Column::int("quantity"),
        Column::int("charge_minor"),
    ],
    indexes: &[Index {
        suffix: "day",
        definition: "USING btree (currency, occurred_at)",
    }],
};

/// Folds the order stream.
pub static PROJECTION: Projection = Projection {
    name: "sales",
    version: 2,
    fold_version: 2,
    store: Store::Postgres,
    streams: &[Stream::Order],
    tables: &[
        &SALES_ORDERS,
        &SALES_LINES,
        &SALES_REFUND_SHARES,
        &SALES_RETURNED_LINES,
    ],
    // A shipment writes to the row as well, and so is what made it.
    differs: &[
        ("sales_orders", "shipped_at"),
        ("sales_orders", ROW_SEQ.name),
    ],
};

/// Version 1, which knew nothing of shipments.
pub static PROJECTION_1: Projection = Projection {
    name: "sales",
    version: 1,
    fold_version: 1,
    store: Store::Postgres,
    streams: &[Stream::Order],
    tables: &[
        &SALES_ORDERS_1,
        &SALES_LINES,
        &SALES_REFUND_SHARES,
        &SALES_RETURNED_LINES,
    ],
    differs: &[],
};
