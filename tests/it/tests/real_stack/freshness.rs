//! How fresh reads stay while a version is rebuilt on the same machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_harness::{Api, TestStack};

use crate::clients;
use crate::sale::{fill_cart, stock_product};
use crate::versions::done;

/// What a rebuild reads at least, to last for a while.
const LEAST_RECORDS: u64 = 10_000;
/// From a command's answer to a read that shows it: the guarantee.
const BOUND: Duration = Duration::from_secs(2);
/// Views of both stores.
const REBUILT: [&str; 4] = ["carts", "timeline", "orders", "causal"];

/// Versions are built as fast as the machine can while carts are filled and read back: what a command
/// did is read within the bound, in a view of either store.
pub(crate) async fn a_rebuild_leaves_the_live_versions_fresh(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let plan = done(&stack, &["plan", "causal"]).await?;
    if plan["records"].as_u64() < Some(LEAST_RECORDS) {
        clients::the_demo_holds_its_invariants(Arc::clone(&stack)).await?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let sampling = tokio::spawn(sample(stack.api(), Arc::clone(&stop)));
    let built = rebuild_all(&stack).await;
    stop.store(true, Ordering::Relaxed);
    let mut samples = sampling.await??;
    let rebuilt = built?;
    ensure!(samples.len() >= 10, "only {} samples", samples.len());
    samples.sort();
    let (median, worst) = (samples[samples.len() / 2], samples[samples.len() - 1]);
    eprintln!(
        "{rebuilt} records rebuilt meanwhile; {} writes were visible after {median:?} in the \
         median, {worst:?} at worst",
        samples.len()
    );
    // A machine that stands still for a moment delays what comes in it, whatever runs there.
    let most = samples[samples.len() * 49 / 50];
    ensure!(
        most < BOUND,
        "one of fifty writes was visible after {most:?} only"
    );
    ensure!(
        worst < 5 * BOUND,
        "a write was visible after {worst:?} only"
    );
    Ok(())
}

/// Builds them one after the other and takes them away again; answers how many records were read.
async fn rebuild_all(stack: &TestStack) -> anyhow::Result<u64> {
    let mut records = 0;
    let mut built = Vec::new();
    for projection in REBUILT {
        let report = done(stack, &["start", projection, "--again"]).await?;
        records += report["records"].as_u64().context("records")?;
        let number = report["version"].as_u64().context("a version")?;
        built.push((projection, number.to_string()));
    }
    for (projection, number) in built {
        let waits = ["--cursors-s", "0", "--reads-s", "2"];
        let mut retire = vec!["retire", projection, "--version", &number];
        retire.extend(waits);
        done(stack, &retire).await?;
    }
    Ok(records)
}

/// Fills carts one after the other and reads each from both stores; answers how long it took from the
/// command's answer until both had shown it.
async fn sample(api: Api, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<Duration>> {
    let product = stock_product(&api, "FRESH", 100, 1).await?;
    let mut samples = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("fresh-{number}");
        let filled = fill_cart(&api, &id, "FRESH", 1, product.position.as_deref()).await?;
        let began = Instant::now();
        let position = filled.position.as_deref();
        for path in [
            format!("/v1/carts/{id}"),
            format!("/v1/orders/{id}/timeline"),
        ] {
            api.get(&path, position).await?.expect(200)?;
        }
        samples.push(began.elapsed());
    }
    Ok(samples)
}
