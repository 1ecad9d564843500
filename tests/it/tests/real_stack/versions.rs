//! Versions of projections on the real stack, with the replay tool as an operator runs it.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::sale::{capture, check_out, fill_cart, stock_product};

/// The replay tool on this stack, with JSON results.
fn tool(stack: &TestStack, arguments: &[&str]) -> Command {
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
async fn replay(stack: &TestStack, arguments: &[&str]) -> anyhow::Result<(i32, Value)> {
    let output = tool(stack, arguments).output().await?;
    let code = output.status.code().context("killed")?;
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ok((code, json))
}

async fn done(stack: &TestStack, arguments: &[&str]) -> anyhow::Result<Value> {
    let (code, json) = replay(stack, arguments).await?;
    ensure!(code == 0, "replay {arguments:?} ended with {code}: {json}");
    Ok(json)
}

/// What reads saw while versions changed.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    reads: AtomicU64,
    of_first: AtomicU64,
    of_second: AtomicU64,
}

/// Reads a report without end; every answer must be a success and of one version.
async fn read_reports(url: String, expected: String, seen: Arc<Seen>) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    while !seen.stop.load(Ordering::Relaxed) {
        let answer = client.get(&url).send().await?;
        let status = answer.status();
        let header = answer.headers().get("cartwright-projection");
        let version = header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let version = version.to_owned();
        let body = answer.text().await?;
        ensure!(status.is_success(), "{status}: {body}");
        ensure!(body == expected, "another answer by {version}: {body}");
        seen.reads.fetch_add(1, Ordering::Relaxed);
        match version.as_str() {
            "sales@1" => seen.of_first.fetch_add(1, Ordering::Relaxed),
            "sales@2" => seen.of_second.fetch_add(1, Ordering::Relaxed),
            other => anyhow::bail!("answered by {other:?}"),
        };
    }
    Ok(())
}

