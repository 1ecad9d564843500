//! Orders and what happened to them.

use axum::extract::State;
use axum::response::Response;
use cartwright_events::{OrderId, Timestamp};
use cartwright_read_model::postgres::{self, CausalKey};
use cartwright_read_model::rows::{CausalRow, TimelineRow};
use cartwright_read_model::tables::projections::{CAUSAL, ORDERS, TIMELINE};
use cartwright_service::extract::{Path, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::answers::{Order, Timeline, TimelineEvent};
use crate::app::App;
use crate::ask::Ask;
use crate::cursor::{List, page};
use crate::errors::Error;
use crate::freshness::Parked;
use crate::params::{MAX_LIMIT, ReadParameters, limit};

/// Parameters of a list that has no others.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// Rows of a page. Default 50.
    #[param(minimum = 1, maximum = 500)]
    pub(super) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
    /// The name of a point in time that the view was built for; without it, the present.
    #[serde(rename = "as_of")]
    _as_of: Option<String>,
}

/// An order with its lines, payments, shipments, returns and sums, as it is now.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders",
    params(("id" = String, Path, description = "The order: the id of the cart that it came from"), ReadParameters),
    responses((status = 200, body = Order), (status = 404, description = "order_not_found")))]
pub async fn order(
    State(app): State<App>,
    Path(id): Path<OrderId>,
    Query(ReadParameters { .. }): Query<ReadParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let fresh = app.capture(&ORDERS, id.as_str(), &ask).await?;
    let by_key = &app.stores().by_key;
    let views = by_key.views()?;
    let order = views.order(fresh.declared(&ORDERS), fresh.version(), id.as_str());
    let view = by_key.run(order).await?;
    Ok(match view {
        Some(view) => fresh.entity(&ask, view.order.row_seq, Order::from(view)),
        None => fresh.not_found("order_not_found", format!("There is no order {id}")),
    })
}

/// How much of each event is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// With its place in the log and the time since the one before, and with the stock events that
    /// name the order.
    Causal,
}

/// Parameters of a timeline.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineParameters {
    /// `causal`: every event about the order in every context, in the order in which the log took
    /// them, each with its place in the log and the time since the one before.
    #[param(value_type = Option<String>, pattern = "^causal$")]
    detail: Option<Detail>,
    /// Rows of a page. Default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The name of a point in time that the view was built for; without it, the present.
    #[serde(rename = "as_of")]
    _as_of: Option<String>,
}

/// What happened to a cart, and then to the order that it became, each oldest first; with
/// `detail=causal`, all of it in the order of the log. Also for a cart that is no order yet, and for an
/// id that only ever got money.
#[utoipa::path(get, path = "/v1/orders/{id}/timeline", tag = "orders",
    params(("id" = String, Path, description = "The order"), TimelineParameters),
    responses((status = 200, body = Timeline),
        (status = 404, description = "order_not_found: nothing ever happened to it")))]
pub async fn timeline(
    State(app): State<App>,
    Path(id): Path<OrderId>,
    Query(parameters): Query<TimelineParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let limit = limit(parameters.limit, MAX_LIMIT)?;
    let cursor = parameters.cursor.as_deref();
    match parameters.detail {
        None => plain(&app, &id, limit, cursor, &ask).await,
        Some(Detail::Causal) => causal(&app, &id, limit, cursor, &ask).await,
    }
}

async fn plain(
    app: &App,
    id: &OrderId,
    limit: u32,
    cursor: Option<&str>,
    ask: &Ask,
) -> Result<Response, Error> {
    let mut list = List::new("timeline", &TIMELINE, cursor)?;
    let after: Option<(String, u64)> = list.after(&[id.as_str()])?;
    let fresh = app.capture_list(&mut list, ask).await?;
    let fresh = app.freshness.about(fresh, &[id.to_string()]).await?;
    let lease = app.stores().relational.lease().await?;
    let from = after.as_ref().map(|(stream, seq)| (stream.as_str(), *seq));
    let (client, version) = (lease.client(), fresh.version());
    let read = postgres::timeline(client, version, id.as_str(), from, limit + 1);
    let rows = lease.run(read).await?;
    if rows.is_empty() && after.is_none() {
        return Ok(fresh.not_found("order_not_found", format!("There is no order {id}")));
    }
    let key = |last: &TimelineRow| (last.stream.clone(), last.seq);
    let (rows, next_cursor) = page(&list, rows, limit, key);
    Ok(fresh.ok(Timeline {
        items: rows.into_iter().map(TimelineEvent::from).collect(),
        next_cursor,
    }))
}

async fn causal(
    app: &App,
    id: &OrderId,
    limit: u32,
    cursor: Option<&str>,
    ask: &Ask,
) -> Result<Response, Error> {
    let mut list = List::new("causal_timeline", &CAUSAL, cursor)?;
    // The cursor knows when the first event was, too.
    let after: Option<(CausalKey, Timestamp)> = list.after(&[id.as_str()])?;
    let fresh = app.capture_list(&mut list, ask).await?;
    let lease = app.stores().relational.lease().await?;
    let (client, version) = (lease.client(), fresh.version());
    let mut keys = vec![id.to_string()];
    if fresh.parked != Parked::default() {
        // Stock events about the order are put aside under their SKU.
        let skus = postgres::causal_skus(client, version, id.as_str());
        let skus = lease.run(skus).await?;
        keys.extend(skus.into_iter().filter(|sku| sku != id.as_str()));
    }
    let fresh = app.freshness.about(fresh, &keys).await?;
    let from = after.as_ref().map(|(key, _)| key);
    let read = postgres::causal_timeline(client, version, id.as_str(), from, limit + 1);
    let rows = lease.run(read).await?;
    let Some(earliest) = rows.first().map(|row| row.recorded_at) else {
        return Ok(match after {
            None => fresh.not_found("order_not_found", format!("There is no order {id}")),
            Some(_) => fresh.ok(Timeline {
                items: Vec::new(),
                next_cursor: None,
            }),
        });
    };
    let (mut previous, first) = match after {
        Some(((previous, ..), first)) => (previous, first),
        None => (earliest, earliest),
    };
    let key = |last: &CausalRow| {
        let stream = last.stream.clone();
        let key: CausalKey = (last.recorded_at, stream, last.log_partition, last.seq);
        (key, first)
    };
    let (rows, next_cursor) = page(&list, rows, limit, key);
    let items = rows.into_iter().map(|row| {
        let before = std::mem::replace(&mut previous, row.recorded_at);
        TimelineEvent::causal(row, first, before)
    });
    Ok(fresh.ok(Timeline {
        items: items.collect(),
        next_cursor,
    }))
}
