//! Faults of a store, and of the registry, whose database is one.

use std::fs;

use anyhow::{Context as _, ensure};
use cartwright_local::Part;
use rand::Rng;

use super::{Fault, Nemesis, STOP_LIMIT};
use crate::ground::Ground;
use crate::wait::complete_within;

/// What both stores say when the system has told them that there is no room.
const NO_ROOM: &str = "No space left on device";

impl Nemesis {
    pub(super) async fn strike_store(
        &mut self,
        ground: &mut Ground,
        fault: Fault,
    ) -> anyhow::Result<()> {
        match fault {
            Fault::RegistryDown => {
                ground.stack.stop(Part::Registry).await?;
                self.without_registry(ground).await
            }
            Fault::DatabaseDown => {
                kill(ground, Part::Postgres).await?;
                let projector = self.rng.random_range(0..ground.projectors.len());
                ground.projectors[projector].kill().await?;
                ground.projectors[projector].start(&[])?;
                self.without_registry(ground).await
            }
            Fault::KillCassandra => {
                kill(ground, Part::Cassandra).await?;
                self.lasts(0..5_000);
                Ok(())
            }
            Fault::FreezePostgres => self.freeze_store(ground, Part::Postgres).await,
            Fault::FreezeCassandra => self.freeze_store(ground, Part::Cassandra).await,
            Fault::FillPostgres => self.fill(ground, Part::Postgres).await,
            Fault::FillCassandra => {
                self.fill(ground, Part::Cassandra).await?;
                // It ends by itself when its log can't be written, most of the time soon. Nobody may
                // rely on one that has not: it is killed before it is started again.
                ground.stack.kill(Part::Cassandra).await;
                Ok(())
            }
            _ => {
                kill(ground, Part::Postgres).await?;
                self.lasts(0..5_000);
                Ok(())
            }
        }
    }

    /// A node that starts while the registry does not answer, or only complains.
    pub(super) async fn without_registry(&mut self, ground: &mut Ground) -> anyhow::Result<()> {
        ensure!(
            !ground.registry_answers().await?,
            "the registry answers all the same"
        );
        self.restart_a_node(ground).await?;
        self.lasts(1_000..4_000);
        Ok(())
    }

    async fn freeze_store(&mut self, ground: &mut Ground, store: Part) -> anyhow::Result<()> {
        ensure!(
            ground.stack.freeze(store).await,
            "{store} does not stand still"
        );
        self.lasts(4_000..12_000);
        Ok(())
    }

    /// Leaves a store no room, until it has complained or ended.
    async fn fill(&mut self, ground: &mut Ground, store: Part) -> anyhow::Result<()> {
        let log = ground.config.log_file(store);
        let complaints = || -> anyhow::Result<usize> {
            let log = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
            Ok(String::from_utf8_lossy(&log).matches(NO_ROOM).count())
        };
        let before = complaints()?;
        let disks = ground.disks.as_ref().context("no disks")?;
        disks.fill(store)?;
        complete_within(STOP_LIMIT, async || {
            let goes_on = ground.stack.runs(store) && complaints()? == before;
            Ok(goes_on.then(|| format!("{store} goes on without any room")))
        })
        .await?;
        self.lasts(1_000..4_000);
        Ok(())
    }
}

/// Kills a store; what PostgreSQL has started goes by itself then.
async fn kill(ground: &Ground, store: Part) -> anyhow::Result<()> {
    ensure!(
        ground.stack.kill(store).await,
        "{store} had ended by itself"
    );
    complete_within(STOP_LIMIT, async || {
        Ok(ground.stack.runs(store).then(|| format!("{store} runs on")))
    })
    .await
}
