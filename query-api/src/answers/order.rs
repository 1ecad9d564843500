//! Orders, and a customer's orders.

use cartwright_events::{Timestamp, order};
use cartwright_read_model::rows::{
    CustomerOrderRow, OrderRow, OrderView, PaymentRow, RefundDueRow, ReturnRow, ShipmentRow,
};
use serde::Serialize;
use utoipa::ToSchema;

/// An order as it is now, with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Order {
    /// The order.
    pub order_id: String,
    /// `pending`, `confirmed`, `paid`, `partly_shipped`, `shipped`, `rejected`, `cancelled` or
    /// `expired`.
    pub status: &'static str,
    /// Why it was rejected or cancelled.
    pub reason: Option<String>,
    /// What was missing, for a rejected order.
    pub shortages: Vec<Shortage>,
    /// The cart that it came from.
    pub cart_id: String,
    /// Who bought; null for a guest.
    pub customer_id: Option<String>,
    /// Currency of the order's sums.
    pub currency: String,
    /// Where it ships to.
    pub ship_to_country: Option<String>,
    /// The shop's own number.
    pub external_reference: Option<String>,
    /// What was bought.
    pub lines: Vec<OrderLine>,
    /// Units over all lines.
    pub units: i64,
    /// Sum of the lines.
    pub total_minor: i64,
    /// Captured so far.
    pub captured_minor: i64,
    /// Refunded so far.
    pub refunded_minor: i64,
    /// Owed to the customer now, in the order's currency.
    pub refund_due_minor: i64,
    /// Units shipped so far.
    pub shipped_units: i64,
    /// Units returned so far.
    pub returned_units: i64,
    /// Without a payment by then the order expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub payment_deadline: Option<Timestamp>,
    /// When it was paid in full.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paid_at: Option<Timestamp>,
    /// Operations of the payment provider, by payment and operation id.
    pub payments: Vec<Payment>,
    /// Shipments, by id.
    pub shipments: Vec<Shipment>,
    /// Returns, by id.
    pub returns: Vec<Return>,
    /// What made money due back, by operation id.
    pub refunds_due: Vec<RefundDue>,
    /// The aggregate's version.
    pub version: u64,
    /// When the order was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderLine {
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
    /// Price of the line.
    pub line_total_minor: i64,
}

/// What was missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Shortage {
    /// What.
    pub sku: String,
    /// Units asked for.
    pub requested: i64,
    /// Units that were available.
    pub available: i64,
}

/// An operation of the payment provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Payment {
    /// The provider's payment.
    pub payment_id: String,
    /// The provider's operation.
    pub operation_id: String,
    /// `authorized`, `captured`, `failed` or `refunded`.
    pub kind: String,
    /// How much.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: String,
    /// Why it changes no balance, where it does not.
    pub note: Option<String>,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
}

/// A shipment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Shipment {
    /// The shipment.
    pub shipment_id: String,
    /// What left.
    pub lines: Vec<ShippedLine>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
}

/// Units of a line that left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShippedLine {
    /// The order's line.
    pub line: u32,
    /// What.
    pub sku: String,
    /// Units.
    pub quantity: i64,
}

/// A return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Return {
    /// The return.
    pub return_id: String,
    /// What came back.
    pub lines: Vec<ReturnedLine>,
    /// What it was charged.
    pub charge_minor: i64,
    /// Currency of the charge.
    pub currency: String,
    /// Whether the goods went back on the shelf.
    pub restock: bool,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
}

/// Units of a line that came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReturnedLine {
    /// The order's line.
    pub line: u32,
    /// What.
    pub sku: String,
    /// Units.
    pub quantity: i64,
    /// What they were charged.
    pub charge_minor: i64,
}

/// Something that made money due back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefundDue {
    /// The provider's operation or the reference that made it due.
    pub operation_id: String,
    /// Why.
    pub reason: String,
    /// The provider's payment that brought the money.
    pub payment_id: Option<String>,
    /// How much.
    pub amount_minor: i64,
    /// Its currency, which may be another than the order's.
    pub currency: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
}

