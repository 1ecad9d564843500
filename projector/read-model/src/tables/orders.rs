//! Orders by id, and by customer.
//!
//! No cell of an order needs what another event wrote: its status is read off several cells
//! (see [`OrderRow::status`](crate::rows::OrderRow::status)). The lines never change after the
//! order is made, so they are one cell rather than a row each.

use cartwright_events::Stream;

use crate::schema::{Column, Order, Projection, Store, Table};

/// An order as it is now.
pub static ORDERS: Table = Table {
    name: "orders",
    partition: &[Column::text("order_id")],
    clustering: &[],
    cells: &[
        Column::text("cart_id"),
        Column::text("customer_id"),
        Column::text("currency"),
        Column::text("ship_to_country"),
        Column::text("external_reference"),
        Column::json("lines"),
        Column::int("units"),
        Column::int("total_minor"),
        Column::time("payment_deadline"),
        Column::text("stage"),
        Column::text("reason"),
        Column::json("shortages"),
        Column::time("paid_at"),
        Column::int("captured_minor"),
        Column::int("refunded_minor"),
        Column::int("refund_due_minor"),
        Column::int("shipped_units"),
        Column::flag("fully_shipped"),
        Column::int("returned_units"),
        Column::int("version"),
        Column::time("created_at"),
        Column::time("updated_at"),
    ],
    indexes: &[],
};

/// A customer's orders, newest first. Holds what the order's creation says; how an order stands is
/// read from [`ORDERS`].
pub static ORDERS_BY_CUSTOMER: Table = Table {
    name: "orders_by_customer",
    partition: &[Column::text("customer_id")],
    clustering: &[
        (Column::time("occurred_at"), Order::Descending),
        (Column::text("order_id"), Order::Ascending),
    ],
    cells: &[
        Column::text("currency"),
        Column::text("ship_to_country"),
        Column::text("external_reference"),
        Column::int("units"),
        Column::int("total_minor"),
    ],
    indexes: &[],
};

/// Every operation of a payment provider on an order.
pub static ORDER_PAYMENTS: Table = Table {
    name: "order_payments",
    partition: &[Column::text("order_id")],
    clustering: &[
        (Column::text("payment_id"), Order::Ascending),
        (Column::text("operation_id"), Order::Ascending),
    ],
    cells: &[
        Column::text("kind"),
        Column::int("amount_minor"),
        Column::text("currency"),
        Column::text("note"),
        Column::time("occurred_at"),
    ],
    indexes: &[],
};

/// Every shipment of an order.
pub static ORDER_SHIPMENTS: Table = Table {
    name: "order_shipments",
    partition: &[Column::text("order_id")],
    clustering: &[(Column::text("shipment_id"), Order::Ascending)],
    cells: &[Column::json("lines"), Column::time("occurred_at")],
    indexes: &[],
};

/// Every return to an order.
pub static ORDER_RETURNS: Table = Table {
    name: "order_returns",
    partition: &[Column::text("order_id")],
    clustering: &[(Column::text("return_id"), Order::Ascending)],
    cells: &[
        Column::json("lines"),
        Column::int("charge_minor"),
        Column::text("currency"),
        Column::flag("restock"),
        Column::time("occurred_at"),
    ],
    indexes: &[],
};

/// What made money due back, a row for each time.
pub static ORDER_DUES: Table = Table {
    name: "order_dues",
    partition: &[Column::text("order_id")],
    // Nothing that an event about a due says is its own: providers number the operations of each payment
    // anew, and a reference may be used for several.
    clustering: &[(Column::int("version"), Order::Ascending)],
    cells: &[
        Column::text("operation_id"),
        Column::text("reason"),
        Column::text("payment_id"),
        Column::int("amount_minor"),
        Column::text("currency"),
        Column::time("occurred_at"),
    ],
    indexes: &[],
};

/// What made money due back, in version 1: of two payments whose operations have one id it held one.
pub static ORDER_DUES_1: Table = Table {
    name: "order_refunds_due",
    partition: &[Column::text("order_id")],
    clustering: &[
        (Column::text("operation_id"), Order::Ascending),
        (Column::text("reason"), Order::Ascending),
    ],
    cells: &[
        Column::text("payment_id"),
        Column::int("amount_minor"),
        Column::text("currency"),
        Column::time("occurred_at"),
    ],
    indexes: &[],
};

/// Folds the order stream.
pub static PROJECTION: Projection = Projection {
    name: "orders",
    version: 2,
    fold_version: 2,
    store: Store::Cassandra,
    streams: &[Stream::Order],
    tables: &[
        &ORDERS,
        &ORDERS_BY_CUSTOMER,
        &ORDER_PAYMENTS,
        &ORDER_SHIPMENTS,
        &ORDER_RETURNS,
        &ORDER_DUES,
    ],
    differs: &[],
};

/// Version 1.
pub static PROJECTION_1: Projection = Projection {
    name: "orders",
    version: 1,
    fold_version: 1,
    store: Store::Cassandra,
    streams: &[Stream::Order],
    tables: &[
        &ORDERS,
        &ORDERS_BY_CUSTOMER,
        &ORDER_PAYMENTS,
        &ORDER_SHIPMENTS,
        &ORDER_RETURNS,
        &ORDER_DUES_1,
    ],
    differs: &[],
};
