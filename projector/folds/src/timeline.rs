//! What happened to a cart and to the order it became.

use cartwright_events::{Envelope, Event, EventBody};
use cartwright_read_model::RowOp;
use cartwright_read_model::tables::TIMELINE;

use crate::json;
use crate::outcome::Outcome;

/// Every cart and order event to one row.
pub(crate) fn fold(envelope: &Envelope, event: &Event) -> Outcome {
    let (stream, summary) = match &event.body {
        EventBody::Cart(cart) => ("cart", json::summary(cart)),
        EventBody::Order(order) => ("order", json::summary(order)),
        other => return Outcome::wrong_stream(other.type_name()),
    };
    Outcome::emit(vec![RowOp::upsert(
        &TIMELINE,
        [
            event.aggregate_id.as_str().into(),
            stream.into(),
            envelope.seq.into(),
        ],
        [
            ("version", event.version.into()),
            ("type", event.body.type_name().into()),
            ("occurred_at", event.occurred_at.into()),
            ("recorded_at", envelope.recorded_at.into()),
            ("command_id", envelope.command_id.as_str().into()),
            ("correlation_id", envelope.correlation_id.as_str().into()),
            ("summary", summary),
        ],
    )])
}
