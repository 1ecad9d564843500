//! A storm of records that nobody can read, over many keys: more than a reader looks at together.
//!
//! No shard writes such records, so this comes late: the shards of their partitions will not serve
//! again once they have to read their log back.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::partition::partition_of;
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_local::{Part, Stack};
use cartwright_read_model::MOST_PARKED;
use serde_json::{Value, json};

use crate::sale::{check_out, fill_cart, name_in, stock_product};
use crate::tools::{every_projection_follows, replay};

const TOPIC: &str = "inventory.stock.events.v1";
const KEYS: u32 = 1_000;
const RECORDS_PER_KEY: u32 = 12;
const BATCH: usize = 2_000;
/// As many as an audit names of records that no shard wrote.
const MOST_FINDINGS: usize = 10_000;
/// The key that is read: in the last partition and after all others, where no look gets to.
const WATCHED: &str = "STORM-z";
const CART: &str = "storm-cart";

pub(crate) async fn a_storm_of_poison_is_parked_read_around_and_given_up(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    with_patient_shards(&stack).await?;
    let bootstrap = stack.stack.bootstrap();
    let log = KafkaLog::new(KafkaOptions::new(&bootstrap))?;
    let partitions = log.partition_count(TOPIC)?;
    let watched = name_in(partitions - 1, partitions, WATCHED);
    let product = stock_product(&api, &watched, 100, 5).await?;
    fill_cart(&api, CART, &watched, 1, product.position.as_deref()).await?;
    check_out(&api, CART).await?;
    every_projection_follows(&stack).await?;

    let began = Instant::now();
    let poisoned = watched.clone();
    let planted = tokio::task::spawn_blocking(move || plant(&log, &poisoned)).await??;
    ensure!(planted > u64::from(MOST_PARKED), "{planted} are too few");
    until_parked(&stack, planted).await?;
    eprintln!(
        "{planted} records over {KEYS} keys parked within {:?}",
        began.elapsed()
    );

    let received = api
        .post(
            &format!("/v1/stock/{watched}/receipts"),
            json!({"quantity": 1}),
        )
        .await?
        .accepted()?;
    let position = received.position.context("a position")?;
    until_parked(&stack, planted + 1).await?;
    reads_say_so(&stack, &watched, &position).await?;
    the_operator_gives_it_up(&stack, &watched, planted).await?;

    let stock = format!("/v1/products/{watched}/availability");
    let stock = api.get(&stock, Some(&position)).await?.expect(200)?;
    ensure!(stock.body["on_hand"] == 6, "{}", stock.text);
    // The log keeps the records, and every row is what it makes of the others.
    let arguments = ["audit", "--rows", "--max-findings", "100000"];
    let (_, report) = replay(&stack, &arguments).await?;
    let findings = report["findings"].as_array().context("findings")?;
    ensure!(findings.len() >= MOST_FINDINGS, "{}", findings.len());
    let wrong_row = |finding: &&Value| finding["rule"] == "read_model_differs";
    let other = findings.iter().find(wrong_row);
    ensure!(other.is_none(), "{other:?}");
    Ok(())
}

