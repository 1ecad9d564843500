//! Messages between shards: the records of the inbox topics. Internal; key: target key.

use crate::inventory::ReleaseReason;
use crate::order::Shortage;
use crate::streams::Context;
use crate::types::{OrderId, Reference, Sku};
use crate::{wire_branches, wire_record};

wire_record! {
    /// Units of a SKU.
    pub struct StockQuantity {
        /// What.
        pub sku: Sku,
        /// Units; above zero.
        pub quantity: i64,
    }
}

wire_record! {
    /// To inventory: hold all of these for the order, or none.
    pub struct ReserveStock {
        /// The order; the answer goes to its shard.
        pub order_id: OrderId,
        /// Each SKU of this inventory partition once.
        pub items: Vec<StockQuantity>,
    }
}

wire_record! {
    /// To inventory: let go of everything that this partition holds for the order.
    pub struct ReleaseStock {
        /// The order.
        pub order_id: OrderId,
        /// The SKUs of this partition that were asked for.
        pub skus: Vec<Sku>,
        /// Why.
        pub reason: ReleaseReason,
    }
}

wire_record! {
    /// To inventory: these left the warehouse.
    pub struct ShipStock {
        /// The order.
        pub order_id: OrderId,
        /// The shipment.
        pub shipment_id: Reference,
        /// Each SKU of this inventory partition once.
        pub items: Vec<StockQuantity>,
    }
}

wire_record! {
    /// To inventory: these are back on the shelf.
    pub struct RestockReturn {
        /// The order.
        pub order_id: OrderId,
        /// The return.
        pub return_id: Reference,
        /// Each SKU of this inventory partition once.
        pub items: Vec<StockQuantity>,
    }
}

wire_record! {
    /// To the order: what one inventory partition said to [`ReserveStock`].
    pub struct ReservationAnswer {
        /// The order.
        pub order_id: OrderId,
        /// Who answers.
        pub inventory_partition: u32,
        /// Whether all of it is held; otherwise nothing is.
        pub held: bool,
        /// What was missing.
        pub shortages: Vec<Shortage>,
        /// Set when the partition could not decide: the failure's reason.
        pub failure: Option<String>,
    }
}

wire_branches! {
    /// What one shard can tell another.
    pub enum Message {
        ReserveStock(ReserveStock) = "ReserveStock",
        ReleaseStock(ReleaseStock) = "ReleaseStock",
        ShipStock(ShipStock) = "ShipStock",
        RestockReturn(RestockReturn) = "RestockReturn",
        ReservationAnswer(ReservationAnswer) = "ReservationAnswer",
    }
}

impl Message {
    /// The context whose inbox takes it.
    #[must_use]
    pub const fn target(&self) -> Context {
        match self {
            Message::ReservationAnswer(_) => Context::Checkout,
            _ => Context::Inventory,
        }
    }

    /// The order that it is about: the record's key.
    #[must_use]
    pub const fn order_id(&self) -> &OrderId {
        match self {
            Message::ReserveStock(body) => &body.order_id,
            Message::ReleaseStock(body) => &body.order_id,
            Message::ShipStock(body) => &body.order_id,
            Message::RestockReturn(body) => &body.order_id,
            Message::ReservationAnswer(body) => &body.order_id,
        }
    }
}
