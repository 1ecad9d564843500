//! Ways that are cut, silent or slow.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::seq::IndexedRandom;

use super::{DISTURBANCE_LIMIT, Fault, Nemesis};
use crate::ground::Ground;
use crate::proxy::{Proxy, Way};

/// How long ways are watched.
const WATCH: Duration = Duration::from_millis(500);
/// What a way carries in that time that is in use.
const BUSY_CHUNKS: u64 = 10;

/// Ways on which something has to be broken or held back by the end of the turn, in the manner of this fault.
pub(super) struct Disturbed {
    fault: Fault,
    ways: Vec<Proxy>,
    how: Way,
    before: u64,
}

impl Disturbed {
    /// What is amiss as long as nothing was.
    pub(super) fn lacking(&self) -> Option<String> {
        let disturbed = count(&self.ways, self.how) > self.before;
        (!disturbed).then(|| format!("{}: nothing was disturbed", self.fault.name()))
    }
}

fn count(ways: &[Proxy], how: Way) -> u64 {
    ways.iter().map(|way| way.disturbed(how)).sum()
}

impl Nemesis {
    pub(super) async fn strike_way(
        &mut self,
        ground: &mut Ground,
        fault: Fault,
    ) -> anyhow::Result<()> {
        match fault {
            Fault::IsolateBroker => {
                let broker = self.choose_broker(ground);
                self.cut(fault, ground.ways.to_one_broker(broker));
            }
            Fault::SlowBrokers => {
                let broker = self.choose_broker(ground);
                self.slow(fault, ground.ways.between_brokers[broker].to_vec());
            }
            Fault::IsolateNode => {
                let node = self.choose_node(ground);
                self.cut(fault, ground.ways.to_broker[node].clone());
            }
            Fault::SlowOneWay => {
                let node = self.choose_node(ground);
                let way = busiest(&ground.ways.to_broker[node]).await?;
                self.slow(fault, vec![way]);
            }
            Fault::CutForwarding => {
                let way = self.busiest_between_nodes(ground).await?;
                self.cut(fault, vec![way]);
            }
            Fault::SlowForwarding => {
                let way = self.busiest_between_nodes(ground).await?;
                self.slow(fault, vec![way]);
            }
            Fault::CutRegistry => {
                self.cut(fault, vec![ground.ways.to_registry.clone()]);
                self.restart_a_node(ground).await?;
            }
            Fault::SlowRegistry => {
                self.slow(fault, vec![ground.ways.to_registry.clone()]);
                self.restart_a_node(ground).await?;
            }
            Fault::CutRegistryDatabase => {
                self.cut(fault, vec![ground.ways.registry_to_database.clone()]);
                self.without_registry(ground).await?;
            }
            Fault::SlowRegistryDatabase => {
                self.slow(fault, vec![ground.ways.registry_to_database.clone()]);
                // It has to ask its database, however long that takes.
                ground.registry_answers().await?;
                self.restart_a_node(ground).await?;
            }
            _ => {
                let node = self.choose_node(ground);
                let way = busiest(&ground.ways.to_broker[node]).await?;
                self.cut(fault, vec![way]);
            }
        }
        Ok(())
    }

    /// Breaks connections, or lets nothing arrive on them.
    pub(super) fn cut(&mut self, fault: Fault, ways: Vec<Proxy>) {
        let how = *[Way::Cut, Way::Silent]
            .choose(&mut self.rng)
            .unwrap_or(&Way::Cut);
        self.disturb(fault, ways, how);
    }

    pub(super) fn slow(&mut self, fault: Fault, ways: Vec<Proxy>) {
        let by = *[200, 600, 1_200].choose(&mut self.rng).unwrap_or(&200);
        self.disturb(fault, ways, Way::Slow(Duration::from_millis(by)));
    }

    fn disturb(&mut self, fault: Fault, ways: Vec<Proxy>, how: Way) {
        let before = count(&ways, how);
        ways.iter().for_each(|way| way.set(how));
        self.turn.disturbed.push(Disturbed {
            fault,
            ways,
            how,
            before,
        });
        self.lasts(3_000..9_000);
    }

    /// The way to the node that owns most of what clients ask for, of those that were spared.
    async fn busiest_between_nodes(&mut self, ground: &Ground) -> anyhow::Result<Proxy> {
        let nodes = ground.ways.between_nodes.iter().enumerate();
        let spared = nodes.filter(|(node, _)| !self.turn.nodes.contains(node));
        let ways: Vec<Proxy> = spared.map(|(_, way)| way.clone()).collect();
        busiest(&ways).await
    }
}

/// The busiest of some ways: one to a broker that has just come back, say, carries next to nothing. Where all
/// do, as just after a broker was killed, they are watched until one does more.
async fn busiest(ways: &[Proxy]) -> anyhow::Result<Proxy> {
    let carried = || ways.iter().map(Proxy::carried);
    let before: Vec<u64> = carried().collect();
    let began = Instant::now();
    loop {
        tokio::time::sleep(WATCH).await;
        let more = carried().zip(&before).map(|(now, before)| now - before);
        let busiest = ways.iter().zip(more).max_by_key(|(_, more)| *more);
        let (way, chunks) = busiest.context("no ways")?;
        if chunks >= BUSY_CHUNKS || began.elapsed() > DISTURBANCE_LIMIT {
            return Ok(way.clone());
        }
    }
}
