//! Both stores are lost, while everything runs.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_events::partition::partition_of;
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::{Part, READ_MODEL_NAME};
use cartwright_read_model::cassandra::{self, CassandraOptions};
use cartwright_read_model::postgres::{PostgresOptions, pool};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::tools::replay;
use crate::versions::sell;

/// Reads from both stores: by key, lists, search, a report.
const READS: [&str; 6] = [
    "/v1/orders/LOST-3",
    "/v1/carts/LOST-3",
    "/v1/products/LOST/availability",
    "/v1/orders/LOST-3/timeline",
    "/v1/search/products?q=lost",
    "/v1/reports/sales?by=product&currency=GBP",
];

const ORDERS: u32 = 8;

pub(crate) async fn both_stores_are_lost_and_one_command_brings_everything_back(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let position = sell(&api, "LOST", ORDERS).await?;
    eventually("eight orders that are paid for and held", PATIENCE, || {
        settled(&api)
    })
    .await?;
    // With nothing lost it says when every view has read what the log holds.
    let (code, whole) = replay(&stack, &["restore"]).await?;
    ensure!(code == Some(0) && whole["complete"] == true, "{whole}");
    let before = read_all(&api, Some(&position)).await?;

    lose_postgres(&stack).await?;
    lose_cassandra(&stack).await?;
    for path in [READS[0], READS[5]] {
        let lost = api.get(path, None).await?;
        ensure!(lost.status == 503, "{path}: {} {}", lost.status, lost.text);
    }

    begin_and_die(&stack).await?;
    let (code, report) = replay(&stack, &["restore"]).await?;
    ensure!(code == Some(0), "{code:?}: {report}");
    ensure!(report["complete"] == true, "{report}");
    let projections = report["projections"].as_array().context("projections")?;
    ensure!(projections.len() == 8, "{report}");
    ensure!(projections.iter().all(is_built), "{report}");

    // With the position: what comes back holds at least what was there.
    let after = eventually("the reads of before", PATIENCE, || async {
        read_all(&api, Some(&position)).await.ok()
    })
    .await?;
    for ((path, before), after) in READS.iter().zip(&before).zip(&after) {
        ensure!(before == after, "{path}: {before} before, {after} after");
    }
    // The projectors that ran all the time go on with what was restored.
    let later = sell(&api, "LOST-LATER", 1).await?;
    api.get("/v1/orders/LOST-LATER-0", Some(&later))
        .await?
        .expect(200)?;

    let (code, again) = replay(&stack, &["restore"]).await?;
    ensure!(code == Some(0) && again["complete"] == true, "{again}");
    let projections = again["projections"].as_array().context("projections")?;
    ensure!(!projections.iter().any(is_built), "{again}");
    Ok(())
}

/// Nothing is lost, but nobody has read the newest order: each partition that lacks something is named,
/// until a projector runs again.
pub(crate) async fn what_no_projector_has_read_yet_is_named(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    ensure!(stack.stack.kill(Part::Projector).await, "it did not run");
    sell(&api, "UNREAD", 1).await?;
    let (code, report) = replay(&stack, &["restore", "sales", "orders", "--wait-s", "0"]).await?;
    ensure!(code == Some(4), "{code:?}: {report}");
    ensure!(report["complete"] == false, "{report}");
    let partition = partition_of("UNREAD-0", 2);
    for restored in report["projections"].as_array().context("projections")? {
        let mut missing = restored["missing"].as_array().context("partitions")?.iter();
        let lacks = |each: &Value| {
            each["topic"] == "checkout.order.events.v1"
                && each["partition"] == partition
                && each["next_offset"].as_u64() < each["end"].as_u64()
        };
        ensure!(missing.any(lacks), "{report}");
    }
    stack.stack.start(Part::Projector).await?;
    let (code, report) = replay(&stack, &["restore", "sales", "orders"]).await?;
    ensure!(code == Some(0) && report["complete"] == true, "{report}");
    Ok(())
}

/// Whether all that the orders set going has come to its end.
async fn settled(api: &Api) -> Option<()> {
    let held = api.get(READS[2], None).await.ok()?.body["reserved"].as_u64()?;
    for number in 0..ORDERS {
        let order = api.get(&format!("/v1/orders/LOST-{number}"), None).await;
        let order = order.ok()?.body;
        (order["status"] == "paid").then_some(())?;
    }
    (held == u64::from(ORDERS)).then_some(())
}

/// The command is killed when it has begun some projection and not yet others.
async fn begin_and_die(stack: &TestStack) -> anyhow::Result<()> {
    let config = stack.stack.config();
    let mut command = Command::new(config.program("cartwright-replay"))
        .arg("--config")
        .arg(config.service_config_file(Part::Projector))
        .arg("restore")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let said = command.stderr.take().context("its words")?;
    let mut lines = BufReader::new(said).lines();
    let first = lines.next_line().await?.context("it begins")?;
    ensure!(first.ends_with("is built from the log"), "{first}");
    command.kill().await?;
    Ok(())
}

fn is_built(projection: &Value) -> bool {
    projection["built"] == true
}

async fn read_all(api: &Api, position: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut answers = Vec::new();
    for path in READS {
        answers.push(api.get(path, position).await?.expect(200)?.text);
    }
    Ok(answers)
}

async fn lose_postgres(stack: &TestStack) -> anyhow::Result<()> {
    let url = stack.stack.postgres_url();
    let server = url.strip_suffix(READ_MODEL_NAME).context("a URL")?;
    let pool = pool(&PostgresOptions::new(format!("{server}postgres")))?;
    let client = pool.get().await?;
    client
        .batch_execute(&format!("DROP DATABASE {READ_MODEL_NAME} WITH (FORCE)"))
        .await?;
    Ok(())
}

async fn lose_cassandra(stack: &TestStack) -> anyhow::Result<()> {
    let mut options = CassandraOptions::new(vec![stack.stack.cassandra_node()], READ_MODEL_NAME);
    // Dropping twenty tables takes its time.
    options.request_timeout = PATIENCE;
    let session = cassandra::connect(&options).await?;
    session
        .query_unpaged(format!("DROP KEYSPACE {READ_MODEL_NAME}"), ())
        .await?;
    Ok(())
}