/// An order in a customer's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CustomerOrder {
    /// The order.
    pub order_id: String,
    /// How it stands, as in [`Order`].
    pub status: &'static str,
    /// The shop's own number.
    pub external_reference: Option<String>,
    /// Where it ships to.
    pub ship_to_country: Option<String>,
    /// Units over all lines.
    pub units: i64,
    /// Sum of the lines.
    pub total_minor: i64,
    /// Its currency.
    pub currency: String,
    /// When the order was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A page of a customer's orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CustomerOrders {
    /// Orders, newest first.
    pub items: Vec<CustomerOrder>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

impl From<OrderView> for Order {
    fn from(view: OrderView) -> Self {
        let row = view.order;
        let shortages = row.shortages.unwrap_or_default();
        Self {
            order_id: row.order_id,
            status: view.status.as_str(),
            reason: row.reason,
            shortages: shortages.into_iter().map(Shortage::from).collect(),
            cart_id: row.cart_id,
            customer_id: row.customer_id,
            currency: row.currency,
            ship_to_country: row.ship_to_country,
            external_reference: row.external_reference,
            lines: row.lines.into_iter().map(OrderLine::from).collect(),
            units: row.units,
            total_minor: row.total_minor,
            captured_minor: row.captured_minor,
            refunded_minor: row.refunded_minor,
            refund_due_minor: row.refund_due_minor,
            shipped_units: row.shipped_units,
            returned_units: row.returned_units,
            payment_deadline: row.payment_deadline,
            paid_at: row.paid_at,
            payments: view.payments.into_iter().map(Payment::from).collect(),
            shipments: view.shipments.into_iter().map(Shipment::from).collect(),
            returns: view.returns.into_iter().map(Return::from).collect(),
            refunds_due: view.refunds_due.into_iter().map(RefundDue::from).collect(),
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<order::OrderLine> for OrderLine {
    fn from(line: order::OrderLine) -> Self {
        Self {
            line: line.line,
            sku: line.sku.into(),
            name: line.name,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
            line_total_minor: line.line_total_minor,
        }
    }
}

impl From<order::Shortage> for Shortage {
    fn from(shortage: order::Shortage) -> Self {
        Self {
            sku: shortage.sku.into(),
            requested: shortage.requested,
            available: shortage.available,
        }
    }
}

impl From<PaymentRow> for Payment {
    fn from(row: PaymentRow) -> Self {
        Self {
            payment_id: row.payment_id,
            operation_id: row.operation_id,
            kind: row.kind,
            amount_minor: row.amount_minor,
            currency: row.currency,
            note: row.note,
            occurred_at: row.occurred_at,
        }
    }
}

impl From<ShipmentRow> for Shipment {
    fn from(row: ShipmentRow) -> Self {
        let line = |line: order::ShippedLine| ShippedLine {
            line: line.line,
            sku: line.sku.into(),
            quantity: line.quantity,
        };
        Self {
            shipment_id: row.shipment_id,
            lines: row.lines.into_iter().map(line).collect(),
            occurred_at: row.occurred_at,
        }
    }
}

impl From<ReturnRow> for Return {
    fn from(row: ReturnRow) -> Self {
        let line = |line: order::ReturnedLine| ReturnedLine {
            line: line.line,
            sku: line.sku.into(),
            quantity: line.quantity,
            charge_minor: line.charge_minor,
        };
        Self {
            return_id: row.return_id,
            lines: row.lines.into_iter().map(line).collect(),
            charge_minor: row.charge_minor,
            currency: row.currency,
            restock: row.restock,
            occurred_at: row.occurred_at,
        }
    }
}

impl From<RefundDueRow> for RefundDue {
    fn from(row: RefundDueRow) -> Self {
        Self {
            operation_id: row.operation_id,
            reason: row.reason,
            payment_id: row.payment_id,
            amount_minor: row.amount_minor,
            currency: row.currency,
            occurred_at: row.occurred_at,
        }
    }
}

impl CustomerOrder {
    /// From the list's row and the order's own, which says how it stands. An order whose own row
    /// is not there yet is `pending`: nothing but its creation has been seen.
    #[must_use]
    pub fn new(row: CustomerOrderRow, order: Option<&OrderRow>) -> Self {
        Self {
            order_id: row.order_id,
            status: order.map_or("pending", |order| order.status().as_str()),
            external_reference: row.external_reference,
            ship_to_country: row.ship_to_country,
            units: row.units,
            total_minor: row.total_minor,
            currency: row.currency,
            created_at: row.occurred_at,
        }
    }
}
