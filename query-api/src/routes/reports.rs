//! Reports.

use axum::extract::State;
use axum::response::Response;
use cartwright_events::Currency;
use cartwright_read_model::postgres::{self, ReportBy, SalesQuery, currencies, sales_report};
use cartwright_read_model::tables::projections::SALES;
use cartwright_service::extract::Query;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::answers::{SalesReport, SalesRow};
use crate::app::App;
use crate::ask::Ask;
use crate::cursor::{List, page};
use crate::errors::Error;
use crate::params::{Days, MAX_REPORT_LIMIT, limit};
use crate::stores::Lease;

/// Parameters of a sales report.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SalesParameters {
    /// What to have a row for: `day`, `country` or `product`.
    #[param(value_type = String, pattern = "^(day|country|product)$")]
    by: ReportBy,
    /// The first day, in UTC, as YYYY-MM-DD; without it, from the beginning.
    #[param(format = Date)]
    from: Option<String>,
    /// The day after the last, in UTC, as YYYY-MM-DD; without it, to the end.
    #[param(format = Date)]
    to: Option<String>,
    /// Currency of the sales; required where there are sales in more than one.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    /// Rows of a page. Default 50.
    #[param(minimum = 1, maximum = 5000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The name of a point in time that the view was built for; without it, the present.
    #[serde(rename = "as_of")]
    _as_of: Option<String>,
}

/// Sales by day, country or product: an order enters when it is captured in full, any refund counts
/// as refunded, only returns as returned. Each counts on its own day.
#[utoipa::path(get, path = "/v1/reports/sales", tag = "reports", params(SalesParameters),
    responses((status = 200, body = SalesReport)))]
pub async fn sales(
    State(app): State<App>,
    Query(parameters): Query<SalesParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let limit = limit(parameters.limit, MAX_REPORT_LIMIT)?;
    let days = Days::new(parameters.from.as_deref(), parameters.to.as_deref())?;
    let mut list = List::new("sales", &SALES, parameters.cursor.as_deref())?;

    let fresh = app.capture_list(&mut list, &ask).await?;
    let version = fresh.version();
    let declared = fresh.declared(&SALES);
    let lease = app.stores().relational.lease_for_report().await?;
    let Some(currency) = currency(&lease, version, parameters.currency).await? else {
        return Ok(fresh.ok(SalesReport {
            currency: None,
            rows: Vec::new(),
            next_cursor: None,
        }));
    };
    let from = parameters.from.as_deref().unwrap_or_default();
    let to = parameters.to.as_deref().unwrap_or_default();
    let after_key = list.after(&[by(parameters.by), from, to, &currency])?;
    let query = SalesQuery {
        by: parameters.by,
        currency,
        from: days.from,
        to: days.to,
        after_key,
        limit: limit + 1,
    };
    let rows = lease
        .run(sales_report(lease.client(), declared, version, &query))
        .await?;
    let key = |last: &postgres::SalesRow| last.key.clone();
    let (rows, next_cursor) = page(&list, rows, limit, key);
    Ok(fresh.ok(SalesReport {
        currency: Some(query.currency),
        rows: rows.into_iter().map(SalesRow::from).collect(),
        next_cursor,
    }))
}

/// The currency asked for, or the only one that there are sales in; `None` when there are none.
async fn currency(
    lease: &Lease<'_>,
    version: u32,
    asked: Option<Currency>,
) -> Result<Option<String>, Error> {
    if let Some(currency) = asked {
        return Ok(Some(currency.into()));
    }
    let mut known = lease.run(currencies(lease.client(), version)).await?;
    match known.len() {
        0 | 1 => Ok(known.pop()),
        _ => Err(Error::CurrencyNeeded(known)),
    }
}

const fn by(by: ReportBy) -> &'static str {
    match by {
        ReportBy::Day => "day",
        ReportBy::Country => "country",
        ReportBy::Product => "product",
    }
}
