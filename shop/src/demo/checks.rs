//! What has to hold when the shop has closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use cartwright_events::PositionToken;
use cartwright_ledger::{Audit, Ledger, OrderEntry};
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;

use super::catalog::CURRENCY;
use super::floor::Floor;
use super::log::Log;
use super::reads::{self, Expiries, number, text};

/// Reads at a time while the views are compared with the log.
const READS_AT_ONCE: usize = 32;

/// An invariant, and whether it held.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What has to hold.
    pub name: &'static str,
    /// Whether it did; none when the run gave no occasion to see it.
    pub holds: Option<bool>,
    /// What was looked at.
    pub figures: String,
    /// What broke it.
    pub examples: Vec<String>,
}

impl Check {
    fn of(name: &'static str, audit: &Audit, unit: &str) -> Self {
        Self {
            name,
            holds: Some(audit.holds()),
            figures: match audit.broken {
                0 => format!("{} {unit}", audit.checked),
                broken => format!("{broken} of {} {unit} break it", audit.checked),
            },
            examples: audit.examples.iter().map(ToString::to_string).collect(),
        }
    }

    fn told(name: &'static str, holds: bool, figures: String) -> Self {
        Self {
            name,
            holds: Some(holds),
            figures,
            examples: Vec::new(),
        }
    }
}

/// Reads the log, holds it against itself, against what shoppers were told, and against the views.
///
/// # Errors
/// When the log cannot be read.
pub async fn all(floor: &Arc<Floor>, log: Log, expiries: &Expiries) -> anyhow::Result<Vec<Check>> {
    let ledger = log.audit(floor.key("")).await?;
    // From here on reads have to know of everything in the log, also of what followed the last
    // commands.
    let mut end = PositionToken::new(floor.position().generation);
    for (&(stream, partition), &seq) in ledger.last_seqs() {
        end.raise(stream, partition, seq);
    }
    floor.reached(&end);

    let mut checks = of_the_log(&ledger, floor);
    checks.push(journal_matches(&ledger));
    checks.push(one_result_per_key(&ledger, floor));
    checks.push(hot_item(&ledger, floor));
    checks.push(told_the_truth(&ledger, floor));
    checks.push(expired(expiries));
    checks.push(orders_in_views(&ledger, floor).await);
    checks.push(stock_in_views(&ledger, floor).await);
    checks.push(report_adds_up(&ledger, floor).await);
    let surprises = floor.surprises();
    let shoppers = format!("{} surprises", surprises.len());
    let mut stories = Check::told(
        "every shopper's story ended as told",
        surprises.is_empty(),
        shoppers,
    );
    stories.examples = surprises.into_iter().take(5).collect();
    checks.push(stories);
    Ok(checks)
}

fn of_the_log(ledger: &Ledger, floor: &Floor) -> Vec<Check> {
    let (stock, orders) = (&ledger.stock, &ledger.orders);
    let mut settled = Audit::default();
    let unsettled = ledger.unsettled();
    let mine = floor.orders().len() as u64;
    settled.checked = mine.max(1);
    settled.broken = unsettled.len() as u64;
    settled.examples = unsettled.into_iter().take(5).map(Into::into).collect();
    vec![
        Check::of(
            "seqs dense per topic-partition, versions per aggregate",
            &ledger.dense,
            "events and versions",
        ),
        Check::of(
            "stock is conserved, SKU by SKU",
            &stock.conserved,
            "stock events",
        ),
        Check::of(
            "units on hand are never negative",
            &stock.never_negative,
            "stock events",
        ),
        Check::of(
            "reserved is the sum of open holds",
            &stock.reserved_is_holds,
            "stock events",
        ),
        Check::of(
            "nothing is reserved that was not there",
            &stock.never_oversold,
            "reservations",
        ),
        Check::of(
            "each order holds and ships what it says",
            &settled,
            "orders of this run",
        ),
        Check::of(
            "order totals are the sums of their lines",
            &orders.totals_add_up,
            "lines and orders",
        ),
        Check::of(
            "captured, refunded and due add up",
            &orders.money_adds_up,
            "payment events",
        ),
        Check::of(
            "shipped ≤ ordered, returned ≤ shipped",
            &orders.goods_add_up,
            "shipments and returns",
        ),
    ]
}

fn journal_matches(ledger: &Ledger) -> Check {
    let mut audit = ledger.journal.dense.clone();
    for (&(stream, partition), &seq) in ledger.last_seqs() {
        let claimed = ledger.journal.claimed(stream, partition).unwrap_or(0);
        audit.check(claimed == seq, || {
            format!(
                "{}[{partition}]: {seq} in the topic, {claimed} in the journal",
                stream.topic()
            )
        });
    }
    let figures = format!(
        "{} transactions, {} events",
        ledger.journal.transactions, ledger.events
    );
    let mut check = Check::of(
        "every event belongs to one journaled transaction",
        &audit,
        "",
    );
    if audit.broken == 0 {
        check.figures = figures;
    }
    check
}

fn one_result_per_key(ledger: &Ledger, floor: &Floor) -> Check {
    let mut audit = Audit::default();
    let results = ledger.journal.results();
    for key in floor.keys() {
        let count = results.get(&key).copied().unwrap_or_default();
        audit.check(count == 1, || format!("{key}: {count} results"));
    }
    Check::of(
        "one result per idempotency key",
        &audit,
        "keys, all sent, some twice at once",
    )
}

