//! Faults of a node of command-api.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use rand::seq::IndexedRandom;

use super::{Fault, LOOK_EVERY, Nemesis, STOP_LIMIT};
use crate::ground::Ground;
use crate::skew::{environment, told_offset};

impl Nemesis {
    pub(super) async fn strike_node(
        &mut self,
        ground: &mut Ground,
        fault: Fault,
    ) -> anyhow::Result<()> {
        let node = self.choose_node(ground);
        match fault {
            Fault::FreezeNode => {
                ground.nodes[node].freeze().await?;
                self.lasts(7_000..10_000);
            }
            Fault::RestartNode => ground.nodes[node].stop(STOP_LIMIT).await?,
            Fault::SkewClock => self.skew(ground, node).await?,
            _ => {
                ground.nodes[node].kill().await?;
                self.lasts(0..5_000);
            }
        }
        Ok(())
    }

    /// Starts a node with another time: close enough to serve, or not.
    async fn skew(&mut self, ground: &mut Ground, node: usize) -> anyhow::Result<()> {
        let library = ground.skew.clone().context("no library for that")?;
        let by = *[-20, -3, 3, 20].choose(&mut self.rng).unwrap_or(&3);
        ground.nodes[node].kill().await?;
        ground.nodes[node].start(&environment(&library, by))?;
        let began = Instant::now();
        let told = loop {
            if let Some(date) = ground.date_of(node).await {
                break told_offset(&date).with_context(|| format!("no date: {date}"))?;
            }
            ensure!(began.elapsed() < STOP_LIMIT, "the node does not answer");
            tokio::time::sleep(LOOK_EVERY).await;
        };
        ensure!(
            (told - by).abs() <= 2,
            "the node's clock is off by {told} s"
        );
        self.lasts(5_000..10_000);
        Ok(())
    }

    /// Ends a node and starts it again, now.
    pub(super) async fn restart_a_node(&mut self, ground: &mut Ground) -> anyhow::Result<()> {
        let node = self.choose_node(ground);
        ground.nodes[node].kill().await?;
        ground.nodes[node].start(&[])
    }
}
