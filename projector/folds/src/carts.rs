//! Carts by id.

use cartwright_events::cart::{CartEvent, PriceSource};
use cartwright_events::{Envelope, Event, EventBody};
use cartwright_read_model::rows::cart_status;
use cartwright_read_model::tables::{CART_LINES, CARTS};
use cartwright_read_model::{RowOp, Value};

use crate::outcome::Outcome;

type Cells = Vec<(&'static str, Value)>;

/// Cart events to the cart's row and its lines.
pub(crate) fn fold(_: &Envelope, event: &Event) -> Outcome {
    let EventBody::Cart(cart) = &event.body else {
        return Outcome::wrong_stream(event.body.type_name());
    };
    let mut cells: Cells = vec![
        ("version", event.version.into()),
        ("updated_at", event.occurred_at.into()),
    ];
    cells.extend(cart_cells(event, cart));
    let key = [event.aggregate_id.as_str().into()];
    let mut ops = vec![RowOp::upsert(&CARTS, key, cells)];
    ops.extend(line_op(&event.aggregate_id, cart));
    Outcome::emit(ops)
}

/// What the event says about the cart as a whole.
fn cart_cells(event: &Event, cart: &CartEvent) -> Cells {
    match cart {
        CartEvent::Created(created) => vec![
            ("customer_id", created.customer_id.as_ref().into()),
            ("currency", (&created.currency).into()),
            ("ship_to_country", created.ship_to_country.as_ref().into()),
            (
                "external_reference",
                created.external_reference.as_ref().into(),
            ),
            ("status", cart_status::OPEN.into()),
            ("total_minor", 0_i64.into()),
            ("created_at", event.occurred_at.into()),
        ],
        CartEvent::ItemAdded(added) => vec![("total_minor", added.cart_total_minor.into())],
        CartEvent::ItemQuantityChanged(changed) => {
            vec![("total_minor", changed.cart_total_minor.into())]
        }
        CartEvent::ItemRepriced(repriced) => {
            vec![("total_minor", repriced.cart_total_minor.into())]
        }
        CartEvent::ItemRemoved(removed) => vec![("total_minor", removed.cart_total_minor.into())],
        CartEvent::CheckedOut(checked_out) => vec![
            ("status", cart_status::CHECKED_OUT.into()),
            ("order_id", (&checked_out.order_id).into()),
            ("total_minor", checked_out.total_minor.into()),
        ],
        CartEvent::Abandoned(_) => vec![("status", cart_status::ABANDONED.into())],
    }
}

/// What the event does to a line.
fn line_op(cart_id: &str, cart: &CartEvent) -> Option<RowOp> {
    let key = |line: u32| [cart_id.into(), line.into()];
    match cart {
        CartEvent::ItemAdded(added) => Some(RowOp::upsert(
            &CART_LINES,
            key(added.line),
            [
                ("sku", (&added.sku).into()),
                ("name", added.name.as_str().into()),
                ("quantity", added.quantity.into()),
                ("unit_price_minor", added.unit_price_minor.into()),
                ("price_source", added.price_source.as_str().into()),
                ("line_total_minor", added.line_total_minor.into()),
            ],
        )),
        CartEvent::ItemQuantityChanged(changed) => Some(RowOp::upsert(
            &CART_LINES,
            key(changed.line),
            [
                ("quantity", changed.quantity.into()),
                ("unit_price_minor", changed.unit_price_minor.into()),
                ("line_total_minor", changed.line_total_minor.into()),
            ],
        )),
        CartEvent::ItemRepriced(repriced) => Some(RowOp::upsert(
            &CART_LINES,
            key(repriced.line),
            [
                ("unit_price_minor", repriced.unit_price_minor.into()),
                ("price_source", PriceSource::Catalog.as_str().into()),
                ("line_total_minor", repriced.line_total_minor.into()),
            ],
        )),
        CartEvent::ItemRemoved(removed) => Some(RowOp::delete(&CART_LINES, key(removed.line))),
        CartEvent::Created(_) | CartEvent::CheckedOut(_) | CartEvent::Abandoned(_) => None,
    }
}
