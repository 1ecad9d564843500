//! Versions that several change at the same moment.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_events::Timestamp;
use cartwright_harness::TestStack;
use cartwright_read_model::Store;
use cartwright_read_model::control::Control;
use cartwright_read_model::tables::VERSIONS;
use cartwright_read_model::tables::projections::SALES;
use cartwright_read_model::versions::{Build, Versions};

use crate::traces::control;

/// No projection that anybody knows.
const NAME: &str = "racing";
const ROUNDS: u32 = 25;
const CHANGING: u32 = 4;

/// Each of several makes the next revision of the same one: one of them is told that it did, and that is
/// what is stored.
pub(crate) async fn of_changes_to_versions_at_the_same_moment_one_is_taken(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    for store in [Store::Postgres, Store::Cassandra] {
        let control = control(&stack, store).await?;
        let raced = race(&control).await;
        control.delete(&VERSIONS, &[NAME.into()]).await?;
        raced.with_context(|| store.name())?;
    }
    Ok(())
}

async fn race(control: &Control) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut stored = Versions::begin(&SALES, 2, now);
    ensure!(control.store_versions(NAME, &stored).await?, "the first");
    ensure!(!control.store_versions(NAME, &stored).await?, "it is there");
    let mut taken = 0;
    for _ in 0..ROUNDS {
        let tasks = (1..=CHANGING).map(|number| {
            let (control, before) = (control.clone(), stored.clone());
            tokio::spawn(async move {
                let number = before.highest + number;
                let next = before.add(&SALES, number, Build::default(), now)?;
                let taken = control.store_versions(NAME, &next).await;
                anyhow::Ok((next, taken))
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut winner = None;
        for task in tasks {
            // Of one that was given up by the store nobody knows, and it claims nothing.
            if let (next, Ok(true)) = task.await?? {
                ensure!(winner.is_none(), "two were told that they were taken");
                winner = Some(next);
            }
        }
        stored = control.versions(NAME).await?.context("versions")?;
        if let Some(winner) = winner {
            ensure!(stored == winner, "another one is stored");
            taken += 1;
        }
    }
    ensure!(taken > 0, "nobody was ever taken");
    Ok(())
}
