//! Versions of projections on the real stack, with the replay tool as an operator runs it.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use cartwright_events::Timestamp;
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::beside::Beside;
use crate::following::{Answered, every_switch_was_followed};
use crate::readers::{a_reader_died_long_ago, the_dead_reader_is_forgotten};
use crate::sale::{capture, check_out, fill_cart, stock_product};
use crate::traces::nothing_is_left_of;

const PORT: u16 = 57;

/// The replay tool on this stack, with JSON results.
pub(crate) fn tool(stack: &TestStack, arguments: &[&str]) -> Command {
    let config = stack.stack.config();
    let mut command = Command::new(config.program("cartwright-replay"));
    command
        .arg("--config")
        .arg(config.service_config_file(Part::Projector))
        .arg("--json")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it to its end; answers its exit code and result.
pub(crate) async fn replay(stack: &TestStack, arguments: &[&str]) -> anyhow::Result<(i32, Value)> {
    let output = tool(stack, arguments).output().await?;
    let code = output.status.code().context("killed")?;
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ok((code, json))
}

pub(crate) async fn done(stack: &TestStack, arguments: &[&str]) -> anyhow::Result<Value> {
    let (code, json) = replay(stack, arguments).await?;
    ensure!(code == 0, "replay {arguments:?} ended with {code}: {json}");
    Ok(json)
}

/// What reads saw while versions changed.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    reads: AtomicU64,
    answers: Mutex<Vec<Answered>>,
}

/// The report as version 1 of the sales tells it, which knew nothing of shipments.
fn without_shipments(report: &Value) -> Value {
    let mut report = report.clone();
    for row in report["rows"].as_array_mut().into_iter().flatten() {
        row.as_object_mut().map(|row| row.remove("orders_shipped"));
    }
    report
}

/// Reads a report without end; every answer must be a success, and be what the version that gave it
/// makes of the log.
async fn read_reports(
    reader: usize,
    url: String,
    newest: Value,
    seen: Arc<Seen>,
) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let older = without_shipments(&newest);
    while !seen.stop.load(Ordering::Relaxed) {
        let sent = Timestamp::now();
        let answer = client.get(&url).send().await?;
        let received = Timestamp::now();
        let status = answer.status();
        let header = answer.headers().get("cartwright-projection");
        let version = header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let version = version.to_owned();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        let body: Value = serde_json::from_str(&text)?;
        let expected = match version.as_str() {
            "sales@2" | "sales@4" => &newest,
            "sales@3" => &older,
            other => anyhow::bail!("answered by {other:?}"),
        };
        ensure!(body == *expected, "another answer by {version}: {text}");
        seen.reads.fetch_add(1, Ordering::Relaxed);
        let mut answers = seen.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push(Answered {
            reader,
            sent,
            received,
            by: version,
        });
    }
    Ok(())
}

pub(crate) async fn sell(api: &Api, sku: &str, orders: u32) -> anyhow::Result<String> {
    let product = stock_product(api, sku, 100, 1_000).await?;
    let mut last = String::new();
    for number in 0..orders {
        let id = format!("{sku}-{number}");
        fill_cart(api, &id, sku, 1, product.position.as_deref()).await?;
        let order = check_out(api, &id).await?;
        let amount = json!({"amount_minor": 100, "currency": "GBP"});
        let paid = capture(api, &id, "c", amount).await?.accepted()?;
        last = paid.position.or(order.position).unwrap_or_default();
    }
    Ok(last)
}

fn current(list: &Value) -> Option<u64> {
    let versions = list[0]["versions"].as_array()?;
    let current = versions.iter().find(|version| version["current"] == true)?;
    current["version"].as_u64()
}

