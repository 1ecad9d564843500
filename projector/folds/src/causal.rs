//! What happened about an order in every context.

use cartwright_events::{Envelope, Event, EventBody};
use cartwright_read_model::RowOp;
use cartwright_read_model::tables::CAUSAL_EVENTS;

use crate::json;
use crate::outcome::Outcome;

/// Every cart and order event, and every stock event that names an order, to one row of that order.
pub(crate) fn fold(envelope: &Envelope, event: &Event) -> Outcome {
    let id = event.aggregate_id.as_str();
    let (order_id, stream, summary) = match &event.body {
        EventBody::Cart(cart) => (id, "cart", json::summary(cart)),
        EventBody::Order(order) => (id, "order", json::summary(order)),
        EventBody::Stock(stock) => match stock.order_id() {
            Some(order) => (order, "stock", json::summary(stock)),
            None => return Outcome::Drop("names no order"),
        },
        other => return Outcome::wrong_stream(other.type_name()),
    };
    Outcome::emit(vec![RowOp::upsert(
        &CAUSAL_EVENTS,
        [
            order_id.into(),
            stream.into(),
            envelope.partition.into(),
            envelope.seq.into(),
        ],
        [
            ("log_offset", envelope.offset.into()),
            ("subject", id.into()),
            ("version", event.version.into()),
            ("type", event.body.type_name().into()),
            ("occurred_at", event.occurred_at.into()),
            ("recorded_at", envelope.recorded_at.into()),
            ("command_id", envelope.command_id.as_str().into()),
            ("correlation_id", envelope.correlation_id.as_str().into()),
            ("writer_epoch", envelope.writer_epoch.into()),
            ("summary", summary),
        ],
    )])
}
