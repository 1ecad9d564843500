//! What goes wrong, one thing after the other, each seen to have happened.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;
use cartwright_local::Part;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::ground::Ground;
use crate::load::Load;
use crate::proxy::Way;

/// How long the shop gets to recover before the next fault; what is measured reaches as far.
const CALM: Duration = Duration::from_secs(4);
/// How long two controllers may take to elect one of them: on a busy machine, many times the second
/// that they are set to.
const ELECTION_LIMIT: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillNode,
    FreezeNode,
    KillBroker,
    FreezeBroker,
    KillController,
    CutOneWay,
    SlowOneWay,
    IsolateNode,
    RegistryDown,
}

impl Fault {
    pub(crate) const ALL: [Fault; 9] = [
        Fault::KillNode,
        Fault::FreezeNode,
        Fault::KillBroker,
        Fault::FreezeBroker,
        Fault::KillController,
        Fault::CutOneWay,
        Fault::SlowOneWay,
        Fault::IsolateNode,
        Fault::RegistryDown,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Fault::KillNode => "node killed (SIGKILL) and started",
            Fault::FreezeNode => "node frozen (SIGSTOP) beyond its session and thawed",
            Fault::KillBroker => {
                "broker killed (SIGKILL) and started; its leaders and coordinators move"
            }
            Fault::FreezeBroker => "broker frozen (SIGSTOP) and thawed",
            Fault::KillController => "active controller killed (SIGKILL) and started",
            Fault::CutOneWay => "way between a node and a broker cut",
            Fault::SlowOneWay => "way between a node and a broker slowed down",
            Fault::IsolateNode => "node cut off from every broker",
            Fault::RegistryDown => "registry stopped, a node restarted meanwhile",
        }
    }
}

/// A fault that struck.
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    from: Instant,
    to: Instant,
}

pub(crate) struct Nemesis {
    rng: SmallRng,
    pub(crate) struck: Vec<Struck>,
    /// Faults that have not had their turn in this round.
    bag: Vec<Fault>,
}

impl Nemesis {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed ^ 0xfa17),
            struck: Vec::new(),
            bag: Vec::new(),
        }
    }

    /// Lets faults strike for `limit`.
    ///
    /// # Errors
    /// When a fault did not happen, or the shop does not recover from one.
    pub(crate) async fn rage(
        &mut self,
        ground: &mut Ground,
        load: &Load,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < limit {
            let fault = self.next();
            println!("{:>6.1} s  {}", began.elapsed().as_secs_f64(), fault.name());
            let from = Instant::now();
            self.strike(ground, fault).await?;
            ground.heal().await?;
            tokio::time::sleep(CALM).await;
            let to = Instant::now();
            println!(
                "          {:.1} s without a success",
                load.longest_gap(from, to).as_secs_f64()
            );
            self.struck.push(Struck { fault, from, to });
        }
        Ok(())
    }

    /// Every kind once, in any order, then again.
    fn next(&mut self) -> Fault {
        if self.bag.is_empty() {
            self.bag = Fault::ALL.to_vec();
        }
        let index = self.rng.random_range(0..self.bag.len());
        self.bag.swap_remove(index)
    }

    async fn wait(&mut self, millis: std::ops::Range<u64>) {
        let millis = self.rng.random_range(millis);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn strike(&mut self, ground: &mut Ground, fault: Fault) -> anyhow::Result<()> {
        let node = self.rng.random_range(0..ground.nodes.len());
        let broker = self.rng.random_range(0..ground.brokers.len());
        match fault {
            Fault::KillNode => {
                ground.nodes[node].kill().await?;
                self.wait(0..3_000).await;
            }
            Fault::FreezeNode => {
                ground.nodes[node].freeze().await?;
                self.wait(7_000..10_000).await;
            }
            Fault::KillBroker => {
                ground.brokers[broker].kill().await?;
                self.wait(1_000..5_000).await;
            }
            Fault::FreezeBroker => {
                ground.brokers[broker].freeze().await?;
                self.wait(2_000..8_000).await;
            }
            Fault::KillController => {
                let controller = active_controller(ground)?;
                ground.brokers[controller].kill().await?;
                let killed = Instant::now();
                while active_controller(ground)? == controller {
                    ensure!(
                        killed.elapsed() < ELECTION_LIMIT,
                        "no other controller was elected within {ELECTION_LIMIT:?}"
                    );
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            Fault::CutOneWay => {
                let broker = busiest(ground, node).await;
                self.cut(ground, node, &[broker]).await?;
            }
            Fault::IsolateNode => self.cut(ground, node, &[0, 1, 2]).await?,
            Fault::SlowOneWay => {
                let broker = busiest(ground, node).await;
                let proxy = ground.proxies[node][broker].clone();
                let before = proxy.slowed.load(Ordering::Relaxed);
                let by = *[200, 600, 1_200].choose(&mut self.rng).unwrap_or(&200);
                proxy.set(Way::Slow(Duration::from_millis(by)));
                self.wait(4_000..8_000).await;
                let slowed = proxy.slowed.load(Ordering::Relaxed) - before;
                ensure!(slowed > 0, "nothing was slowed down");
            }
            Fault::RegistryDown => {
                ground.stack.stop(Part::Registry).await?;
                ensure!(
                    !ground.registry_answers().await?,
                    "the registry answers all the same"
                );
                ground.nodes[node].kill().await?;
                ground.nodes[node].start()?;
                self.wait(2_000..4_000).await;
            }
        }
        Ok(())
    }

    async fn cut(
        &mut self,
        ground: &mut Ground,
        node: usize,
        brokers: &[usize],
    ) -> anyhow::Result<()> {
        let proxies: Vec<_> = brokers
            .iter()
            .map(|broker| ground.proxies[node][*broker].clone())
            .collect();
        let count = || -> u64 {
            let cut = proxies
                .iter()
                .map(|proxy| proxy.cut.load(Ordering::Relaxed));
            cut.sum()
        };
        let before = count();
        proxies.iter().for_each(|proxy| proxy.set(Way::Cut));
        self.wait(3_000..9_000).await;
        ensure!(count() > before, "no connection was broken");
        Ok(())
    }
}

/// The broker to which a node has the busiest way: one that has just come back leads nothing.
async fn busiest(ground: &Ground, node: usize) -> usize {
    let carried = || {
        ground.proxies[node]
            .iter()
            .map(|proxy| proxy.carried.load(Ordering::Relaxed))
    };
    let before: Vec<u64> = carried().collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let more = carried().zip(before).map(|(now, before)| now - before);
    more.enumerate()
        .max_by_key(|(_, more)| *more)
        .map_or(0, |(broker, _)| broker)
}

impl Struck {
    pub(crate) fn unavailable(&self, load: &Load) -> Duration {
        load.longest_gap(self.from, self.to)
    }
}

/// The broker whose log was the last to say that it became the active controller.
fn active_controller(ground: &Ground) -> anyhow::Result<usize> {
    let mut latest: BTreeMap<String, usize> = BTreeMap::new();
    for broker in 0..ground.brokers.len() {
        let name = format!("broker-{}.log", broker + 1);
        let log = fs::read(ground.config.state_dir.join("logs").join(name))?;
        let log = String::from_utf8_lossy(&log);
        let became = log
            .lines()
            .rfind(|line| line.contains("Becoming the active controller"));
        if let Some(time) = became.and_then(|line| line.get(..23)) {
            latest.insert(time.to_owned(), broker);
        }
    }
    let last = latest.last_key_value();
    last.map(|(_, broker)| *broker)
        .ok_or_else(|| anyhow::anyhow!("no broker says that it is the controller"))
}
