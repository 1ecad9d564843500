//! What belongs to a customer.

use axum::extract::State;
use axum::response::Response;
use cartwright_events::{CustomerId, Timestamp};
use cartwright_read_model::rows::CustomerOrderRow;
use cartwright_read_model::tables::projections::ORDERS;
use cartwright_service::extract::{Path, Query};

use super::orders::PageParameters;
use crate::answers::{CustomerOrder, CustomerOrders};
use crate::app::App;
use crate::ask::Ask;
use crate::cursor::{List, page};
use crate::errors::{Error, StoreError};
use crate::params::{MAX_LIMIT, limit};

/// Orders whose own rows are read at once.
const ROWS_AT_ONCE: usize = 50;

/// A customer's orders, newest first. A customer that nothing is known of has none.
#[utoipa::path(get, path = "/v1/customers/{id}/orders", tag = "orders",
    params(("id" = String, Path, description = "The customer"), PageParameters),
    responses((status = 200, body = CustomerOrders)))]
pub async fn orders(
    State(app): State<App>,
    Path(id): Path<CustomerId>,
    Query(parameters): Query<PageParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let limit = limit(parameters.limit, MAX_LIMIT)?;
    let mut list = List::new("customer-orders", &ORDERS, parameters.cursor.as_deref())?;
    let after: Option<(Timestamp, String)> = list.after(&[id.as_str()])?;

    let fresh = app.capture_list(&mut list, &ask).await?;
    let by_key = &app.stores().by_key;
    let after = after.as_ref().map(|(time, order)| (*time, order.as_str()));
    let read = by_key
        .views()?
        .customer_orders(fresh.version(), id.as_str(), after, limit + 1);
    let rows = by_key.run(read).await?;
    let key = |last: &CustomerOrderRow| (last.occurred_at, last.order_id.clone());
    let (rows, next_cursor) = page(&list, rows, limit, key);
    Ok(fresh.ok(CustomerOrders {
        items: with_status(&app, fresh.version(), rows).await?,
        next_cursor,
    }))
}

/// Adds how each order stands, which is in the order's own row.
async fn with_status(
    app: &App,
    version: u32,
    rows: Vec<CustomerOrderRow>,
) -> Result<Vec<CustomerOrder>, StoreError> {
    let by_key = &app.stores().by_key;
    let views = by_key.views()?;
    let mut orders = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter();
    loop {
        let some: Vec<CustomerOrderRow> = rows.by_ref().take(ROWS_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(orders);
        }
        let ids: Vec<&str> = some.iter().map(|row| row.order_id.as_str()).collect();
        let own = by_key.run(views.order_rows(version, &ids)).await?;
        let pairs = some.into_iter().zip(own);
        orders.extend(pairs.map(|(row, order)| CustomerOrder::new(row, order.as_ref())));
    }
}
