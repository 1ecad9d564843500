//! Goods that an order held left the warehouse.

use cartwright_events::inventory::StockShipped;
use cartwright_events::messages::ShipStock;
use cartwright_events::{Event, Timestamp};

use super::InventoryState;
use super::booking::Booking;
use super::reserve::summed;
use super::stock_item::{Level, StockItem};

/// Takes what left off the books and out of the order's hold. Goods that the books did not have
/// left all the same: on hand stops at zero and the rest is written as unbooked.
pub(super) fn decide(state: &InventoryState, message: &ShipStock, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    for (sku, quantity) in summed(&message.items) {
        let item = state.item(sku);
        let before = item.map_or(Level::default(), StockItem::level);
        let held = item.map_or(0, |item| item.held_for(&message.order_id));
        let booked = quantity.min(before.on_hand);
        let level = Level {
            on_hand: before.on_hand.saturating_sub(booked),
            reserved: before.reserved.saturating_sub(quantity.min(held)),
        };
        let mut booking = Booking::new(sku.as_str(), item, now);
        let body = StockShipped {
            order_id: message.order_id.clone(),
            shipment_id: message.shipment_id.clone(),
            quantity,
            unbooked: quantity.saturating_sub(booked),
            on_hand: level.on_hand,
            reserved: level.reserved,
        };
        booking.push(body, level);
        events.extend(booking.into_events());
    }
    events
}
