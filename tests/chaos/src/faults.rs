//! What goes wrong, one thing after the other, each seen to have happened.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_local::Part;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::brokers::{active_controller, coordinators};
use crate::ground::Ground;
use crate::load::Load;
use crate::proxy::{Proxy, Way};
use crate::skew::{environment, told_offset};

/// How long the shop is left alone before the next fault; what is measured reaches as far.
const CALM: Duration = Duration::from_secs(2);
/// How long everybody may be without a success after everything was healed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(90);
/// How long brokers may take to hand over what they do, on a busy machine.
const ELECTION_LIMIT: Duration = Duration::from_secs(40);
/// How long a process may take that was asked to stop, or that has to find out that it can't go on.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillNode,
    FreezeNode,
    RestartNode,
    SkewClock,
    KillBroker,
    FreezeBroker,
    FillDisk,
    KillController,
    MoveCoordinator,
    IsolateBroker,
    IsolateNode,
    CutOneWay,
    SlowOneWay,
    CutForwarding,
    RegistryDown,
}

impl Fault {
    const ALL: [Fault; 15] = [
        Fault::KillNode,
        Fault::FreezeNode,
        Fault::RestartNode,
        Fault::SkewClock,
        Fault::KillBroker,
        Fault::FreezeBroker,
        Fault::FillDisk,
        Fault::KillController,
        Fault::MoveCoordinator,
        Fault::IsolateBroker,
        Fault::IsolateNode,
        Fault::CutOneWay,
        Fault::SlowOneWay,
        Fault::CutForwarding,
        Fault::RegistryDown,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Fault::KillNode => "node killed (SIGKILL)",
            Fault::FreezeNode => "node frozen (SIGSTOP) beyond its session, then thawed",
            Fault::RestartNode => "node stopped (SIGTERM) and started",
            Fault::SkewClock => "node with a clock that is off",
            Fault::KillBroker => "broker killed (SIGKILL)",
            Fault::FreezeBroker => "broker frozen (SIGSTOP), then thawed",
            Fault::FillDisk => "broker that can write nothing more, until it ends",
            Fault::KillController => "active controller killed (SIGKILL)",
            Fault::MoveCoordinator => "transaction coordinator moved: its broker stopped (SIGTERM)",
            Fault::IsolateBroker => "broker and controller that the others do not reach",
            Fault::IsolateNode => "node cut off from every broker",
            Fault::CutOneWay => "way between a node and a broker cut",
            Fault::SlowOneWay => "way between a node and a broker slow",
            Fault::CutForwarding => "node that the other nodes do not reach",
            Fault::RegistryDown => "registry stopped, a node killed meanwhile",
        }
    }
}

/// The kinds that this machine can do.
fn possible(ground: &Ground) -> Vec<Fault> {
    let all = Fault::ALL.into_iter();
    all.filter(|fault| *fault != Fault::SkewClock || ground.skew.is_some())
        .collect()
}

/// The kinds that this machine can't do.
pub(crate) fn left_out(ground: &Ground) -> Vec<&'static str> {
    let possible = possible(ground);
    let all = Fault::ALL.into_iter();
    all.filter(|fault| !possible.contains(fault))
        .map(Fault::name)
        .collect()
}