/// The fold of the sales changes, and a column with it: from version 2 of the declaration, which a
/// fresh stack begins with, to version 1 and from there to version 2 as it is done in earnest, forth,
/// back and forth again, while reports are read all the time. No read fails and none mixes versions.
/// Then the ones before go.
pub(crate) async fn a_version_is_built_verified_flipped_to_and_the_old_one_retired_under_reads(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    sell(&api, "REPLAY-A", 1).await?;
    sell(&api, "REPLAY-B", 20).await?;
    let shipped = api
        .post(
            "/v1/orders/REPLAY-B-7/shipments",
            json!({"shipment_id": "all"}),
        )
        .await?
        .accepted()?;
    let path = "/v1/reports/sales?by=product&currency=GBP";
    let report = api.get(path, shipped.position.as_deref()).await?;
    let report = report.expect(200)?.body;
    let rows = report["rows"].as_array().context("rows")?;
    let shipped = rows.iter().find(|row| row["key"] == "REPLAY-B");
    let shipped = shipped.context("a row")?["orders_shipped"].as_u64();
    ensure!(shipped == Some(1), "{report}");
    let first_page = format!("{path}&limit=1");
    let page = api.get(&first_page, None).await?.expect(200)?;
    let cursor = page.body["next_cursor"].as_str().context("a cursor")?;
    let next_page = format!("{first_page}&cursor={cursor}");

    let second = Beside::start(&stack, Part::QueryApi, PORT).await?;
    let seen = Arc::new(Seen::default());
    let mut busy = Vec::new();
    for (reader, base) in [stack.stack.query_url(), second.url.clone()]
        .iter()
        .enumerate()
    {
        let url = format!("{base}{path}");
        eventually("reports", PATIENCE, || async {
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await?;
        let seen = Arc::clone(&seen);
        busy.push(tokio::spawn(read_reports(
            reader,
            url,
            report.clone(),
            seen,
        )));
    }
    busy.push(tokio::spawn(fill_carts(api.clone(), Arc::clone(&seen))));
    let switched = switch_to_and_fro(&stack, &api, &next_page, &seen).await;
    seen.stop.store(true, Ordering::Relaxed);
    for task in busy {
        task.await??;
    }
    switched?;
    second.end().await?;
    let answers = {
        let answers = seen.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.clone()
    };
    for version in ["sales@2", "sales@3", "sales@4"] {
        let read = answers.iter().any(|each| each.by == version);
        ensure!(read, "nobody has read {version}");
    }
    every_switch_was_followed(&stack, 2, &answers).await
}

/// Writes go on, of which the report knows nothing.
async fn fill_carts(api: Api, seen: Arc<Seen>) -> anyhow::Result<()> {
    let product = stock_product(&api, "REPLAY-C", 100, 1).await?;
    for number in 0.. {
        if seen.stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("REPLAY-C-{number}");
        fill_cart(&api, &id, "REPLAY-C", 1, product.position.as_deref()).await?;
    }
    Ok(())
}

async fn switch_to_and_fro(
    stack: &TestStack,
    api: &Api,
    next_page: &str,
    seen: &Seen,
) -> anyhow::Result<()> {
    let (code, _) = replay(stack, &["flip", "sales", "--to-version", "3"]).await?;
    ensure!(code == 3 || code == 1, "there is no version 3 yet");
    let built = done(stack, &["start", "sales", "--as-declared", "1"]).await?;
    ensure!(built["version"] == 3 && built["state"] == "live", "{built}");
    let (code, _) = replay(stack, &["flip", "sales"]).await?;
    ensure!(code == 3, "a flip without a verification ended with {code}");
    let verified = done(stack, &["verify", "sales"]).await?;
    ensure!(verified["outcome"] == "passed", "{verified}");
    flip(stack, &["flip", "sales"], 3, seen).await?;

    done(stack, &["dry-run", "sales"]).await?;
    let built = done(stack, &["start", "sales"]).await?;
    ensure!(built["version"] == 4 && built["state"] == "live", "{built}");
    let verified = done(stack, &["verify", "sales", "--version", "4"]).await?;
    ensure!(verified["outcome"] == "passed", "{verified}");
    let comparisons = verified["comparisons"].as_array();
    let judged = comparisons.is_some_and(|each| each.len() > 1);
    ensure!(judged, "the new column is judged by the log: {verified}");
    let to_newest = ["flip", "sales", "--to-version", "4"];
    flip(stack, &to_newest, 4, seen).await?;
    flip(stack, &["rollback", "sales"], 3, seen).await?;
    // After the way back the verification is of version 4 against version 3 still.
    flip(stack, &to_newest, 4, seen).await?;

    // A cursor of the first version goes on there until that is retired, and is then refused.
    api.get(next_page, None).await?.expect(200)?;
    let list = done(stack, &["list", "sales"]).await?;
    ensure!(current(&list) == Some(4), "{list}");
    let (code, _) = replay(stack, &["retire", "sales", "--version", "4"]).await?;
    ensure!(code == 3, "the current version was retired");
    a_reader_died_long_ago(stack).await?;
    for version in ["2", "3"] {
        let limits = ["--cursors-s", "1", "--reads-s", "1"];
        let mut arguments = vec!["retire", "sales", "--version", version];
        arguments.extend(limits);
        done(stack, &arguments).await?;
    }
    the_dead_reader_is_forgotten(stack).await?;
    let answer = api.get(next_page, None).await?.expect(410)?;
    ensure!(answer.code() == "cursor_outdated", "{}", answer.text);
    Ok(())
}

/// Switches to a version, and waits until it has been read.
async fn flip(
    stack: &TestStack,
    arguments: &[&str],
    version: u32,
    seen: &Seen,
) -> anyhow::Result<()> {
    let flipped = done(stack, arguments).await?;
    ensure!(flipped["to"] == version && flipped["following"] == flipped["readers"]);
    let before = seen.reads.load(Ordering::Relaxed);
    eventually("reads after the switch", PATIENCE, || async {
        (seen.reads.load(Ordering::Relaxed) > before + 20).then_some(())
    })
    .await
}

/// The tool is killed in the middle and begun again; what it builds agrees with the log.
pub(crate) async fn a_build_that_is_killed_goes_on_where_it_was_and_one_that_is_cancelled_leaves_nothing(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    sell(&api, "KILLED", 20).await?;
    let slow = ["start", "orders", "--again", "--max-rate", "10"];
    let mut child: Child = tool(&stack, &slow).spawn()?;
    until_progress(&stack, "orders").await?;
    child.kill().await?;
    let fast = ["start", "orders", "--max-rate", "0"];
    let number = done(&stack, &fast).await?["version"].as_u64();
    let number = u32::try_from(number.context("a version")?)?;
    let label = number.to_string();
    let verified = done(
        &stack,
        &["verify", "orders", "--version", &label, "--from-log"],
    )
    .await?;
    ensure!(verified["outcome"] == "passed", "{verified}");

    let building = tool(&stack, &slow).spawn()?;
    until_progress(&stack, "orders").await?;
    done(&stack, &["pause", "orders"]).await?;
    done(&stack, &["cancel", "orders"]).await?;
    let ended = building.wait_with_output().await?;
    ensure!(ended.status.code() == Some(4), "{ended:?}");
    let list = done(&stack, &["list", "orders"]).await?;
    let versions = list[0]["versions"].as_array().context("versions")?;
    ensure!(versions.len() == 2, "the cancelled version is gone: {list}");
    nothing_is_left_of(&stack, "orders", number + 1).await?;

    let building = tool(&stack, &["start", "timeline", "--max-rate", "10"]).spawn()?;
    until_progress(&stack, "timeline").await?;
    done(&stack, &["cancel", "timeline"]).await?;
    let ended = building.wait_with_output().await?;
    ensure!(ended.status.code() == Some(4), "{ended:?}");
    nothing_is_left_of(&stack, "timeline", 2).await
}

/// The store is killed in the middle of a build, and the build goes on where it was when the store is
/// there again: what it holds then agrees with the log.
pub(crate) async fn a_build_whose_store_is_killed_ends_as_if_it_had_not_been(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    sell(&stack.api(), "STORELESS", 20).await?;
    for (projection, store) in [("sales", Part::Postgres), ("orders", Part::Cassandra)] {
        let mut building = tool(
            &stack,
            &["start", projection, "--again", "--max-rate", "20"],
        )
        .spawn()?;
        until_progress(&stack, projection).await?;
        ensure!(stack.stack.kill(store).await, "{store} did not run");
        ensure!(building.try_wait()?.is_none(), "the build was too short");
        the_other_store_is_told_of(&stack, projection).await?;
        stack.stack.start(store).await?;
        let ended = building.wait_with_output().await?;
        ensure!(ended.status.code() == Some(0), "{ended:?}");
        let built: Value = serde_json::from_slice(&ended.stdout)?;
        let number = built["version"].as_u64().context("a version")?.to_string();
        let verify = ["verify", projection, "--version", &number, "--from-log"];
        let verified = done(&stack, &verify).await?;
        ensure!(verified["outcome"] == "passed", "{verified}");
    }
    Ok(())
}

/// While the store of a projection is away, what is in the other one is told all the same.
async fn the_other_store_is_told_of(stack: &TestStack, away: &str) -> anyhow::Result<()> {
    let store = cartwright_read_model::projection(away).map(|each| each.store.name());
    for command in ["list", "status"] {
        let (code, told) = replay(stack, &[command]).await?;
        ensure!(code == 1, "{command} ended with {code}: {told}");
        let told = told.as_array().context("a list")?;
        let (unknown, known): (Vec<_>, Vec<_>) =
            told.iter().partition(|each| each["error"].is_string());
        let is_away = |each: &&Value| each["store"].as_str() == store;
        ensure!(unknown.iter().all(is_away), "{unknown:?}");
        let of_it = unknown.iter().any(|each| each["projection"] == away);
        ensure!(of_it && !known.is_empty(), "{told:?}");
    }
    Ok(())
}

/// Waits until a version is being built and has applied something.
pub(crate) async fn until_progress(stack: &TestStack, projection: &str) -> anyhow::Result<()> {
    eventually("a build under way", PATIENCE, || async {
        let (_, list) = replay(stack, &["list", projection]).await.ok()?;
        let versions = list[0]["versions"].as_array()?;
        let mut building = versions.iter().filter(|each| each["state"] == "building");
        building
            .next()
            .filter(|each| each["events"].as_u64() > Some(0))?;
        Some(())
    })
    .await
}
