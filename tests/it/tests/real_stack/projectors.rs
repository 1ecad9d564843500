//! Two projectors: partitions change hands under load, and the stores say who has which.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use serde_json::Value;

use crate::beside::Beside;
use crate::tools::replay;
use crate::versions::sell;

/// Those of the stack's ports that no part uses.
const PORT: u16 = 55;

/// A second projector joins and leaves, once as asked and once by kill -9, while orders are sold:
/// afterwards every row is what the log makes of it, so nothing was skipped and nothing repeated.
pub(crate) async fn a_projector_joins_and_leaves_under_load_and_every_row_is_right(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let stop = Arc::new(AtomicBool::new(false));
    let sellers: Vec<_> = ["PAIR-A", "PAIR-B"]
        .map(|sku| tokio::spawn(sell_until(api.clone(), sku, Arc::clone(&stop))))
        .into();
    let moved = partitions_change_hands(&stack).await;
    stop.store(true, Ordering::Relaxed);
    let mut sold = 0;
    for seller in sellers {
        sold += seller.await??;
    }
    moved?;
    ensure!(sold > 10, "only {sold} orders");
    let (code, report) = replay(&stack, &["audit", "--full", "--rows"]).await?;
    ensure!(report["errors"] == 0, "{code:?}: {report}");
    ensure!(report["rows_checked"].as_u64() > Some(sold), "{report}");
    Ok(())
}

/// Sells until told to stop; answers how many orders.
async fn sell_until(api: Api, name: &'static str, stop: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut sold = 0;
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        sell(&api, &format!("{name}-{round}"), 5).await?;
        sold += 5;
    }
    Ok(sold)
}

async fn partitions_change_hands(stack: &TestStack) -> anyhow::Result<()> {
    let first = owners(stack, "orders", 1).await?;
    let second = Beside::start(stack, Part::Projector, PORT).await?;
    let both = owners(stack, "orders", 2).await?;
    ensure!(both.is_superset(&first), "{first:?}, then {both:?}");
    ensure!(
        both.iter().any(|address| second.url.ends_with(address)),
        "{both:?} without {}",
        second.url
    );
    the_tool_shows_both(stack, &both).await?;
    second.end().await?;
    ensure!(owners(stack, "orders", 1).await? == first, "left as asked");
    let second = Beside::start(stack, Part::Projector, PORT).await?;
    owners(stack, "orders", 2).await?;
    second.kill()?;
    ensure!(owners(stack, "orders", 1).await? == first, "was killed");
    Ok(())
}

/// Waits until every partition of the projection's current version is fed, by so many processes
/// together; answers their addresses.
async fn owners(
    stack: &TestStack,
    projection: &str,
    processes: usize,
) -> anyhow::Result<BTreeSet<String>> {
    let port = stack.stack.ports().projector();
    let url = format!("http://127.0.0.1:{port}/v1/projections/{projection}");
    let what = format!("{projection} is fed by {processes}");
    eventually(&what, PATIENCE, || async {
        let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
        let overview: Value = serde_json::from_str(&text).ok()?;
        let mut versions = overview["versions"].as_array()?.iter();
        let current = versions.find(|version| version["current"] == true)?;
        let partitions = current["partitions"].as_array()?.iter();
        let owners: Option<BTreeSet<String>> = partitions
            .map(|each| Some(each["owner"]["address"].as_str()?.to_owned()))
            .collect();
        owners.filter(|owners| owners.len() == processes)
    })
    .await
}

/// `status` knows who feeds what, and how far each is, whichever process that is.
async fn the_tool_shows_both(stack: &TestStack, both: &BTreeSet<String>) -> anyhow::Result<()> {
    eventually("the tool shows both", PATIENCE, || async {
        let (_, status) = replay(stack, &["status", "orders"]).await.ok()?;
        let mut versions = status.as_array()?.iter();
        let current = versions.find(|version| version["current"] == true)?;
        let partitions = current["partitions"].as_array()?;
        let shown: BTreeSet<&str> = partitions
            .iter()
            .filter(|each| each["lag_s"].is_number())
            .filter_map(|each| each["owner"]["address"].as_str())
            .collect();
        let all: BTreeSet<&str> = both.iter().map(String::as_str).collect();
        (shown == all).then_some(())
    })
    .await
    .context("replay status")
}
