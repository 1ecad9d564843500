//! Processes that die, at the worst moment and by kill -9.

use std::future::Future;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use serde_json::json;

use crate::sale::stock_product;

/// Sends receipts of one unit until told to stop; every one is retried under its key until it is
/// acknowledged. Returns how many were.
async fn receive_until(
    api: Api,
    sku: String,
    worker: usize,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<u64> {
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("\"{sku}-{worker}-{acknowledged}\"");
        let path = format!("/v1/stock/{sku}/receipts");
        let what = format!("receipt {key} acknowledged");
        eventually(&what, PATIENCE, || async {
            let headers = [("Idempotency-Key", key.as_str())];
            let answer = api
                .post_with(&path, json!({"quantity": 1}), &headers)
                .await
                .ok()?;
            answer.status.is_success().then_some(())
        })
        .await?;
        acknowledged += 1;
    }
    Ok(acknowledged)
}

/// Runs four workers on `sku` while `act` does its harm; returns what they had acknowledged.
async fn under_load<F, Fut>(api: &Api, sku: &str, act: F) -> anyhow::Result<u64>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            tokio::spawn(receive_until(
                api.clone(),
                sku.to_owned(),
                worker,
                Arc::clone(&stop),
            ))
        })
        .collect();
    let acted = act().await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    for worker in workers {
        acknowledged += worker.await??;
    }
    acted.map(|()| acknowledged)
}

async fn on_hand(api: &Api, sku: &str, position: Option<&str>) -> anyhow::Result<i64> {
    let stock = api
        .get(&format!("/v1/products/{sku}/availability"), position)
        .await?
        .expect(200)?;
    stock.body["on_hand"]
        .as_i64()
        .with_context(|| stock.text.clone())
}

/// A last receipt, whose position a reader can wait for.
async fn last_receipt(api: &Api, sku: &str) -> anyhow::Result<String> {
    let path = format!("/v1/stock/{sku}/receipts");
    let key = format!("\"{sku}-last\"");
    eventually("a receipt after the crash", PATIENCE, || async {
        let headers = [("Idempotency-Key", key.as_str())];
        let answer = api
            .post_with(&path, json!({"quantity": 1}), &headers)
            .await
            .ok()?;
        answer.position.filter(|_| answer.status.is_success())
    })
    .await
}

/// Holds the stock against the receipts that were acknowledged, the first delivery and one last receipt.
async fn each_took_effect_once(api: &Api, sku: &str, acknowledged: u64) -> anyhow::Result<()> {
    let position = last_receipt(api, sku).await?;
    let there = on_hand(api, sku, Some(&position)).await?;
    ensure!(
        there == i64::try_from(acknowledged)? + 2,
        "{acknowledged} acknowledged, {there} on hand"
    );
    Ok(())
}

/// Waits until at least this many receipts are visible.
async fn until_received(api: &Api, sku: &str, units: i64) -> anyhow::Result<()> {
    eventually("receipts under way", PATIENCE, || async {
        on_hand(api, sku, None)
            .await
            .ok()
            .filter(|&there| there >= units)
    })
    .await
    .map(drop)
}

pub(crate) async fn command_api_dies_and_no_acknowledged_command_is_lost(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    stock_product(&api, "CRASH", 100, 1).await?;
    let acknowledged = under_load(&api, "CRASH", || async {
        for round in 1..=2 {
            until_received(&api, "CRASH", round * 50).await?;
            ensure!(
                stack.stack.kill(Part::CommandApi).await,
                "command-api did not run"
            );
            stack.stack.start(Part::CommandApi).await?;
        }
        until_received(&api, "CRASH", 150).await
    })
    .await?;
    each_took_effect_once(&api, "CRASH", acknowledged).await
}