/// A fault that struck.
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
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
            let fault = self.next(ground);
            println!("{:>6.1} s  {}", began.elapsed().as_secs_f64(), fault.name());
            let from = Instant::now();
            self.strike(ground, fault).await.context(fault.name())?;
            let struck = from.elapsed();
            ground.heal().await.context(fault.name())?;
            let healed = from.elapsed() - struck;
            load.everybody_is_served(RECOVERY_LIMIT)
                .await
                .context(fault.name())?;
            tokio::time::sleep(CALM).await;
            let to = Instant::now();
            println!(
                "          {:.1} s, healed in {:.1} s; {} successes, {:.1} s without any, {:.1} s for one command",
                struck.as_secs_f64(),
                healed.as_secs_f64(),
                load.successes(from, to),
                load.longest_gap(from, to).as_secs_f64(),
                load.longest_wait(from, to).as_secs_f64(),
            );
            self.struck.push(Struck { fault, from, to });
        }
        Ok(())
    }

    /// Every kind once, in any order, then again.
    fn next(&mut self, ground: &Ground) -> Fault {
        if self.bag.is_empty() {
            self.bag = possible(ground);
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
                self.wait(0..5_000).await;
            }
            Fault::FreezeNode => {
                ground.nodes[node].freeze().await?;
                self.wait(7_000..10_000).await;
            }
            Fault::RestartNode => ground.nodes[node].stop(STOP_LIMIT).await?,
            Fault::SkewClock => self.skew(ground, node).await?,
            Fault::KillBroker => {
                ground.brokers[broker].kill().await?;
                self.wait(0..8_000).await;
            }
            Fault::FreezeBroker => {
                ground.brokers[broker].freeze().await?;
                self.wait(2_000..9_000).await;
            }
            Fault::FillDisk => {
                ground.brokers[broker].fill_its_disk()?;
                ground.brokers[broker].gone_within(STOP_LIMIT).await?;
                self.wait(0..3_000).await;
            }
            Fault::KillController => kill_controller(ground).await?,
            Fault::MoveCoordinator => self.move_coordinator(ground).await?,
            Fault::IsolateBroker => {
                let ways = ground.ways.between_brokers[broker].to_vec();
                self.cut(&ways).await?;
            }
            Fault::IsolateNode => {
                let ways = ground.ways.to_broker[node].clone();
                self.cut(&ways).await?;
            }
            Fault::CutOneWay => {
                let way = busiest(&ground.ways.to_broker[node]).await?;
                self.cut(&[way]).await?;
            }
            Fault::SlowOneWay => {
                let way = busiest(&ground.ways.to_broker[node]).await?;
                let by = *[200, 600, 1_200].choose(&mut self.rng).unwrap_or(&200);
                let slow = Way::Slow(Duration::from_millis(by));
                self.disturb(&[way], slow).await?;
            }
            Fault::CutForwarding => {
                // One that owns what clients ask for.
                let way = busiest(&ground.ways.between_nodes).await?;
                self.cut(&[way]).await?;
            }
            Fault::RegistryDown => {
                ground.stack.stop(Part::Registry).await?;
                ensure!(
                    !ground.registry_answers().await?,
                    "the registry answers all the same"
                );
                ground.nodes[node].kill().await?;
                ground.nodes[node].start(&[])?;
                self.wait(1_000..4_000).await;
            }
        }
        Ok(())
    }

    /// Breaks connections, or lets nothing arrive on them.
    async fn cut(&mut self, ways: &[Proxy]) -> anyhow::Result<()> {
        let how = *[Way::Cut, Way::Silent]
            .choose(&mut self.rng)
            .unwrap_or(&Way::Cut);
        self.disturb(ways, how).await
    }

    async fn disturb(&mut self, ways: &[Proxy], how: Way) -> anyhow::Result<()> {
        let count = || -> u64 { ways.iter().map(Proxy::disturbed).sum() };
        let before = count();
        ways.iter().for_each(|way| way.set(how));
        self.wait(3_000..9_000).await;
        ensure!(count() > before, "nothing was disturbed");
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

    /// Stops the broker that coordinates one of the transactions' partitions; it hands over first.
    async fn move_coordinator(&mut self, ground: &mut Ground) -> anyhow::Result<()> {
        let before = coordinators(ground)?;
        let all: Vec<usize> = before.values().copied().collect();
        let broker = *all
            .choose(&mut self.rng)
            .context("no broker coordinates transactions")?;
        let moving = |(partition, of): (&u32, &usize)| (*of == broker).then_some(*partition);
        let moving: Vec<u32> = before.iter().filter_map(moving).collect();
        ground.brokers[broker].stop(STOP_LIMIT).await?;
        let stopped = Instant::now();
        loop {
            let now = coordinators(ground)?;
            if moving.iter().all(|partition| now[partition] != broker) {
                return Ok(());
            }
            ensure!(
                stopped.elapsed() < ELECTION_LIMIT,
                "partitions {moving:?} got no other coordinator within {ELECTION_LIMIT:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn kill_controller(ground: &mut Ground) -> anyhow::Result<()> {
    let controller = active_controller(ground)?;
    ground.brokers[controller].kill().await?;
    let killed = Instant::now();
    while active_controller(ground)? == controller {
        ensure!(
            killed.elapsed() < ELECTION_LIMIT,
            "no other controller was elected within {ELECTION_LIMIT:?}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
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
