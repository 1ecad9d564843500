//! Events of `checkout.order.events.v1`; key: order id.
//!
//! Amounts are in minor units of the currency beside them.

use crate::types::{CartId, Country, Currency, CustomerId, Reference, Sku, Timestamp};
use crate::{wire_branches, wire_record, wire_words};

wire_record! {
    /// A line of an order.
    pub struct OrderLine {
        /// The line's number: the cart line's.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// The product's name as it was.
        pub name: String,
        /// Units; above zero.
        pub quantity: i64,
        /// Price of one unit.
        pub unit_price_minor: i64,
        /// Price of the line: quantity × unit price.
        pub line_total_minor: i64,
    }
}

wire_record! {
    /// A cart was checked out; stock is being asked for.
    pub struct OrderCreated {
        /// The cart.
        pub cart_id: CartId,
        /// Who bought; none for a guest.
        pub customer_id: Option<CustomerId>,
        /// Currency of all amounts of the order.
        pub currency: Currency,
        /// Where it ships to.
        pub ship_to_country: Option<Country>,
        /// The shop's own number of the order.
        pub external_reference: Option<Reference>,
        /// What was bought.
        pub lines: Vec<OrderLine>,
        /// Units over all lines.
        pub units: i64,
        /// Sum of the lines.
        pub total_minor: i64,
        /// Without a payment by then the order expires (by the shard's clock).
        pub payment_deadline: Timestamp,
    }
}

wire_record! {
    /// Every line is held; the order waits for its payment.
    pub struct OrderConfirmed {
        /// What has to be paid.
        pub total_minor: i64,
        /// Its currency.
        pub currency: Currency,
        /// Until when.
        pub payment_deadline: Timestamp,
    }
}

wire_words! {
    /// Why an order was rejected.
    pub enum RejectReason {
        /// A line asked for more than was available.
        OutOfStock = "out_of_stock",
        /// Inventory could not decide; see its journal.
        InventoryFailed = "inventory_failed",
    }
}

wire_record! {
    /// What was missing.
    pub struct Shortage {
        /// What.
        pub sku: Sku,
        /// Units asked for.
        pub requested: i64,
        /// Units that were available.
        pub available: i64,
    }
}

wire_record! {
    /// The order could not be held in full; nothing stays held. Final.
    pub struct OrderRejected {
        /// Why.
        pub reason: RejectReason,
        /// What was missing.
        pub shortages: Vec<Shortage>,
    }
}

wire_record! {
    /// The provider promised money.
    pub struct OrderPaymentAuthorized {
        /// The provider's payment.
        pub payment_id: Reference,
        /// The provider's operation.
        pub operation_id: Reference,
        /// How much.
        pub amount_minor: i64,
        /// Its currency.
        pub currency: Currency,
        /// The order's deadline after it: a payment that has started has longer.
        pub payment_deadline: Timestamp,
    }
}

wire_record! {
    /// Money came in.
    pub struct OrderPaymentCaptured {
        /// The provider's payment.
        pub payment_id: Reference,
        /// The provider's operation.
        pub operation_id: Reference,
        /// How much.
        pub amount_minor: i64,
        /// Its currency.
        pub currency: Currency,
        /// Captured for the order so far, this amount included.
        pub captured_minor: i64,
    }
}

wire_record! {
    /// The order is paid in full: from here on it counts as a sale.
    pub struct OrderPaid {
        /// What had to be paid.
        pub total_minor: i64,
        /// What was captured.
        pub captured_minor: i64,
        /// Currency of both.
        pub currency: Currency,
    }
}

wire_record! {
    /// A payment failed at the provider.
    pub struct OrderPaymentFailed {
        /// The provider's payment.
        pub payment_id: Reference,
        /// The provider's operation.
        pub operation_id: Reference,
        /// How much was tried.
        pub amount_minor: i64,
        /// Its currency.
        pub currency: Currency,
    }
}

wire_record! {
    /// The part of a refund that belongs to a line.
    pub struct RefundShare {
        /// The line.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// How much.
        pub amount_minor: i64,
    }
}

wire_record! {
    /// Money went back. Its shares add up to the amount: first what returns are owed, in their
    /// order, the rest over the lines by what they were charged.
    pub struct OrderPaymentRefunded {
        /// The provider's payment.
        pub payment_id: Reference,
        /// The provider's operation.
        pub operation_id: Reference,
        /// How much.
        pub amount_minor: i64,
        /// Its currency: the order's.
        pub currency: Currency,
        /// Refunded for the order so far, this amount included.
        pub refunded_minor: i64,
        /// Which lines it belongs to.
        pub shares: Vec<RefundShare>,
        /// The order's country.
        pub ship_to_country: Option<Country>,
        /// What is still owed to the customer after it, in the order's currency.
        pub refund_due_minor: i64,
    }
}

wire_words! {
    /// What a payment provider can report.
    pub enum PaymentKind {
        /// Money was promised.
        Authorized = "authorized",
        /// Money came in.
        Captured = "captured",
        /// The payment failed.
        Failed = "failed",
        /// Money went back.
        Refunded = "refunded",
    }
}

