//! Sales reports over the facts.
//!
//! A sale is an order that was paid in full. Its gross counts on the order's day, refunds and
//! returns on their own day, all in UTC; only refunds and returns of sales count.

use cartwright_events::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::sql_value::Micros;
use crate::error::ReadModelError;
use crate::schema::Projection;
use crate::tables::{SALES_LINES, SALES_ORDERS, SALES_REFUND_SHARES, SALES_RETURNED_LINES};

/// What a report has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportBy {
    /// A UTC day; key `2011-01-31`.
    Day,
    /// The order's country; the key is empty where it has none.
    Country,
    /// A product; key: SKU.
    Product,
}

/// Which sales to report, and which page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalesQuery {
    /// What to have a row for.
    pub by: ReportBy,
    /// Amounts in this currency only.
    pub currency: String,
    /// From this moment on, inclusive (the start of a UTC day); `None`: from the beginning.
    pub from: Option<Timestamp>,
    /// Up to this moment, exclusive; `None`: to the end.
    pub to: Option<Timestamp>,
    /// Rows with a larger key only (keyset paging).
    pub after_key: Option<String>,
    /// The most rows to answer with.
    pub limit: u32,
}

/// A row of a report. Amounts are in minor units of the report's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalesRow {
    /// The day, country or SKU.
    pub key: String,
    /// Orders; by product: orders with a line of it.
    pub orders: i64,
    /// Units sold.
    pub units: i64,
    /// Units returned.
    pub returned_units: i64,
    /// What order lines were charged.
    pub gross_minor: i64,
    /// What was paid back.
    pub refunded_minor: i64,
    /// Gross less refunded.
    pub net_minor: i64,
    /// Of `orders`, those that have left in full; `None` where the version does not tell.
    pub orders_shipped: Option<i64>,
}

/// The currencies that sales were made in by `version` of the sales, by code.
///
/// # Errors
/// What the store said.
pub async fn currencies(
    client: &impl GenericClient,
    version: u32,
) -> Result<Vec<String>, ReadModelError> {
    let sql = format!(
        "SELECT DISTINCT currency FROM {} \
         WHERE paid_at IS NOT NULL AND currency IS NOT NULL ORDER BY currency",
        SALES_ORDERS.physical_name(version),
    );
    let rows = client.query_typed(&sql, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A page of a sales report over `version` of the sales, built as `declared` says, by key. A key with
/// neither sale, refund nor return in the time asked for has no row.
///
/// # Errors
/// What the store said.
pub async fn sales_report(
    client: &impl GenericClient,
    declared: &'static Projection,
    version: u32,
    query: &SalesQuery,
) -> Result<Vec<SalesRow>, ReadModelError> {
    let rows = client
        .query_typed(
            &report_sql(query.by, version, declared.tables.contains(&&SALES_ORDERS)),
            &[
                (&query.currency, Type::TEXT),
                (&query.from.map(Micros), Type::TIMESTAMPTZ),
                (&query.to.map(Micros), Type::TIMESTAMPTZ),
                (&query.after_key, Type::TEXT),
                (&i64::from(query.limit), Type::INT8),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(SalesRow {
                key: row.try_get(0)?,
                orders: row.try_get(1)?,
                units: row.try_get(2)?,
                returned_units: row.try_get(3)?,
                gross_minor: row.try_get(4)?,
                refunded_minor: row.try_get(5)?,
                net_minor: row.try_get(6)?,
                orders_shipped: row.try_get(7)?,
            })
        })
        .collect()
}

const DAY: &str = "to_char(x.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')";

/// Rows in time: `x` is the table whose day counts.
const IN_TIME: &str = "($2::timestamptz IS NULL OR x.occurred_at >= $2) \
                       AND ($3::timestamptz IS NULL OR x.occurred_at < $3)";

/// Three groupings that share a key, put together. The sums of `bigint` are `numeric`, and a sum
/// that leaves 64 bits is an error rather than a wrong number. What has left is told only
/// `with_shipments`.
fn report_sql(by: ReportBy, version: u32, with_shipments: bool) -> String {
    let orders = SALES_ORDERS.physical_name(version);
    let lines = SALES_LINES.physical_name(version);
    let shares = SALES_REFUND_SHARES.physical_name(version);
    let returned = SALES_RETURNED_LINES.physical_name(version);
    let (sold_key, side_key) = match by {
        ReportBy::Day => (DAY, DAY),
        ReportBy::Country => ("coalesce(x.country, '')", "coalesce(x.country, '')"),
        ReportBy::Product => ("l.sku", "x.sku"),
    };
    let shipped = match by {
        _ if !with_shipments => "NULL::bigint",
        ReportBy::Product => "count(DISTINCT x.order_id) FILTER (WHERE x.shipped_at IS NOT NULL)",
        ReportBy::Day | ReportBy::Country => "count(x.shipped_at)",
    };
    let none_shipped = if with_shipments { "0" } else { "NULL" };
    let sold = match by {
        ReportBy::Product => format!(
            "SELECT {sold_key} AS key, count(DISTINCT x.order_id) AS orders, {shipped} AS shipped, \
                    sum(l.quantity) AS units, sum(l.charge_minor) AS gross \
             FROM {orders} x JOIN {lines} l USING (order_id)"
        ),
        ReportBy::Day | ReportBy::Country => format!(
            "SELECT {sold_key} AS key, count(*) AS orders, {shipped} AS shipped, \
                    sum(x.units) AS units, sum(x.total_minor) AS gross FROM {orders} x"
        ),
    };
    // An order that is known to be paid alone (what made it was given up) is not among what was sold.
    let of_a_sale = format!(
        "JOIN {orders} o ON o.order_id = x.order_id AND o.paid_at IS NOT NULL \
             AND o.occurred_at IS NOT NULL \
         WHERE x.currency = $1 AND {IN_TIME} GROUP BY 1"
    );
    format!(
        "WITH sold AS ({sold} WHERE x.currency = $1 AND x.paid_at IS NOT NULL AND {IN_TIME} \
                       GROUP BY 1),
         refunded AS (SELECT {side_key} AS key, sum(x.amount_minor) AS refunded \
                      FROM {shares} x {of_a_sale}),
         returned AS (SELECT {side_key} AS key, sum(x.quantity) AS returned_units \
                      FROM {returned} x {of_a_sale})
         SELECT key, coalesce(orders, 0)::bigint, coalesce(units, 0)::bigint, \
                coalesce(returned_units, 0)::bigint, coalesce(gross, 0)::bigint, \
                coalesce(refunded, 0)::bigint, \
                (coalesce(gross, 0) - coalesce(refunded, 0))::bigint, \
                coalesce(shipped, {none_shipped})::bigint
         FROM sold FULL JOIN refunded USING (key) FULL JOIN returned USING (key)
         WHERE $4::text IS NULL OR key COLLATE \"C\" > $4
         ORDER BY key COLLATE \"C\" LIMIT $5"
    )
}
