//! What operators gave up, in versions that are built afterwards.

use anyhow::{Context as _, ensure};
use cartwright_harness::{Api, TestStack};
use serde_json::Value;

use crate::versions::done;

/// What is read of a projection, and one record of it that was given up.
pub(crate) struct GivenUp<'a> {
    pub(crate) projection: &'a str,
    pub(crate) key: &'a str,
    /// Why an operator gave it up.
    pub(crate) because: &'a str,
    pub(crate) read: &'a str,
}

/// A version that is built beside does not park the record again and agrees with the one before and
/// with the log; when it is the only one left, it is read as before and knows why.
pub(crate) async fn it_stays_given_up(
    stack: &TestStack,
    api: &Api,
    of: &GivenUp<'_>,
) -> anyhow::Result<()> {
    let before = api.get(of.read, None).await?.expect(200)?.text;
    let built = done(stack, &["start", of.projection, "--again"]).await?;
    ensure!(built["given_up"] == 1 && built["parked"] == 0, "{built}");
    let number = built["version"].as_u64().context("a version")?.to_string();
    let verify = ["verify", of.projection, "--version", &number, "--from-log"];
    let verified = done(stack, &verify).await?;
    ensure!(verified["outcome"] == "passed", "{verified}");
    let flip = ["flip", of.projection, "--to-version", &number];
    let flipped = done(stack, &flip).await?;
    ensure!(flipped["forced"].is_null(), "{flipped}");
    let from = flipped["from"].as_u64().context("a version")?.to_string();
    let waits = ["--cursors-s", "0", "--reads-s", "1"];
    let mut retire = vec!["retire", of.projection, "--version", &from];
    retire.extend(waits);
    done(stack, &retire).await?;

    let shown = done(stack, &["parked", "show", of.projection, of.key]).await?;
    ensure!(shown["waiting"] == Value::Array(vec![]), "{shown}");
    let given_up = shown["given_up"].as_array().context("a list")?;
    let why = format!("{} (carried over from version {from})", of.because);
    ensure!(given_up.len() == 1 && given_up[0]["note"] == why, "{shown}");
    let url = format!("{}{}", stack.stack.query_url(), of.read);
    let answer = reqwest::get(&url).await?;
    let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    let spoke = header("cartwright-projection").unwrap_or_default();
    ensure!(
        spoke.contains(&format!("{}@{number}", of.projection)),
        "{spoke} spoke"
    );
    ensure!(header("cartwright-parked").is_none(), "{answer:?}");
    let after = answer.text().await?;
    ensure!(after == before, "{before} before, {after} after");
    Ok(())
}
