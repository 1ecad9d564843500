//! An order lets go of what it holds.

use std::collections::BTreeSet;

use cartwright_events::inventory::StockReleased;
use cartwright_events::messages::ReleaseStock;
use cartwright_events::{Event, Sku, Timestamp};

use super::InventoryState;
use super::booking::Booking;
use super::stock_item::Level;

/// Releases what the order holds of each SKU; where it holds nothing, nothing happens.
pub(super) fn decide(state: &InventoryState, message: &ReleaseStock, now: Timestamp) -> Vec<Event> {
    let skus: BTreeSet<&Sku> = message.skus.iter().collect();
    let mut events = Vec::new();
    for sku in skus {
        let Some(item) = state.item(sku) else {
            continue;
        };
        let quantity = item.held_for(&message.order_id);
        if quantity == 0 {
            continue;
        }
        let level = Level {
            reserved: item.level.reserved.saturating_sub(quantity),
            ..item.level
        };
        let mut booking = Booking::new(sku.as_str(), Some(item), now);
        let body = StockReleased {
            order_id: message.order_id.clone(),
            quantity,
            reason: message.reason,
            on_hand: level.on_hand,
            reserved: level.reserved,
        };
        booking.push(body, level);
        events.extend(booking.into_events());
    }
    events
}
