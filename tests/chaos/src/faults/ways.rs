//! Ways that are cut, silent or slow.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::{Fault, Nemesis};
use crate::ground::Ground;
use crate::proxy::{Proxy, Way};

impl Nemesis {
    pub(super) async fn strike_way(
        &mut self,
        ground: &mut Ground,
        fault: Fault,
    ) -> anyhow::Result<()> {
        let node = self.rng.random_range(0..ground.nodes.len());
        let broker = self.rng.random_range(0..ground.brokers.len());
        match fault {
            Fault::IsolateBroker => {
                let ways = ground.ways.between_brokers[broker].to_vec();
                self.cut(&ways).await
            }
            Fault::IsolateNode => {
                let ways = ground.ways.to_broker[node].clone();
                self.cut(&ways).await
            }
            Fault::SlowOneWay => {
                let way = busiest(&ground.ways.to_broker[node]).await?;
                self.slow(&[way]).await
            }
            Fault::CutForwarding => {
                // One that owns what clients ask for.
                let way = busiest(&ground.ways.between_nodes).await?;
                self.cut(&[way]).await
            }
            _ => {
                let way = busiest(&ground.ways.to_broker[node]).await?;
                self.cut(&[way]).await
            }
        }
    }

    /// Breaks connections, or lets nothing arrive on them.
    pub(super) async fn cut(&mut self, ways: &[Proxy]) -> anyhow::Result<()> {
        let how = *[Way::Cut, Way::Silent]
            .choose(&mut self.rng)
            .unwrap_or(&Way::Cut);
        self.disturb(ways, how).await
    }

    pub(super) async fn slow(&mut self, ways: &[Proxy]) -> anyhow::Result<()> {
        let by = *[200, 600, 1_200].choose(&mut self.rng).unwrap_or(&200);
        self.disturb(ways, Way::Slow(Duration::from_millis(by)))
            .await
    }

    async fn disturb(&mut self, ways: &[Proxy], how: Way) -> anyhow::Result<()> {
        let count = || -> u64 { ways.iter().map(Proxy::disturbed).sum() };
        let before = count();
        ways.iter().for_each(|way| way.set(how));
        self.wait(3_000..9_000).await;
        ensure!(count() > before, "nothing was disturbed");
        Ok(())
    }
}

/// The busiest of some ways: one to a broker that has just come back, say, carries next to nothing.
async fn busiest(ways: &[Proxy]) -> anyhow::Result<Proxy> {
    let carried = || ways.iter().map(Proxy::carried);
    let before: Vec<u64> = carried().collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let more = carried().zip(before).map(|(now, before)| now - before);
    let busiest = ways.iter().zip(more).max_by_key(|(_, more)| *more);
    Ok(busiest.context("no ways")?.0.clone())
}
