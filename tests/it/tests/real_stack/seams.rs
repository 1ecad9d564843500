//! The suites that hold the implementations of a seam against a real server. Each is a test program of
//! the crate that it tests and does nothing unless a variable names a server: here is one.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_harness::TestStack;
use tokio::process::Command;

/// The suites empty what they write, so not the read model's own: the one that every server has.
const DATABASE: &str = "postgres";

pub(crate) async fn kafka_keeps_the_contract_of_the_event_log(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    suite(&stack, &["--test", "kafka"]).await
}

pub(crate) async fn both_stores_keep_the_contract_of_the_sinks(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let programs = ["real_stores", "postgres_trouble", "cassandra_trouble"];
    let programs = programs.map(|program| ["--test", program]).concat();
    suite(&stack, &programs).await
}

pub(crate) async fn both_stores_show_what_the_pipeline_wrote(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    suite(&stack, &["--test", "suite", "real::"]).await
}

/// Runs test programs, which have been built with this one, and passes on what failed.
async fn suite(stack: &TestStack, programs: &[&str]) -> anyhow::Result<()> {
    let stack = &stack.stack;
    let postgres = stack.postgres_url();
    let (server, _) = postgres.rsplit_once('/').context("a URL of a database")?;
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "--workspace",
            "--exclude",
            "cartwright-bench",
            "--quiet",
        ])
        .args(programs)
        .env("CARTWRIGHT_TEST_KAFKA", stack.bootstrap())
        .env("CARTWRIGHT_TEST_CASSANDRA", stack.cassandra_node())
        .env("CARTWRIGHT_TEST_POSTGRES", format!("{server}/{DATABASE}"))
        .stdin(Stdio::null())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{errors}");
    ensure!(
        said.contains(" passed") && !errors.contains("NOT RUN"),
        "it ran against nothing: {said}{errors}"
    );
    Ok(())
}
