//! Faults of a broker.

use anyhow::Context as _;
use rand::seq::IndexedRandom;

use super::said::{active_controller, coordinators};
use super::{ELECTION_LIMIT, Fault, Nemesis, STOP_LIMIT};
use crate::ground::Ground;
use crate::wait::complete_within;

impl Nemesis {
    pub(super) async fn strike_broker(
        &mut self,
        ground: &mut Ground,
        fault: Fault,
    ) -> anyhow::Result<()> {
        match fault {
            Fault::FreezeBroker => {
                let broker = self.choose_broker(ground);
                ground.brokers[broker].freeze().await?;
                self.lasts(2_000..9_000);
            }
            Fault::FillDisk => {
                let broker = self.choose_broker(ground);
                ground.brokers[broker].fill_its_disk()?;
                ground.brokers[broker].gone_within(STOP_LIMIT).await?;
                self.lasts(0..3_000);
            }
            Fault::KillController => {
                let controller = kill_controller(ground).await?;
                self.turn.brokers.push(controller);
            }
            Fault::AddBroker => {
                let replaced = self.choose_broker(ground);
                ground.add_a_broker(replaced).await?;
                self.lasts(0..4_000);
            }
            Fault::MoveCoordinator => self.move_coordinator(ground).await?,
            _ => {
                let broker = self.choose_broker(ground);
                ground.brokers[broker].kill().await?;
                self.lasts(0..8_000);
            }
        }
        Ok(())
    }

    /// Stops the broker that coordinates one of the transactions' partitions; it hands over first.
    async fn move_coordinator(&mut self, ground: &mut Ground) -> anyhow::Result<()> {
        let before = coordinators(ground)?;
        let all: Vec<usize> = before.values().copied().collect();
        let broker = *all
            .choose(&mut self.rng)
            .context("no broker coordinates transactions")?;
        let moving = |(partition, of): (&u32, &usize)| (*of == broker).then_some(*partition);
        let moving: Vec<u32> = before.iter().filter_map(moving).collect();
        self.turn.brokers.push(broker);
        ground.brokers[broker].stop(STOP_LIMIT).await?;
        complete_within(ELECTION_LIMIT, async || {
            let now = coordinators(ground)?;
            let stays = moving.iter().any(|partition| now[partition] == broker);
            Ok(stays.then(|| {
                format!("partitions {moving:?} got no other coordinator within {ELECTION_LIMIT:?}")
            }))
        })
        .await
    }
}

async fn kill_controller(ground: &mut Ground) -> anyhow::Result<usize> {
    let controller = active_controller(ground)?;
    ground.brokers[controller].kill().await?;
    complete_within(ELECTION_LIMIT, async || {
        let stays = active_controller(ground)? == controller;
        Ok(stays.then(|| format!("no other controller was elected within {ELECTION_LIMIT:?}")))
    })
    .await?;
    Ok(controller)
}