fn hot_item(ledger: &Ledger, floor: &Floor) -> Check {
    let name = "the hot item sells out, not one unit more";
    let hot = ledger.stock.sku(&floor.hot.sku);
    let Some(hot) = hot else {
        return Check::told(name, false, format!("no stock of {}", floor.hot.sku));
    };
    let (left, held, on_hand) = (hot.left, hot.reserved(), hot.on_hand);
    let units = floor.hot_units;
    let holds = left + held == units && hot.came_in == units && on_hand >= 0;
    let rejected = floor
        .outcomes()
        .get("rejected")
        .copied()
        .unwrap_or_default();
    let figures =
        format!("{units} units: {left} shipped, {held} held; {rejected} shoppers got none");
    Check::told(name, holds && rejected > 0, figures)
}

/// What shoppers were told about their orders is what the log says.
fn told_the_truth(ledger: &Ledger, floor: &Floor) -> Check {
    let mut audit = Audit::default();
    for (id, told) in floor.orders() {
        let status = ledger
            .orders
            .order(&id)
            .map_or("not there", OrderEntry::status);
        audit.check(status == told, || {
            format!("{id}: {status}, its shopper was told {told}")
        });
    }
    Check::of(
        "the log agrees with what shoppers were told",
        &audit,
        "orders",
    )
}

fn expired(expiries: &Expiries) -> Check {
    let name = "unpaid orders expire at their deadline";
    match expiries.still_open.iter().next() {
        None => Check::told(
            name,
            expiries.expired > 0,
            format!("{} orders", expiries.expired),
        ),
        Some((id, deadline)) => Check {
            name,
            holds: None,
            figures: format!("{id} has until {deadline}, longer than this demo waits"),
            examples: Vec::new(),
        },
    }
}

async fn orders_in_views(ledger: &Ledger, floor: &Arc<Floor>) -> Check {
    let orders = floor.orders();
    let ids = futures::stream::iter(orders.keys());
    let found: Vec<(&String, anyhow::Result<Value>)> = ids
        .map(|id| async move { (id, reads::order(floor, id).await) })
        .buffer_unordered(READS_AT_ONCE)
        .collect()
        .await;
    let mut audit = Audit::default();
    for (id, view) in found {
        let difference = match (ledger.orders.order(id), view) {
            (Some(order), Ok(view)) => order_differs(order, &view),
            (None, _) => Some("it is not in the log".to_owned()),
            (_, Err(error)) => Some(format!("{error:#}")),
        };
        audit.check(difference.is_none(), || {
            format!("{id}: {}", difference.unwrap_or_default())
        });
    }
    Check::of("the orders' view is what the log says", &audit, "orders")
}

fn order_differs(order: &OrderEntry, view: &Value) -> Option<String> {
    // A view may call a part shipment by a word of its own; all else is compared as it stands.
    let status = text(view, "status");
    if status != order.status() && order.status() != "partly_shipped" {
        return Some(format!("{status}, the log says {}", order.status()));
    }
    let lines = view["lines"].as_array().map_or(0, Vec::len);
    if lines != order.lines {
        return Some(format!("{lines} lines of {}", order.lines));
    }
    let due_minor = order.refund_due_minor;
    [
        ("units", order.units),
        ("total_minor", order.total_minor),
        ("captured_minor", order.captured_minor),
        ("refunded_minor", order.refunded_minor),
        ("refund_due_minor", due_minor),
        ("shipped_units", order.shipped_units),
        ("returned_units", order.returned_units),
    ]
    .into_iter()
    .find_map(|(member, said)| match number(view, member) {
        Ok(found) if found == said => None,
        Ok(found) => Some(format!("{member} {found}, the log says {said}")),
        Err(error) => Some(format!("{error:#}")),
    })
}

async fn stock_in_views(ledger: &Ledger, floor: &Arc<Floor>) -> Check {
    let special = [&floor.hot, &floor.repriced];
    let skus = special
        .into_iter()
        .chain(&floor.products)
        .map(|product| &product.sku);
    let found: BTreeMap<&String, anyhow::Result<Value>> = futures::stream::iter(skus)
        .map(|sku| async move { (sku, reads::availability(floor, sku).await) })
        .buffer_unordered(READS_AT_ONCE)
        .collect()
        .await;
    let mut audit = Audit::default();
    for (sku, view) in found {
        let said = ledger.stock.sku(sku);
        let said = said.map(|entry| (entry.on_hand, entry.reserved()));
        let seen = view.and_then(|view| {
            let (on_hand, reserved) = (number(&view, "on_hand")?, number(&view, "reserved")?);
            anyhow::ensure!(
                number(&view, "available")? == (on_hand - reserved).max(0),
                "available does not follow from {view}"
            );
            Ok((on_hand, reserved))
        });
        let same = seen.as_ref().ok() == said.as_ref();
        audit.check(same, || format!("{sku}: {seen:?}, the log says {said:?}"));
    }
    Check::of("the stock's view is what the log says", &audit, "SKUs")
}

async fn report_adds_up(ledger: &Ledger, floor: &Arc<Floor>) -> Check {
    let name = "the sales report is what the log says";
    let said = ledger.orders.sales(CURRENCY);
    match reads::sales(floor).await {
        Ok(seen) => Check {
            name,
            holds: Some(seen == said),
            figures: format!(
                "{} orders, gross {}, refunded {} {CURRENCY} in minor units",
                seen.orders, seen.gross_minor, seen.refunded_minor
            ),
            examples: if seen == said {
                Vec::new()
            } else {
                vec![format!("the log says {said:?}")]
            },
        },
        Err(error) => Check::told(name, false, format!("{error:#}")),
    }
}
