//! Events of `inventory.stock.events.v1`; key: SKU.
//!
//! `on_hand` is what the books say lies in the warehouse and is never negative; `reserved` is what
//! orders hold; available is on_hand − reserved. Every event carries both as they are after it.

use crate::types::{OrderId, Reference};
use crate::{wire_branches, wire_record, wire_words};

wire_record! {
    /// Goods came in.
    pub struct StockReceived {
        /// Units; above zero.
        pub quantity: i64,
        /// The delivery's reference, remembered for ever.
        pub reference: Option<Reference>,
        /// Units on hand after it.
        pub on_hand: i64,
        /// Units held for orders after it.
        pub reserved: i64,
    }
}

wire_record! {
    /// The books were corrected.
    pub struct StockAdjusted {
        /// Units added or (negative) taken off; not zero.
        pub delta: i64,
        /// Why, in the shop's words.
        pub reason: String,
        /// The correction's reference, remembered for ever.
        pub reference: Option<Reference>,
        /// Units on hand after it.
        pub on_hand: i64,
        /// Units held for orders after it.
        pub reserved: i64,
    }
}

wire_record! {
    /// Units are held for an order until inventory is told otherwise.
    pub struct StockReserved {
        /// The order.
        pub order_id: OrderId,
        /// Units.
        pub quantity: i64,
        /// Units on hand after it.
        pub on_hand: i64,
        /// Units held for orders after it.
        pub reserved: i64,
    }
}

wire_record! {
    /// An order asked for more than was available; nothing was held for it.
    pub struct StockReservationRejected {
        /// The order.
        pub order_id: OrderId,
        /// Units asked for.
        pub quantity: i64,
        /// Units that were available, never below zero.
        pub available: i64,
        /// Units on hand.
        pub on_hand: i64,
        /// Units held for orders.
        pub reserved: i64,
    }
}

wire_words! {
    /// Why a hold ended without a shipment.
    pub enum ReleaseReason {
        /// Another line of the order could not be held.
        Rejected = "rejected",
        /// The order was cancelled.
        Cancelled = "cancelled",
        /// The payment failed.
        PaymentFailed = "payment_failed",
        /// The order's deadline passed.
        Expired = "expired",
    }
}

wire_record! {
    /// Units held for an order are available again.
    pub struct StockReleased {
        /// The order.
        pub order_id: OrderId,
        /// Units.
        pub quantity: i64,
        /// Why.
        pub reason: ReleaseReason,
        /// Units on hand after it.
        pub on_hand: i64,
        /// Units held for orders after it.
        pub reserved: i64,
    }
}

wire_record! {
    /// Units held for an order left the warehouse.
    pub struct StockShipped {
        /// The order.
        pub order_id: OrderId,
        /// The shipment.
        pub shipment_id: Reference,
        /// Units that left.
        pub quantity: i64,
        /// Of these, units that the books did not have (after an adjustment that went too far).
        pub unbooked: i64,
        /// Units on hand after it.
        pub on_hand: i64,
        /// Units held for orders after it.
        pub reserved: i64,
    }
}

wire_record! {
    /// Returned units were put back on the shelf.
    pub struct StockRestocked {
        /// The order.
        pub order_id: OrderId,
        /// The return.
        pub return_id: Reference,
        /// Units.
        pub quantity: i64,
        /// Units on hand after it.
        pub on_hand: i64,
        /// Units held for orders after it.
        pub reserved: i64,
    }
}

wire_record! {
    /// More is held than is on hand, by another number than before. What comes in settles it first:
    /// nothing can be sold until it is zero.
    pub struct StockShortfallChanged {
        /// Units missing: reserved − on_hand, or zero when the shortfall is settled.
        pub shortfall: i64,
        /// Units on hand.
        pub on_hand: i64,
        /// Units held for orders.
        pub reserved: i64,
    }
}

wire_branches! {
    /// What can happen to the stock of a SKU.
    pub enum StockEvent {
        Received(StockReceived) = "StockReceived",
        Adjusted(StockAdjusted) = "StockAdjusted",
        Reserved(StockReserved) = "StockReserved",
        ReservationRejected(StockReservationRejected) = "StockReservationRejected",
        Released(StockReleased) = "StockReleased",
        Shipped(StockShipped) = "StockShipped",
        Restocked(StockRestocked) = "StockRestocked",
        ShortfallChanged(StockShortfallChanged) = "StockShortfallChanged",
    }
}

impl StockEvent {
    /// The order that it is about, if it is about one.
    #[must_use]
    pub fn order_id(&self) -> Option<&str> {
        match self {
            Self::Reserved(body) => Some(body.order_id.as_str()),
            Self::ReservationRejected(body) => Some(body.order_id.as_str()),
            Self::Released(body) => Some(body.order_id.as_str()),
            Self::Shipped(body) => Some(body.order_id.as_str()),
            Self::Restocked(body) => Some(body.order_id.as_str()),
            Self::Received(_) | Self::Adjusted(_) | Self::ShortfallChanged(_) => None,
        }
    }
}