/// Restarts command-api so that its shards do not read their log back for a slow commit: they refuse
/// what a stranger wrote into it.
async fn with_patient_shards(test: &TestStack) -> anyhow::Result<()> {
    let mut config = test.stack.config().clone();
    let settings = [
        ("CARTWRIGHT__COMMAND__SLOW_COMMIT_MS", "60000"),
        ("CARTWRIGHT__SHARD__ARCHIVE_AFTER_MS", "3600000"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config
        .service_env
        .insert(Part::CommandApi, settings.to_vec());
    test.stack.stop(Part::CommandApi).await?;
    Ok(Stack::new(config)?.start(Part::CommandApi).await?)
}

/// Many records under each of many keys, and one under the key that is watched.
fn plant(log: &KafkaLog, watched: &str) -> anyhow::Result<u64> {
    let partitions = log.partition_count(TOPIC)?;
    let keys = (0..KEYS).map(|number| format!("STORM-{number:04}"));
    let keys: Vec<String> = keys.collect();
    let each = keys
        .iter()
        .flat_map(|key| vec![key.as_str(); RECORDS_PER_KEY as usize]);
    let records = each.chain([watched]).map(|key| NewRecord {
        topic: TOPIC.into(),
        partition: partition_of(key, partitions),
        key: key.as_bytes().to_vec(),
        value: Some(b"not an event".to_vec()),
        headers: Vec::new(),
    });
    let records: Vec<NewRecord> = records.collect();
    let mut stranger = log.writer("stranger")?;
    stranger.take_over()?;
    for batch in records.chunks(BATCH) {
        if stranger.commit(batch.to_vec())?.doubtful {
            stranger.take_over()?;
        }
    }
    Ok(records.len() as u64)
}

/// Waits until both views of the topic have put so many records aside.
async fn until_parked(stack: &TestStack, records: u64) -> anyhow::Result<()> {
    let port = stack.stack.ports().projector();
    let url = format!("http://127.0.0.1:{port}/v1/projections");
    eventually("the storm is parked", PATIENCE, || async {
        let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
        let answer: Value = serde_json::from_str(&text).ok()?;
        let states = answer["projections"].as_array()?;
        let parked = |name: &str| {
            let of = states.iter().find(|state| state["projection"] == name)?;
            let partitions = of["partitions"].as_array()?.iter();
            Some(
                partitions
                    .filter_map(|each| each["parked_records"].as_u64())
                    .sum::<u64>(),
            )
        };
        let both = [parked("stock")?, parked("causal")?];
        (both == [records, records]).then_some(())
    })
    .await
}

/// A read with the position of the write that waits is told so, from either store; one without it says
/// how much waits.
async fn reads_say_so(stack: &TestStack, sku: &str, position: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let base = stack.stack.query_url();
    for path in [
        format!("/v1/products/{sku}/availability"),
        format!("/v1/orders/{CART}/timeline?detail=causal"),
    ] {
        let url = format!("{base}{path}");
        let asked = client.get(&url).header("cartwright-position", position);
        let answer = asked.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(
            status == 504 && text.contains("position_parked"),
            "{path}: {status} {text}"
        );
        let answer = client.get(&url).send().await?;
        let parked = answer.headers().get("cartwright-parked").cloned();
        ensure!(parked.is_some_and(|records| records == "2"), "{path}");
        let other = format!("{base}{}", path.replace(sku, "MUG"));
        let answer = client.get(&other).send().await?;
        let of_other = answer.headers().get("cartwright-parked");
        ensure!(
            other == url || of_other.is_none(),
            "{of_other:?} of another key"
        );
    }
    Ok(())
}

/// Retried in vain by its reason, given up in bulk.
async fn the_operator_gives_it_up(
    stack: &TestStack,
    watched: &str,
    planted: u64,
) -> anyhow::Result<()> {
    let (_, shown) = replay(stack, &["parked", "show", "stock", watched]).await?;
    let reason = shown["waiting"][0]["reason"]["rejected"].as_str();
    let reason = reason.with_context(|| shown.to_string())?.to_owned();
    for (projection, chosen) in [
        ("stock", vec!["--reason", &reason]),
        ("causal", vec!["--all"]),
    ] {
        let mut retry = vec!["parked", "retry", projection];
        retry.extend(chosen);
        let (code, retried) = replay(stack, &retry).await?;
        ensure!(code == Some(3), "it still can't be folded: {retried}");
        ensure!(retried["still_parked"] == planted + 1, "{retried}");
        // The first record of the key, and what waits behind it is applied.
        let because = ["--because", "a stranger wrote it"];
        let mut skip = vec!["parked", "skip", projection, "--key", watched];
        skip.extend(because);
        let (code, skipped) = replay(stack, &skip).await?;
        ensure!(code == Some(0) && skipped["retried"] == 1, "{skipped}");
        let mut skip = vec!["parked", "skip", projection, "--all", "--whole-queue"];
        skip.extend(because);
        let (code, skipped) = replay(stack, &skip).await?;
        ensure!(code == Some(0), "{skipped}");
        ensure!(skipped["skipped"] == planted - 1, "{skipped}");
    }
    Ok(())
}
