//! Returned goods are back on the shelf.

use cartwright_events::inventory::StockRestocked;
use cartwright_events::messages::RestockReturn;
use cartwright_events::{Event, Timestamp};

use super::InventoryState;
use super::booking::Booking;
use super::reserve::summed;
use super::stock_item::{Level, StockItem};

/// Puts what came back on hand. A return that would take on hand beyond 64 bits is no real one: it
/// is left out.
pub(super) fn decide(
    state: &InventoryState,
    message: &RestockReturn,
    now: Timestamp,
) -> Vec<Event> {
    let mut events = Vec::new();
    for (sku, quantity) in summed(&message.items) {
        let item = state.item(sku);
        let before = item.map_or(Level::default(), StockItem::level);
        let Some(on_hand) = before.on_hand.checked_add(quantity) else {
            continue;
        };
        let level = Level { on_hand, ..before };
        let mut booking = Booking::new(sku.as_str(), item, now);
        let body = StockRestocked {
            order_id: message.order_id.clone(),
            return_id: message.return_id.clone(),
            quantity,
            on_hand: level.on_hand,
            reserved: level.reserved,
        };
        booking.push(body, level);
        events.extend(booking.into_events());
    }
    events
}
