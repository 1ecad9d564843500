//! The replay tool's ways that are used when things are not straightforward.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_read_model::Store;
use cartwright_read_model::control::Control;
use cartwright_read_model::tables::projections;
use serde_json::Value;

use crate::readers::{a_reader_does_not_follow, it_is_gone};
use crate::tools::every_projection_follows;
use crate::traces::{control, nothing_is_left_of};
use crate::versions::{done, replay, sell, tool, until_progress};

/// What a build would take, a build that is held and goes on in another process, one of a few keys that
/// is never read, a switch that is forced and taken back.
pub(crate) async fn a_build_is_planned_held_resumed_and_tried_with_a_few_keys(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    sell(&stack.api(), "OPERATE", 20).await?;
    every_projection_follows(&stack).await?;
    let plan = done(&stack, &["plan", "carts"]).await?;
    ensure!(plan["records"].as_u64() >= Some(20), "{plan}");
    ensure!(plan["rows"].as_u64() >= Some(20), "{plan}");
    ensure!(
        plan["disk_bytes"].as_u64() > plan["rows"].as_u64(),
        "{plan}"
    );
    ensure!(plan["read_seconds"].as_f64() >= Some(0.0), "{plan}");
    let next = plan["next_version"].as_u64().context("a version")?;

    let slow = ["start", "carts", "--max-rate", "15"];
    let mut building = tool(&stack, &slow).spawn()?;
    until_progress(&stack, "carts").await?;
    done(&stack, &["pause", "carts"]).await?;
    let paused = status(&stack, next).await?;
    ensure!(
        paused["paused"] == true && paused["state"] == "building",
        "{paused}"
    );
    let faster = ["start", "carts", "--max-rate", "1000"];
    let (code, elsewhere) = replay(&stack, &faster).await?;
    ensure!(code == 4, "the build is another process's: {elsewhere}");
    let store = control(&stack, Store::Cassandra).await?;
    let versions = store.versions("carts").await?.context("versions")?;
    let build = versions.get(u32::try_from(next)?);
    let build = build.and_then(|version| version.build.clone());
    let rate = build.and_then(|build| build.max_rate);
    ensure!(rate == Some(1_000), "the rate is {rate:?}");
    building.kill().await?;
    // The one that was killed is heard of for a few seconds.
    eventually("the build goes on here", PATIENCE, || async {
        let (code, resumed) = replay(&stack, &["resume", "carts"]).await.ok()?;
        (code == 0 && resumed["state"] == "live").then_some(())
    })
    .await?;

    let again = done(&stack, &["start", "carts"]).await?;
    ensure!(
        again["version"] == next && again["finished"] == true,
        "{again}"
    );

    let few = ["start", "carts", "--only-keys", "OPERATE-3,OPERATE-4"];
    let tried = done(&stack, &few).await?;
    let trial = tried["version"].as_u64().context("a version")?;
    let number = trial.to_string();
    let again = done(&stack, &few).await?;
    ensure!(again["version"] == trial, "{again}");
    let to_trial = ["flip", "carts", "--to-version", &number, "--force"];
    let (code, _) = replay(&stack, &to_trial).await?;
    ensure!(code == 3, "a few keys became current: {code}");
    done(&stack, &["cancel", "carts", "--version", &number]).await?;
    nothing_is_left_of(&stack, "carts", u32::try_from(trial)?).await?;

    who_does_not_follow_is_waited_for(&stack, &store, next).await
}

/// A switch that is forced, and taken back, and a version that goes: none is done while somebody reads who has
/// not seen it.
async fn who_does_not_follow_is_waited_for(
    stack: &TestStack,
    store: &Control,
    next: u64,
) -> anyhow::Result<()> {
    let number = next.to_string();
    let unverified = ["flip", "carts", "--to-version", &number];
    let (code, _) = replay(stack, &unverified).await?;
    ensure!(code == 3, "a flip without a verification ended with {code}");
    let forced = ["flip", "carts", "--force"];
    let impatient = ["flip", "carts", "--force", "--wait-s", "1"];
    a_reader_does_not_follow(store, "carts").await?;
    let (code, flipped) = replay(stack, &impatient).await?;
    ensure!(
        code == 4 && flipped["to"] == next && flipped["forced"].is_string(),
        "{code}: {flipped}"
    );
    let (code, again) = replay(stack, &impatient).await?;
    ensure!(
        code == 4 && again["following"].as_u64() < again["readers"].as_u64(),
        "it does not wait for readers: {code}: {again}"
    );
    it_is_gone(store, "carts").await?;
    let again = done(stack, &forced).await?;
    ensure!(
        again["from"] == next && again["to"] == next,
        "twice is there and back: {again}"
    );
    ensure!(again["following"] == again["readers"], "{again}");
    let back = done(stack, &["rollback", "carts"]).await?;
    ensure!(back["from"] == next && back["to"] != next, "{back}");
    let again = done(stack, &["rollback", "carts"]).await?;
    ensure!(
        again["from"] == back["to"] && again["to"] == back["to"],
        "twice is there and back: {again}"
    );
    let retire = ["retire", "carts", "--version", &number, "--cursors-s", "0"];
    a_reader_does_not_follow(store, "carts").await?;
    let mut impatient = retire.to_vec();
    impatient.extend(["--wait-s", "1"]);
    let (code, waits) = replay(stack, &impatient).await?;
    let why = waits["error"].as_str().unwrap_or_default();
    ensure!(
        code == 1 && why.contains("have not seen"),
        "{code}: {waits}"
    );
    let missing = store.missing_tables(&projections::CARTS, u32::try_from(next)?);
    ensure!(missing.await?.is_empty(), "its tables are gone");
    it_is_gone(store, "carts").await?;
    // Long enough for the projector to see that it is to feed it no more.
    let mut patient = retire.to_vec();
    patient.extend(["--reads-s", "4"]);
    done(stack, &patient).await?;
    nothing_is_left_of(stack, "carts", u32::try_from(next)?).await
}

async fn status(stack: &TestStack, version: u64) -> anyhow::Result<Value> {
    let status = done(stack, &["status", "carts"]).await?;
    let mut versions = status.as_array().context("versions")?.iter();
    let found = versions.find(|each| each["version"] == version);
    found.cloned().with_context(|| status.to_string())
}
