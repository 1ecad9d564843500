//! What query-api says of itself where those can see it who take a version away.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_events::Timestamp;
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use cartwright_read_model::control::{Control, Reader};
use cartwright_read_model::postgres::{PostgresOptions, pool};

use crate::beside::Beside;

const PORT: u16 = 56;

/// A store that takes no word about one view keeps nobody from reading the others; and who stops
/// says so before it ends.
pub(crate) async fn a_reader_that_cannot_say_what_it_reads_answers_and_one_that_leaves_says_so(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let pool = pool(&PostgresOptions::new(stack.stack.postgres_url()))?;
    let client = pool.get().await?;
    let readers = async || -> anyhow::Result<Vec<String>> {
        let sql = "SELECT instance FROM readers_v1 WHERE projection = 'sales'";
        let rows = client.query(sql, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    let before = readers().await?;
    // The catalog's comes first.
    let refuse =
        "ALTER TABLE readers_v1 ADD CONSTRAINT deaf CHECK (projection <> 'catalog') NOT VALID";
    client.batch_execute(refuse).await?;
    let second = Beside::start(&stack, Part::QueryApi, PORT).await?;
    let url = format!("{}/v1/reports/sales?by=day&currency=GBP", second.url);
    let answered = eventually("an answer of the second query-api", PATIENCE, || async {
        let answer = reqwest::get(&url).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    client
        .batch_execute("ALTER TABLE readers_v1 DROP CONSTRAINT deaf")
        .await?;
    answered?;
    let instance = eventually(
        "the second query-api says what it reads",
        PATIENCE,
        || async {
            let now = readers().await.ok()?;
            now.into_iter().find(|each| !before.contains(each))
        },
    )
    .await
    .context("readers")?;
    second.end().await?;
    let left = readers().await?;
    ensure!(
        !left.contains(&instance),
        "{instance} is still among {left:?}"
    );
    Ok(())
}

/// What a query-api that was killed has left behind.
pub(crate) async fn a_reader_died_long_ago(stack: &TestStack) -> anyhow::Result<()> {
    let pool = pool(&PostgresOptions::new(stack.stack.postgres_url()))?;
    let client = pool.get().await?;
    let sql = "INSERT INTO readers_v1 (projection, instance, revision, serves, \
               pointer_max_age_ms, seen_at, row_seq) \
               VALUES ('sales', 'dead', 1, 2, 5000, now() - interval '2 hours', 0)";
    Ok(client.batch_execute(sql).await?)
}

pub(crate) async fn the_dead_reader_is_forgotten(stack: &TestStack) -> anyhow::Result<()> {
    let pool = pool(&PostgresOptions::new(stack.stack.postgres_url()))?;
    let sql = "SELECT 1 FROM readers_v1 WHERE instance = 'dead'";
    let left = pool.get().await?.query(sql, &[]).await?;
    ensure!(left.is_empty(), "a reader that died is remembered");
    Ok(())
}

const DEAF: &str = "deaf";

/// A query-api that lives and does not see what becomes of the versions, for as long as a few commands take.
pub(crate) async fn a_reader_does_not_follow(
    control: &Control,
    projection: &str,
) -> anyhow::Result<()> {
    let reader = Reader {
        instance: DEAF.to_owned(),
        revision: 1,
        serves: 1,
        pointer_max_age_ms: 120_000,
        seen_at: Timestamp::now(),
    };
    Ok(control.say(projection, &reader).await?)
}

pub(crate) async fn it_is_gone(control: &Control, projection: &str) -> anyhow::Result<()> {
    Ok(control.forget_reader(projection, DEAF).await?)
}
