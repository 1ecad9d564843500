//! Builds that are cancelled at the worst moment, and a cancel that is killed there.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_read_model::Store;
use cartwright_read_model::postgres::{PostgresOptions, pool};
use cartwright_read_model::tables::SALES_REFUND_SHARES;

use crate::traces::{control, nothing_is_left_of};
use crate::versions::{done, replay, sell, tool, until_progress};

/// Keys and indexes take as long as a table is large. Here somebody who writes to a table keeps its key from
/// being made when the build is cancelled: neither that key nor any table after it is made any more.
pub(crate) async fn a_build_that_is_cancelled_while_its_keys_are_made_leaves_nothing(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    sell(&stack.api(), "INDEXED", 10).await?;
    let plan = done(&stack, &["plan", "sales"]).await?;
    let number = u32::try_from(plan["next_version"].as_u64().context("a version")?)?;
    let table = SALES_REFUND_SHARES.physical_name(number);
    let building = tool(&stack, &["start", "sales", "--again", "--max-rate", "10"]).spawn()?;
    until_progress(&stack, "sales").await?;
    let pool = pool(&PostgresOptions::new(stack.stack.postgres_url()))?;
    let mut writer = pool.get().await?;
    let writing = writer.transaction().await?;
    // No order of this trial is paid back, so nothing is written to it, and its key is made at the end.
    let lock = format!("LOCK TABLE {table} IN ROW EXCLUSIVE MODE");
    writing.batch_execute(&lock).await?;

    let asking = pool.get().await?;
    let waits = |to_drop: bool| {
        let (asking, table) = (&asking, &table);
        async move {
            let sql = format!(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
                 WHERE relation = to_regclass('{table}') AND NOT granted \
                 AND (query LIKE 'DROP TABLE%') = {to_drop}"
            );
            let row = asking.query_one(&sql, &[]).await.ok()?;
            (row.try_get::<_, i64>(0).ok()? > 0).then_some(())
        }
    };
    eventually("a key is to be made", PATIENCE, || waits(false)).await?;
    let cancelling = tool(&stack, &["cancel", "sales"]).spawn()?;
    eventually("the table is to go", PATIENCE, || waits(true)).await?;
    writing.rollback().await?;

    let cancelled = cancelling.wait_with_output().await?;
    ensure!(cancelled.status.code() == Some(0), "{cancelled:?}");
    let ended = building.wait_with_output().await?;
    ensure!(ended.status.code() == Some(4), "{ended:?}");
    nothing_is_left_of(&stack, "sales", number).await
}

/// Killed after the version was taken out of the versions, and before anything of it was removed: the same
/// command, without a number, finds what is left.
pub(crate) async fn a_cancel_that_was_killed_is_finished_by_the_same_command(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    sell(&stack.api(), "UNFINISHED", 10).await?;
    let slow = ["start", "carts", "--again", "--max-rate", "10"];
    let mut building = tool(&stack, &slow).spawn()?;
    until_progress(&stack, "carts").await?;
    building.kill().await?;
    let control = control(&stack, Store::Cassandra).await?;
    let versions = control.versions("carts").await?.context("versions")?;
    let number = versions.highest;
    let cancelled = versions.cancel(number)?;
    let taken = control.store_versions("carts", &cancelled).await?;
    ensure!(taken, "somebody else has changed the versions");
    let gone = done(&stack, &["cancel", "carts"]).await?;
    ensure!(gone["version"] == number, "{gone}");
    nothing_is_left_of(&stack, "carts", number).await?;
    let (code, nothing) = replay(&stack, &["cancel", "carts"]).await?;
    ensure!(code == 1, "nothing is left to be cancelled: {nothing}");
    Ok(())
}