wire_words! {
    /// Why the shop owes money back.
    pub enum RefundDueReason {
        /// Captured after the order had ended.
        OrderEnded = "order_ended",
        /// Captured beyond what the order costs.
        Excess = "excess",
        /// In another currency than the order's.
        OtherCurrency = "other_currency",
        /// For an order that nobody knows.
        UnknownOrder = "unknown_order",
        /// The order was cancelled or expired after money had come in.
        OrderCancelled = "order_cancelled",
        /// Goods came back.
        Returned = "returned",
    }
}

wire_record! {
    /// The shop owes money back.
    pub struct OrderRefundDue {
        /// The provider's payment that brought the money, where there is one.
        pub payment_id: Option<Reference>,
        /// The provider's operation that brought the money, or the reference of what made it due.
        pub operation_id: Reference,
        /// How much.
        pub amount_minor: i64,
        /// Its currency, which may be another than the order's.
        pub currency: Currency,
        /// Why.
        pub reason: RefundDueReason,
        /// What is owed after it, in the order's currency (zero where only another currency is owed).
        pub refund_due_minor: i64,
    }
}

wire_record! {
    /// An operation that changes no balance was recorded: a refund in another currency, a refund or
    /// a failure for an order that nobody knows, a refund of money that came before the order.
    pub struct OrderPaymentNoted {
        /// The provider's payment.
        pub payment_id: Reference,
        /// The provider's operation.
        pub operation_id: Reference,
        /// What the provider reported.
        pub kind: PaymentKind,
        /// How much.
        pub amount_minor: i64,
        /// Its currency.
        pub currency: Currency,
        /// Why it changes no balance.
        pub reason: RefundDueReason,
    }
}

wire_record! {
    /// Units of a line in a shipment.
    pub struct ShippedLine {
        /// The line.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// Units.
        pub quantity: i64,
    }
}

wire_record! {
    /// Goods left for the customer.
    pub struct OrderShipped {
        /// The shipment.
        pub shipment_id: Reference,
        /// What left.
        pub lines: Vec<ShippedLine>,
        /// Units shipped so far, these included.
        pub shipped_units: i64,
        /// Whether the whole order has left.
        pub fully_shipped: bool,
    }
}

wire_record! {
    /// Units of a line that came back.
    pub struct ReturnedLine {
        /// The line.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// Units.
        pub quantity: i64,
        /// What they were charged.
        pub charge_minor: i64,
    }
}

wire_record! {
    /// Goods came back; what they were charged is owed to the customer.
    pub struct OrderReturned {
        /// The return.
        pub return_id: Reference,
        /// What came back.
        pub lines: Vec<ReturnedLine>,
        /// Sum of the lines' charges.
        pub charge_minor: i64,
        /// Its currency.
        pub currency: Currency,
        /// The order's country.
        pub ship_to_country: Option<Country>,
        /// Whether the goods go back on the shelf.
        pub restock: bool,
        /// Units returned so far, these included.
        pub returned_units: i64,
        /// What is owed to the customer after it.
        pub refund_due_minor: i64,
    }
}

wire_words! {
    /// Who or what cancelled.
    pub enum CancelReason {
        /// A caller asked for it.
        Requested = "requested",
        /// The payment failed.
        PaymentFailed = "payment_failed",
    }
}

wire_record! {
    /// The order was called off before anything left; what was held is released. Final.
    pub struct OrderCancelled {
        /// Why.
        pub reason: CancelReason,
        /// The caller's reference, or the failed operation.
        pub reference: Option<Reference>,
        /// The caller's words.
        pub note: Option<String>,
        /// What is owed to the customer after it.
        pub refund_due_minor: i64,
    }
}

wire_record! {
    /// No payment came in time; what was held is released. Final.
    pub struct OrderExpired {
        /// The deadline that passed.
        pub payment_deadline: Timestamp,
        /// What is owed to the customer after it (a part payment).
        pub refund_due_minor: i64,
    }
}

wire_branches! {
    /// What can happen to an order.
    pub enum OrderEvent {
        Created(OrderCreated) = "OrderCreated",
        Confirmed(OrderConfirmed) = "OrderConfirmed",
        Rejected(OrderRejected) = "OrderRejected",
        PaymentAuthorized(OrderPaymentAuthorized) = "OrderPaymentAuthorized",
        PaymentCaptured(OrderPaymentCaptured) = "OrderPaymentCaptured",
        Paid(OrderPaid) = "OrderPaid",
        PaymentFailed(OrderPaymentFailed) = "OrderPaymentFailed",
        PaymentRefunded(OrderPaymentRefunded) = "OrderPaymentRefunded",
        RefundDue(OrderRefundDue) = "OrderRefundDue",
        PaymentNoted(OrderPaymentNoted) = "OrderPaymentNoted",
        Shipped(OrderShipped) = "OrderShipped",
        Returned(OrderReturned) = "OrderReturned",
        Cancelled(OrderCancelled) = "OrderCancelled",
        Expired(OrderExpired) = "OrderExpired",
    }
}
