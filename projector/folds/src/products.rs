//! Products by SKU.

use cartwright_events::{Envelope, Event, EventBody};
use cartwright_read_model::tables::PRODUCTS;

use crate::catalog::fold_product;
use crate::outcome::Outcome;

/// Product events to rows by SKU.
pub(crate) fn fold(_: &Envelope, event: &Event) -> Outcome {
    match &event.body {
        EventBody::Product(product) => fold_product(&PRODUCTS, event, product),
        other => Outcome::wrong_stream(other.type_name()),
    }
}
