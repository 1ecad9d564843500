//! Faults of a node of command-api.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use rand::seq::IndexedRandom;

use super::{ELECTION_LIMIT, Fault, Nemesis, STOP_LIMIT};
use crate::ground::Ground;
use crate::skew::{environment, told_offset};
use crate::wait::{LOOK_EVERY, complete_within};

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
                others_own_its_shards(ground, node).await?;
            }
            Fault::RestartNode => {
                let ended = ground.nodes[node].stop(STOP_LIMIT).await?;
                // With 2 it says that it had to cut something off, as it may when others are struck too.
                let in_order = matches!(ended.code(), Some(0 | 2));
                ensure!(in_order, "the node was told to stop and ended with {ended}");
            }
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

/// Waits until the others own everything, also what a node that is frozen had.
async fn others_own_its_shards(ground: &Ground, node: usize) -> anyhow::Result<()> {
    let others: Vec<usize> = (0..ground.nodes.len())
        .filter(|other| *other != node)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    complete_within(ELECTION_LIMIT, async || {
        let (mut owned, mut all) = (0, 0);
        for other in &others {
            // One that does not say it has been told something else by now, or will be.
            if let Some((here, everywhere)) = ground.shards_of(*other).await {
                (owned, all) = (owned + here, everywhere);
            }
        }
        let lacks = all == 0 || owned < all;
        Ok(lacks.then(|| format!("the others own {owned} of {all} shards while a node is frozen")))
    })
    .await
}
