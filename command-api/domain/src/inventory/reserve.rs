//! An order asks for stock: all of it or none is held, until inventory is told otherwise.

use std::collections::BTreeMap;

use cartwright_events::inventory::{StockReservationRejected, StockReserved};
use cartwright_events::messages::{ReservationAnswer, ReserveStock, StockQuantity};
use cartwright_events::order::Shortage;
use cartwright_events::{Sku, Timestamp};

use super::InventoryState;
use super::booking::Booking;
use super::stock_item::{Level, StockItem};
use crate::context::{Decision, Outgoing};

/// Decides a request. `answer` says where the answer goes and who gives it.
///
/// An order that holds anything here holds all that it asked for: it is told so again.
pub(super) fn decide(
    state: &InventoryState,
    request: &ReserveStock,
    answer: impl Fn(bool, Vec<Shortage>) -> ReservationAnswer,
    send: impl Fn(ReservationAnswer) -> Outgoing,
    now: Timestamp,
) -> Decision {
    let wanted = summed(&request.items);
    let order_id = &request.order_id;
    let level = |sku: &Sku| state.item(sku).map_or(Level::default(), StockItem::level);

    let holds = |sku: &Sku| {
        state
            .item(sku)
            .is_some_and(|item| item.held_for(order_id) > 0)
    };
    if wanted.keys().any(|sku| holds(sku)) {
        return Decision {
            events: Vec::new(),
            messages: vec![send(answer(true, Vec::new()))],
        };
    }

    let shortages: Vec<Shortage> = wanted
        .iter()
        .map(|(sku, quantity)| Shortage {
            sku: (*sku).clone(),
            requested: *quantity,
            available: level(sku).available(),
        })
        .filter(|shortage| shortage.requested > shortage.available)
        .collect();

    let mut events = Vec::new();
    for shortage in &shortages {
        let level = level(&shortage.sku);
        let mut booking = Booking::new(shortage.sku.as_str(), state.item(&shortage.sku), now);
        let body = StockReservationRejected {
            order_id: order_id.clone(),
            quantity: shortage.requested,
            available: shortage.available,
            on_hand: level.on_hand,
            reserved: level.reserved,
        };
        booking.push(body, level);
        events.extend(booking.into_events());
    }
    if shortages.is_empty() {
        for (sku, quantity) in wanted {
            let before = level(sku);
            // What is available is at least the quantity, so this stays below on_hand.
            let after = Level {
                reserved: before.reserved.saturating_add(quantity),
                ..before
            };
            let mut booking = Booking::new(sku.as_str(), state.item(sku), now);
            let body = StockReserved {
                order_id: order_id.clone(),
                quantity,
                on_hand: after.on_hand,
                reserved: after.reserved,
            };
            booking.push(body, after);
            events.extend(booking.into_events());
        }
    }
    let held = shortages.is_empty();
    Decision {
        events,
        messages: vec![send(answer(held, shortages))],
    }
}

/// Units by SKU, in the order of the SKUs, without those that ask for nothing.
pub(super) fn summed(items: &[StockQuantity]) -> BTreeMap<&Sku, i64> {
    let mut sums: BTreeMap<&Sku, i64> = BTreeMap::new();
    for item in items.iter().filter(|item| item.quantity > 0) {
        let sum = sums.entry(&item.sku).or_default();
        *sum = sum.saturating_add(item.quantity);
    }
    sums
}
