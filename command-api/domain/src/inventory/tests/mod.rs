//! The rules of stock.

mod booking;
mod holding;

use cartwright_events::inventory::{ReleaseReason, StockShortfallChanged};
use cartwright_events::messages::{
    ReleaseStock, ReservationAnswer, ReserveStock, ShipStock, StockQuantity,
};
use cartwright_events::{EventBody, Message};

use super::Inventory;
use crate::context::Decision;
use crate::testing::*;
use crate::{AdjustStock, InventorySettings, ReceiveStock};

pub(super) fn scene() -> Scene<Inventory> {
    let settings = InventorySettings {
        inventory_partitions: 5,
        checkout_partitions: 3,
    };
    Scene::new(Inventory { settings }, minute(0))
}

pub(super) fn receive(quantity: i64, name: Option<&str>) -> ReceiveStock {
    ReceiveStock {
        sku: sku("A"),
        quantity,
        reference: name.map(reference),
    }
}

pub(super) fn adjust(delta: i64, name: Option<&str>) -> AdjustStock {
    AdjustStock {
        sku: sku("A"),
        delta,
        reason: "counted".to_owned(),
        reference: name.map(reference),
    }
}

pub(super) fn items(items: &[(&str, i64)]) -> Vec<StockQuantity> {
    items
        .iter()
        .map(|(name, quantity)| StockQuantity {
            sku: sku(name),
            quantity: *quantity,
        })
        .collect()
}

pub(super) fn reserve(order: &str, wanted: &[(&str, i64)]) -> ReserveStock {
    ReserveStock {
        order_id: order_id(order),
        items: items(wanted),
    }
}

pub(super) fn release(order: &str, skus: &[&str]) -> ReleaseStock {
    ReleaseStock {
        order_id: order_id(order),
        skus: skus.iter().map(|name| sku(name)).collect(),
        reason: ReleaseReason::Cancelled,
    }
}

pub(super) fn ship(order: &str, gone: &[(&str, i64)]) -> ShipStock {
    ShipStock {
        order_id: order_id(order),
        shipment_id: reference("s"),
        items: items(gone),
    }
}

pub(super) fn bodies(decision: &Decision) -> Vec<EventBody> {
    decision
        .events
        .iter()
        .map(|event| event.body.clone())
        .collect()
}

/// The one answer that a decision sends.
pub(super) fn answered(decision: &Decision) -> &ReservationAnswer {
    match decision.messages.as_slice() {
        [outgoing] => match &outgoing.message {
            Message::ReservationAnswer(answer) => answer,
            other => panic!("no answer: {other:?}"),
        },
        other => panic!("not one message: {other:?}"),
    }
}

pub(super) fn shortfall(shortfall: i64, on_hand: i64, reserved: i64) -> EventBody {
    stock_event(StockShortfallChanged {
        shortfall,
        on_hand,
        reserved,
    })
}
