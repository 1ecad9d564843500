//! The read side, as a client sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cartwright_events::{Stream, Timestamp};
use cartwright_ledger::Sales;
use futures::StreamExt;
use serde_json::Value;

use super::catalog::CURRENCY;
use super::floor::Floor;
use crate::client::{CallError, Request, segment};

const PAUSE: Duration = Duration::from_millis(200);
/// Orders that are looked at at a time.
const READS_AT_ONCE: usize = 32;

/// What became of the orders that nobody paid.
#[derive(Debug, Clone, Default)]
pub struct Expiries {
    /// Orders that expired.
    pub expired: usize,
    /// Orders whose deadline lies beyond the demo's patience, with the first deadline.
    pub still_open: BTreeMap<String, String>,
}

/// Waits for the unpaid orders to expire, as far as their deadlines lie within `patience`.
pub async fn wait_for_expiries(floor: &Arc<Floor>, patience: Duration) -> Expiries {
    let mut expiries = Expiries::default();
    let until = Instant::now() + patience;
    let open = floor
        .orders()
        .into_iter()
        .filter(|(_, status)| *status == "confirmed");
    let open: Vec<String> = open.map(|(id, _)| id).collect();
    if !open.is_empty() {
        floor.tell(format!(
            "{} orders were left unpaid; waiting for their deadline",
            open.len()
        ));
    }
    let looks = futures::stream::iter(open)
        .map(|id| async move {
            let became = expiry(floor, &id, until).await;
            (id, became)
        })
        .buffer_unordered(READS_AT_ONCE);
    let seen: Vec<(String, anyhow::Result<Option<String>>)> = looks.collect().await;
    for (id, became) in seen {
        match became {
            Ok(None) => {
                floor.order(&id, "expired");
                expiries.expired += 1;
            }
            Ok(Some(deadline)) => {
                expiries.still_open.insert(id, deadline);
            }
            Err(error) => floor.surprise(format!("the expiry of {id}: {error:#}")),
        }
    }
    expiries
}

/// Reads an order until it has expired; its deadline when that is too far away.
async fn expiry(floor: &Floor, id: &str, until: Instant) -> anyhow::Result<Option<String>> {
    loop {
        let order = order(floor, id).await?;
        match text(&order, "status") {
            "expired" => return Ok(None),
            "confirmed" => {}
            other => bail!("it is {other}"),
        }
        let deadline = text(&order, "payment_deadline").to_owned();
        let now = Instant::now();
        if now > until || left_ms(&deadline) > (until - now).as_millis() as i64 {
            return Ok(Some(deadline));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn left_ms(deadline: &str) -> i64 {
    let deadline = deadline
        .parse::<Timestamp>()
        .map_or(0, Timestamp::as_micros);
    (deadline - Timestamp::now().as_micros()) / 1000
}

/// An order as the view by key has it, at the position that the whole run has reached.
///
/// # Errors
/// When query-api does not have it.
pub async fn order(floor: &Floor, id: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/orders/{}", segment(id));
    read(floor, path, Stream::Order).await
}

/// A SKU's stock.
///
/// # Errors
/// When query-api does not have it.
pub async fn availability(floor: &Floor, sku: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/products/{}/availability", segment(sku));
    read(floor, path, Stream::Stock).await
}

/// Sums over the whole sales report by country.
///
/// # Errors
/// When query-api does not answer with one.
pub async fn sales(floor: &Floor) -> anyhow::Result<Sales> {
    let mut sales = Sales::default();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/reports/sales?by=country&currency={CURRENCY}&limit=100{cursor}");
        let page = read(floor, path, Stream::Order).await?;
        for row in page["rows"].as_array().context("a report without rows")? {
            sales.orders += number(row, "orders")?;
            sales.units += number(row, "units")?;
            sales.returned_units += number(row, "returned_units")?;
            sales.gross_minor += number(row, "gross_minor")?;
            sales.refunded_minor += number(row, "refunded_minor")?;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", segment(next)),
            None => return Ok(sales),
        }
    }
}

/// An integer member.
///
/// # Errors
/// When there is none.
pub fn number(value: &Value, member: &str) -> anyhow::Result<i64> {
    let found = value.get(member).and_then(Value::as_i64);
    found.with_context(|| format!("no {member} in {value}"))
}

/// A text member; empty when there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or("")
}

/// Reads a view of one stream, at the position that the whole run has reached.
async fn read(floor: &Floor, path: String, stream: Stream) -> anyhow::Result<Value> {
    let position = floor.position_of(stream);
    let request = Request::get(path.clone()).at(position.to_string());
    match floor.queries.call(&request).await {
        Ok(answer) => Ok(answer.body),
        Err(error @ (CallError::Refused(_) | CallError::GaveUp { .. })) => bail!("{path}: {error}"),
    }
}
