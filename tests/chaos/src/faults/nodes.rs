//! Faults of a node of command-api.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use rand::Rng;
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
        let node = self.rng.random_range(0..ground.nodes.len());
        match fault {
            Fault::FreezeNode => {
                ground.nodes[node].freeze().await?;
                self.wait(7_000..10_000).await;
            }
            Fault::RestartNode => ground.nodes[node].stop(STOP_LIMIT).await?,
            Fault::SkewClock => self.skew(ground, node).await?,
            _ => {
                ground.nodes[node].kill().await?;
                self.wait(0..5_000).await;
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
        self.wait(5_000..10_000).await;
        ground.nodes[node].kill().await
    }
}
