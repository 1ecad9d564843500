//! The catalog for lists and search: the same cells as by SKU, in another store.

use cartwright_events::catalog::ProductEvent;
use cartwright_events::{Envelope, Event, EventBody};
use cartwright_read_model::tables::CATALOG_PRODUCTS;
use cartwright_read_model::{RowOp, Table};

use crate::outcome::Outcome;

/// Product events to rows for lists and search.
pub(crate) fn fold(_: &Envelope, event: &Event) -> Outcome {
    match &event.body {
        EventBody::Product(product) => fold_product(&CATALOG_PRODUCTS, event, product),
        other => Outcome::wrong_stream(other.type_name()),
    }
}

/// A product's row in `table`, which has the columns of either projection.
pub(crate) fn fold_product(
    table: &'static Table,
    event: &Event,
    product: &ProductEvent,
) -> Outcome {
    let mut cells = Vec::with_capacity(table.cells.len());
    cells.extend([
        ("version", event.version.into()),
        ("updated_at", event.occurred_at.into()),
    ]);
    match product {
        ProductEvent::Created(created) => cells.extend([
            ("name", created.name.as_str().into()),
            ("description", created.description.clone().into()),
            ("price_minor", created.price_minor.into()),
            ("currency", (&created.currency).into()),
            ("retired", false.into()),
            ("created_at", event.occurred_at.into()),
        ]),
        ProductEvent::PriceChanged(changed) => cells.extend([
            ("price_minor", changed.price_minor.into()),
            ("currency", (&changed.currency).into()),
        ]),
        ProductEvent::Retired(_) => cells.push(("retired", true.into())),
    }
    let key = [event.aggregate_id.as_str().into()];
    Outcome::emit(vec![RowOp::upsert(table, key, cells)])
}
