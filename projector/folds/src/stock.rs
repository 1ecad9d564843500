//! Availability by SKU.

use cartwright_events::inventory::StockEvent;
use cartwright_events::{Envelope, Event, EventBody};
use cartwright_read_model::RowOp;
use cartwright_read_model::tables::STOCK;

use crate::outcome::Outcome;

/// Stock events to one row by SKU. Every event carries both numbers as they are after it, also one
/// that changes neither.
pub(crate) fn fold(_: &Envelope, event: &Event) -> Outcome {
    let EventBody::Stock(stock) = &event.body else {
        return Outcome::wrong_stream(event.body.type_name());
    };
    let (on_hand, reserved) = match stock {
        StockEvent::Received(after) => (after.on_hand, after.reserved),
        StockEvent::Adjusted(after) => (after.on_hand, after.reserved),
        StockEvent::Reserved(after) => (after.on_hand, after.reserved),
        StockEvent::ReservationRejected(after) => (after.on_hand, after.reserved),
        StockEvent::Released(after) => (after.on_hand, after.reserved),
        StockEvent::Shipped(after) => (after.on_hand, after.reserved),
        StockEvent::Restocked(after) => (after.on_hand, after.reserved),
        StockEvent::ShortfallChanged(after) => (after.on_hand, after.reserved),
    };
    let Some(left) = on_hand.checked_sub(reserved) else {
        return Outcome::Reject(format!(
            "on_hand {on_hand} less reserved {reserved} overflows"
        ));
    };
    let cells = [
        ("on_hand", on_hand.into()),
        ("reserved", reserved.into()),
        ("available", left.max(0).into()),
        ("shortfall", left.saturating_neg().max(0).into()),
        ("version", event.version.into()),
        ("updated_at", event.occurred_at.into()),
    ];
    let key = [event.aggregate_id.as_str().into()];
    Outcome::emit(vec![RowOp::upsert(&STOCK, key, cells)])
}