pub(crate) async fn the_projector_dies_and_the_read_model_is_as_if_it_had_not(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    stock_product(&api, "FOLD", 100, 1).await?;
    let acknowledged = under_load(&api, "FOLD", || async {
        for round in 1..=3 {
            until_received(&api, "FOLD", round * 40).await?;
            ensure!(
                stack.stack.kill(Part::Projector).await,
                "the projector did not run"
            );
            stack.stack.start(Part::Projector).await?;
        }
        Ok(())
    })
    .await?;
    let position = last_receipt(&api, "FOLD").await?;
    let there = eventually("the read model catches up", PATIENCE, || async {
        on_hand(&api, "FOLD", Some(&position)).await.ok()
    })
    .await?;
    ensure!(
        there == i64::try_from(acknowledged)? + 2,
        "{acknowledged} acknowledged, {there} on hand"
    );
    Ok(())
}

/// Kafka aborts a transaction that is open for longer than it may be, and fences its writer: to that it
/// looks as if another process had taken over.
pub(crate) async fn a_process_that_stood_still_is_fenced_and_serves_again(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    const FREEZES: usize = 10;
    // Three seconds for a transaction, and one until the broker looks.
    const FROZEN: Duration = Duration::from_secs(6);
    const NOTICED: Duration = Duration::from_secs(3);
    let api = stack.api();
    stock_product(&api, "STILL", 100, 1).await?;
    let says_fenced = || async {
        let told = api.get_command("/readyz?verbose").await.ok()?;
        told.text.contains("fenced").then_some(())
    };
    let acknowledged = under_load(&api, "STILL", || async {
        until_received(&api, "STILL", 20).await?;
        let mut fenced = false;
        for _ in 0..FREEZES {
            ensure!(stack.stack.freeze(Part::CommandApi).await, "not frozen");
            tokio::time::sleep(FROZEN).await;
            stack.stack.thaw(Part::CommandApi);
            // Unless no transaction was open just then.
            fenced = eventually("a shard is fenced", NOTICED, says_fenced)
                .await
                .is_ok();
            if fenced {
                break;
            }
        }
        ensure!(fenced, "no transaction was open in {FREEZES} freezes");
        eventually("it serves again", PATIENCE, || async {
            let ready = api.get_command("/readyz").await.ok()?;
            (ready.status == 200).then_some(())
        })
        .await
    })
    .await?;
    each_took_effect_once(&api, "STILL", acknowledged).await
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) async fn a_second_owner_fences_the_first(stack: Arc<TestStack>) -> anyhow::Result<()> {
    let api = stack.api();
    stock_product(&api, "FENCE", 100, 1).await?;
    let config = stack.stack.config();
    let port = stack.stack.ports().base() + 59;
    let second = Command::new(config.program("cartwright-command-api"))
        .arg("--config")
        .arg(config.service_config_file(Part::CommandApi))
        .env("CARTWRIGHT__HTTP__LISTEN", format!("127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let second = Running(second);
    let newer = Api::new(format!("http://127.0.0.1:{port}"), stack.stack.query_url());
    eventually("the second owner serves", PATIENCE, || async {
        newer
            .get_command("/readyz")
            .await
            .ok()
            .filter(|answer| answer.status == 200)
    })
    .await?;
    let path = "/v1/stock/FENCE/receipts";
    let headers = [("Idempotency-Key", "\"fence-1\"")];
    // Whatever the fenced owner says, it is not success; the same key works at the new owner.
    let fenced = api
        .post_with(path, json!({"quantity": 1}), &headers)
        .await?
        .expect(503)?;
    ensure!(
        fenced.text.contains("fenced") || fenced.text.contains("taken"),
        "{}",
        fenced.text
    );
    newer
        .post_with(path, json!({"quantity": 1}), &headers)
        .await?
        .accepted()?;
    let again = newer
        .post_with(path, json!({"quantity": 1}), &headers)
        .await?
        .accepted()?;
    ensure!(
        on_hand(&newer, "FENCE", again.position.as_deref()).await? == 2,
        "applied once"
    );
    drop(second);
    stack.stack.kill(Part::CommandApi).await;
    stack.stack.start(Part::CommandApi).await?;
    api.post_with(path, json!({"quantity": 1}), &headers)
        .await?
        .accepted()?;
    ensure!(
        on_hand(&api, "FENCE", again.position.as_deref()).await? == 2,
        "still once"
    );
    Ok(())
}
