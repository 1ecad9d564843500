//! Orders and what belongs to them.

use cartwright_events::Timestamp;
use cartwright_events::order::{OrderLine, ReturnedLine, ShippedLine, Shortage};
use serde::Serialize;

use crate::row::typed_row;

typed_row! {
    /// An order without its payments, shipments and returns.
    pub struct OrderRow of ORDERS {
        /// The order.
        pub order_id: String,
        /// The cart that it came from.
        pub cart_id: String,
        /// Who bought; none for a guest.
        pub customer_id: Option<String>,
        /// Currency of all amounts.
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
        /// Without a payment by then the order expires.
        pub payment_deadline: Option<Timestamp>,
        /// The last of `created`, `confirmed`, `rejected`, `cancelled`, `expired`. Callers want
        /// [`OrderRow::status`].
        pub stage: String,
        /// Why it was rejected or cancelled.
        pub reason: Option<String>,
        /// What was missing, for a rejected order.
        pub shortages: Option<Vec<Shortage>>,
        /// When it was paid in full.
        pub paid_at: Option<Timestamp>,
        /// Captured so far.
        pub captured_minor: i64 = 0,
        /// Refunded so far.
        pub refunded_minor: i64 = 0,
        /// Owed to the customer now.
        pub refund_due_minor: i64 = 0,
        /// Units shipped so far.
        pub shipped_units: i64 = 0,
        /// Whether the whole order has left.
        pub fully_shipped: bool = false,
        /// Units returned so far.
        pub returned_units: i64 = 0,
        /// The aggregate's version that the row shows.
        pub version: u64,
        /// When the order was made (business time).
        pub created_at: Timestamp,
        /// When it last changed (business time).
        pub updated_at: Timestamp,
        /// Seq of the event that last wrote to the row.
        pub row_seq: u64,
    }
}

/// How an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Stock is being asked for.
    Pending,
    /// Everything is held; a payment is waited for.
    Confirmed,
    /// Paid in full, nothing has left.
    Paid,
    /// Some of it has left.
    PartiallyShipped,
    /// All of it has left.
    Shipped,
    /// Could not be held in full. Final.
    Rejected,
    /// Called off before anything left. Final.
    Cancelled,
    /// Not paid in time. Final.
    Expired,
}

impl OrderStatus {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            OrderStatus::Pending => "pending",
            OrderStatus::Confirmed => "confirmed",
            OrderStatus::Paid => "paid",
            OrderStatus::PartiallyShipped => "partly_shipped",
            OrderStatus::Shipped => "shipped",
            OrderStatus::Rejected => "rejected",
            OrderStatus::Cancelled => "cancelled",
            OrderStatus::Expired => "expired",
        }
    }
}

/// Words of [`OrderRow::stage`].
pub mod stage {
    /// The order was made.
    pub const CREATED: &str = "created";
    /// Every line is held.
    pub const CONFIRMED: &str = "confirmed";
    /// Not every line could be held.
    pub const REJECTED: &str = "rejected";
    /// Called off.
    pub const CANCELLED: &str = "cancelled";
    /// Not paid in time.
    pub const EXPIRED: &str = "expired";
}

impl OrderRow {
    /// How the order stands, read off the cells that different events write.
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        match self.stage.as_str() {
            stage::REJECTED => OrderStatus::Rejected,
            stage::CANCELLED => OrderStatus::Cancelled,
            stage::EXPIRED => OrderStatus::Expired,
            _ if self.fully_shipped => OrderStatus::Shipped,
            _ if self.shipped_units > 0 => OrderStatus::PartiallyShipped,
            _ if self.paid_at.is_some() => OrderStatus::Paid,
            stage::CONFIRMED => OrderStatus::Confirmed,
            _ => OrderStatus::Pending,
        }
    }
}

typed_row! {
    /// What a customer's list knows of an order.
    pub struct CustomerOrderRow of ORDERS_BY_CUSTOMER {
        /// The customer.
        pub customer_id: String,
        /// When the order was made.
        pub occurred_at: Timestamp,
        /// The order.
        pub order_id: String,
        /// Currency of the total.
        pub currency: String,
        /// Where it ships to.
        pub ship_to_country: Option<String>,
        /// The shop's own number.
        pub external_reference: Option<String>,
        /// Units over all lines.
        pub units: i64,
        /// Sum of the lines.
        pub total_minor: i64,
    }
}

typed_row! {
    /// An operation of the payment provider.
    pub struct PaymentRow of ORDER_PAYMENTS {
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
        pub occurred_at: Timestamp,
    }
}

typed_row! {
    /// A shipment.
    pub struct ShipmentRow of ORDER_SHIPMENTS {
        /// The shipment.
        pub shipment_id: String,
        /// What left.
        pub lines: Vec<ShippedLine>,
        /// When.
        pub occurred_at: Timestamp,
    }
}

typed_row! {
    /// A return.
    pub struct ReturnRow of ORDER_RETURNS {
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
        pub occurred_at: Timestamp,
    }
}

typed_row! {
    /// Something that made money due back.
    pub struct RefundDueRow of ORDER_DUES {
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
        pub occurred_at: Timestamp,
    }
}

/// An order with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderView {
    /// How it stands: [`OrderRow::status`].
    pub status: OrderStatus,
    /// The order.
    #[serde(flatten)]
    pub order: OrderRow,
    /// Operations of the payment provider, by payment and operation id.
    pub payments: Vec<PaymentRow>,
    /// Shipments, by id.
    pub shipments: Vec<ShipmentRow>,
    /// Returns, by id.
    pub returns: Vec<ReturnRow>,
    /// What made money due back, in the order in which it did (version 1: by operation id).
    pub refunds_due: Vec<RefundDueRow>,
}
