//! Faults of a projector, and of the ways between the read side and its stores.

use anyhow::ensure;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::{ELECTION_LIMIT, Fault, Nemesis};
use crate::ground::{Ground, STORES};
use crate::wait::complete_within;

impl Nemesis {
    pub(super) async fn strike_projector(
        &mut self,
        ground: &mut Ground,
        fault: Fault,
    ) -> anyhow::Result<()> {
        let projector = self.rng.random_range(0..ground.projectors.len());
        let store = *STORES.choose(&mut self.rng).unwrap_or(&STORES[0]);
        // The last one is query-api.
        let reader = self.rng.random_range(0..ground.ways.to_stores.len());
        match fault {
            Fault::FreezeProjector => freeze(ground, projector).await?,
            Fault::IsolateProjector => {
                let ways = ground.ways.projector_to_broker[projector].clone();
                self.cut(fault, ways);
            }
            Fault::SlowProjector => {
                let ways = ground.ways.projector_to_broker[projector].clone();
                self.slow(fault, ways);
            }
            Fault::CutStore => self.cut(fault, vec![ground.ways.to_store(reader, store)]),
            Fault::SlowStore => self.slow(fault, vec![ground.ways.to_store(reader, store)]),
            _ => {
                ground.projectors[projector].kill().await?;
                self.lasts(0..8_000);
            }
        }
        Ok(())
    }
}

/// Freezes a projector until the others have everything that it had.
async fn freeze(ground: &mut Ground, projector: usize) -> anyhow::Result<()> {
    let had = ground.partitions_of(projector).await?;
    ensure!(!had.is_empty(), "the projector has no partition");
    ground.projectors[projector].freeze().await?;
    complete_within(ELECTION_LIMIT, async || {
        let mut missing = had.clone();
        for other in (0..ground.projectors.len()).filter(|other| *other != projector) {
            let has = ground.partitions_of(other).await?;
            missing.retain(|partition| !has.contains(partition));
        }
        let lacks = || format!("nobody took over from the projector: {missing:?}");
        Ok((!missing.is_empty()).then(lacks))
    })
    .await
}
