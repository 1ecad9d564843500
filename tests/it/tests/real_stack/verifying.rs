//! Versions that are compared on the real stores.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_harness::TestStack;
use cartwright_read_model::tables::{ORDERS, SALES_ORDERS, projections};

use crate::damage::View;
use crate::versions::{done, replay, sell};

/// The order whose row is changed, of one unit.
const CHANGED: &str = "DIFFER-1";

/// Somebody changes a row by hand, in either store: `verify` names it with the field and the event that
/// made it, and without force nobody switches to that version.
pub(crate) async fn a_row_that_was_changed_by_hand_is_found_and_nobody_switches_to_it(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    sell(&stack.api(), "DIFFER", 3).await?;
    for (of, table) in [
        (&projections::SALES, &SALES_ORDERS),
        (&projections::ORDERS, &ORDERS),
    ] {
        let mut view = View::current(&stack, of, table).await?;
        let number = view.build_beside(&stack).await?;
        view.version = number.parse()?;
        is_found(&stack, &view, &number).await?;
        view.retire(&stack).await?;
    }
    Ok(())
}

async fn is_found(stack: &TestStack, view: &View, number: &str) -> anyhow::Result<()> {
    let verify = ["verify", view.name(), "--version", number];
    let verified = done(stack, &verify).await?;
    ensure!(verified["outcome"] == "passed", "{verified}");
    let (table, stored) = (view.table.name, view.stored());
    let change = format!("UPDATE {stored} SET units = 99 WHERE order_id = '{CHANGED}'");
    view.execute(&change).await?;

    let (code, report) = replay(stack, &verify).await?;
    ensure!(
        code == 3 && report["outcome"] == "failed",
        "{code}: {report}"
    );
    ensure!(report["differences"] == 1, "{report}");
    for comparison in report["comparisons"].as_array().context("comparisons")? {
        let found = comparison["differences"].as_array().context("a list")?;
        ensure!(found.len() == 1, "{report}");
        let found = &found[0];
        ensure!(
            found["table"] == table && found["key"][0] == CHANGED,
            "{report}"
        );
        let fields = found["fields"].as_array().context("fields")?;
        ensure!(
            fields.len() == 1 && fields[0]["column"] == "units",
            "{report}"
        );
        ensure!(
            fields[0]["left"] == 1 && fields[0]["right"] == 99,
            "{report}"
        );
        let mut events = found["events"].as_array().context("events")?.iter();
        let wrote = |columns: &[serde_json::Value]| columns.iter().any(|name| name == "units");
        let made = events.find(|event| event["columns"].as_array().is_some_and(|of| wrote(of)));
        let made = made.with_context(|| report.to_string())?;
        ensure!(
            made["event"] == "OrderCreated" && made["seq"].as_u64() > Some(0),
            "{report}"
        );
    }

    let flip = ["flip", view.name(), "--to-version", number];
    let (code, refused) = replay(stack, &flip).await?;
    let why = refused["error"].as_str().unwrap_or_default();
    ensure!(
        code == 3 && why.contains("differs (rows or parked records: 1)"),
        "{code}: {refused}"
    );
    Ok(())
}
