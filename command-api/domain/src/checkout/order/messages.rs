//! What orders tell the inventory.

use std::collections::BTreeMap;

use cartwright_events::inventory::ReleaseReason;
use cartwright_events::messages::{ReleaseStock, ReserveStock, StockQuantity};
use cartwright_events::{Message, OrderId, Sku};

use super::state::Placed;
use crate::context::Outgoing;

/// Units of each SKU, as a message carries them.
pub(super) fn items(skus: &BTreeMap<&Sku, i64>) -> Vec<StockQuantity> {
    skus.iter()
        .map(|(sku, quantity)| StockQuantity {
            sku: (*sku).clone(),
            quantity: *quantity,
        })
        .collect()
}

/// Asks one inventory partition to hold its part of the order.
pub(super) fn reserve(order_id: &OrderId, partition: u32, skus: &BTreeMap<&Sku, i64>) -> Outgoing {
    Outgoing {
        partition,
        message: Message::ReserveStock(ReserveStock {
            order_id: order_id.clone(),
            items: items(skus),
        }),
    }
}

/// Tells the inventory partitions that `which` takes to let go of what they hold for the order. One
/// that holds nothing does nothing: a release always travels behind the request that it undoes.
pub(super) fn release(
    order_id: &OrderId,
    placed: &Placed,
    partitions: u32,
    reason: ReleaseReason,
    which: impl Fn(u32) -> bool,
) -> Vec<Outgoing> {
    placed
        .partitions(partitions)
        .into_iter()
        .filter(|(partition, _)| which(*partition))
        .map(|(partition, skus)| Outgoing {
            partition,
            message: Message::ReleaseStock(ReleaseStock {
                order_id: order_id.clone(),
                skus: skus.into_keys().cloned().collect(),
                reason,
            }),
        })
        .collect()
}
