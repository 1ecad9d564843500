//! Messages between shards: the records of the inbox topics. Internal; key: target key.

use std::fmt;

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

wire_record! {
    /// To any context: decide this command, whose caller does not wait.
    pub struct SubmitCommand {
        /// The context that decides it.
        pub context: Context,
        /// What it is about; its shard decides.
        pub aggregate_id: String,
        /// The command's id; its outcome is remembered under it.
        pub command_id: String,
        /// The caller's key.
        pub idempotency_key: Option<String>,
        /// Digest of the request: the same key with another digest is a misuse. Empty without a key.
        pub fingerprint: String,
        /// The version at which the caller saw the aggregate.
        pub expected_version: Option<u64>,
        /// The command, as JSON.
        pub command: String,
    }
}

/// Which message of which transaction of which shard a message is: the `ce_id` of its record, unless a
/// caller sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    /// The context whose shard sent it.
    pub context: Context,
    /// The shard.
    pub partition: u32,
    /// The transaction in the shard's journal.
    pub transaction: u64,
    /// Its number in the transaction, from 1.
    pub number: u64,
}

impl MessageId {
    /// From its text; none of what is no such id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let context = parts.next()?;
        let mut contexts = Context::ALL.into_iter();
        let id = Self {
            context: contexts.find(|each| each.name() == context)?,
            partition: parts.next()?.parse().ok()?,
            transaction: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(id)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (context, partition) = (self.context.name(), self.partition);
        write!(
            f,
            "{context}/{partition}/{}/{}",
            self.transaction, self.number
        )
    }
}

wire_branches! {
    /// What a shard can be told by another, or by a caller who does not wait.
    pub enum Message {
        ReserveStock(ReserveStock) = "ReserveStock",
        ReleaseStock(ReleaseStock) = "ReleaseStock",
        ShipStock(ShipStock) = "ShipStock",
        RestockReturn(RestockReturn) = "RestockReturn",
        ReservationAnswer(ReservationAnswer) = "ReservationAnswer",
        SubmitCommand(SubmitCommand) = "SubmitCommand",
    }
}

impl Message {
    /// The context whose inbox takes it.
    #[must_use]
    pub const fn target(&self) -> Context {
        match self {
            Message::ReservationAnswer(_) => Context::Checkout,
            Message::SubmitCommand(body) => body.context,
            _ => Context::Inventory,
        }
    }

    /// What it is about, an order or a command's aggregate: the record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Message::ReserveStock(body) => body.order_id.as_str(),
            Message::ReleaseStock(body) => body.order_id.as_str(),
            Message::ShipStock(body) => body.order_id.as_str(),
            Message::RestockReturn(body) => body.order_id.as_str(),
            Message::ReservationAnswer(body) => body.order_id.as_str(),
            Message::SubmitCommand(body) => &body.aggregate_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_s_id_is_read_as_it_is_written() {
        let id = MessageId {
            context: Context::Inventory,
            partition: 3,
            transaction: 17,
            number: 2,
        };
        assert_eq!(id.to_string(), "inventory/3/17/2");
        assert_eq!(MessageId::parse("inventory/3/17/2"), Some(id));
        for other in [
            "inventory/3/17",
            "inventory/3/17/2/1",
            "stock/3/17/2",
            "01a2",
        ] {
            assert_eq!(MessageId::parse(other), None, "{other}");
        }
    }
}