async fn sell(api: &Api, sku: &str, orders: u32) -> anyhow::Result<String> {
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

/// A version is built, verified, switched to, back, and to again, while reports are read all the
/// time; no read fails and none changes. Then the first one goes.
pub(crate) async fn a_version_is_built_verified_flipped_to_and_the_old_one_retired_under_reads(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    sell(&api, "REPLAY-A", 1).await?;
    let position = sell(&api, "REPLAY-B", 20).await?;
    let path = "/v1/reports/sales?by=product&currency=GBP";
    let expected = api.get(path, Some(&position)).await?.expect(200)?.text;
    let first_page = format!("{path}&limit=1");
    let page = api.get(&first_page, None).await?.expect(200)?;
    let cursor = page.body["next_cursor"].as_str().map(str::to_owned);

    let seen = Arc::new(Seen::default());
    let url = format!("{}{path}", stack.stack.query_url());
    let reading = tokio::spawn(read_reports(url, expected, Arc::clone(&seen)));
    let switched = switch_to_and_fro(&stack, &api, &first_page, cursor.as_deref(), &seen).await;
    seen.stop.store(true, Ordering::Relaxed);
    reading.await??;
    switched?;
    let (first, second) = (&seen.of_first, &seen.of_second);
    ensure!(first.load(Ordering::Relaxed) > 0 && second.load(Ordering::Relaxed) > 0);
    Ok(())
}

async fn switch_to_and_fro(
    stack: &TestStack,
    api: &Api,
    first_page: &str,
    cursor: Option<&str>,
    seen: &Seen,
) -> anyhow::Result<()> {
    let (code, _) = replay(stack, &["flip", "sales", "--to-version", "2"]).await?;
    ensure!(code == 3 || code == 1, "there is no version 2 yet");
    let built = done(stack, &["start", "sales"]).await?;
    ensure!(built["version"] == 2 && built["state"] == "live", "{built}");
    let (code, _) = replay(stack, &["flip", "sales"]).await?;
    ensure!(code == 3, "a flip without a verification ended with {code}");
    let verified = done(stack, &["verify", "sales", "--from-log"]).await?;
    ensure!(verified["outcome"] == "passed", "{verified}");
    for (command, version) in [("flip", 2), ("rollback", 1), ("flip", 2)] {
        let mut arguments = vec![command, "sales"];
        // After the way back the verification is of version 2 against version 1 still.
        if command == "flip" {
            arguments.extend(["--to-version", "2"]);
        }
        let flipped = done(stack, &arguments).await?;
        ensure!(flipped["to"] == version && flipped["following"] == flipped["readers"]);
        let before = seen.reads.load(Ordering::Relaxed);
        eventually("reads after the switch", PATIENCE, || async {
            (seen.reads.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await?;
    }
    // A cursor of the first version goes on there until that is retired, and is then refused.
    if let Some(cursor) = cursor {
        let next = format!("{first_page}&cursor={cursor}");
        api.get(&next, None).await?.expect(200)?;
    }
    let list = done(stack, &["list", "sales"]).await?;
    ensure!(current(&list) == Some(2), "{list}");
    let (code, _) = replay(stack, &["retire", "sales", "--version", "2"]).await?;
    ensure!(code == 3, "the current version was retired");
    let limits = ["--cursors-s", "1", "--reads-s", "1"];
    let mut arguments = vec!["retire", "sales", "--version", "1"];
    arguments.extend(limits);
    done(stack, &arguments).await?;
    if let Some(cursor) = cursor {
        let next = format!("{first_page}&cursor={cursor}");
        let answer = api.get(&next, None).await?.expect(410)?;
        ensure!(answer.code() == "cursor_outdated", "{}", answer.text);
    }
    Ok(())
}

/// The tool is killed in the middle and begun again; what it builds agrees with the log.
pub(crate) async fn a_build_that_is_killed_goes_on_where_it_was_and_one_that_is_cancelled_leaves_nothing(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    sell(&api, "KILLED", 20).await?;
    let slow = ["start", "orders", "--max-rate", "40"];
    let mut child: Child = tool(&stack, &slow).spawn()?;
    until_progress(&stack).await?;
    child.kill().await?;
    let number = done(&stack, &["start", "orders"]).await?["version"].clone();
    let number = number.as_u64().context("a version")?.to_string();
    let verified = done(
        &stack,
        &["verify", "orders", "--version", &number, "--from-log"],
    )
    .await?;
    ensure!(verified["outcome"] == "passed", "{verified}");

    let building = tool(&stack, &slow).spawn()?;
    until_progress(&stack).await?;
    done(&stack, &["pause", "orders"]).await?;
    done(&stack, &["cancel", "orders"]).await?;
    let ended = building.wait_with_output().await?;
    ensure!(ended.status.code() == Some(4), "{ended:?}");
    let list = done(&stack, &["list", "orders"]).await?;
    let versions = list[0]["versions"].as_array().context("versions")?;
    ensure!(versions.len() == 2, "the cancelled version is gone: {list}");
    Ok(())
}

/// Waits until a version of the orders is being built and has applied something.
async fn until_progress(stack: &TestStack) -> anyhow::Result<()> {
    eventually("a build under way", PATIENCE, || async {
        let (_, list) = replay(stack, &["list", "orders"]).await.ok()?;
        let versions = list[0]["versions"].as_array()?;
        let mut building = versions.iter().filter(|each| each["state"] == "building");
        building
            .next()
            .filter(|each| each["events"].as_u64() > Some(0))?;
        Some(())
    })
    .await
}

/// A view as of a moment stays what it was while the present goes on.
pub(crate) async fn a_point_in_time_is_read_beside_the_present(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let position = sell(&api, "ASOF", 3).await?;
    done(
        &stack,
        &["start", "timeline", "--until", &position, "--name", "then"],
    )
    .await?;
    fill_cart(&api, "ASOF-later", "ASOF", 1, None).await?;
    let there = |path: &'static str| {
        let api = api.clone();
        async move {
            let answer = api.get(path, None).await.ok()?;
            (answer.status.is_success()).then_some(answer.text)
        }
    };
    eventually("the point in time", PATIENCE, || {
        there("/v1/orders/ASOF-0/timeline?as_of=then")
    })
    .await?;
    eventually("the present", PATIENCE, || {
        there("/v1/orders/ASOF-later/timeline")
    })
    .await?;
    let unknown = api
        .get("/v1/orders/ASOF-0/timeline?as_of=never", None)
        .await?;
    unknown.expect(422)?;
    Ok(())
}
