//! What goes wrong, up to three things at a time, each seen to have happened.

mod bag;
mod brokers;
mod kinds;
mod nodes;
mod projectors;
mod said;
mod stores;
mod ways;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

pub(crate) use bag::left_out;
pub(crate) use kinds::{Family, Fault};
pub(crate) use said::coordinator_moves;

use crate::ground::Ground;
use crate::load::Load;
use crate::wait::complete_within;
use bag::Bag;
use ways::Disturbed;

/// How long the shop is left alone before the next fault; what is measured reaches as far.
const CALM: Duration = Duration::from_millis(250);
/// How often others strike while Cassandra comes back, which takes about as long.
const MEANWHILE: usize = 2;
/// How long everybody may be without a success after everything was healed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(180);
/// How long brokers may take to hand over what they do, on a busy machine.
const ELECTION_LIMIT: Duration = Duration::from_secs(90);
/// How long a process may take that was asked to stop, or that has to find out that it can't go on.
const STOP_LIMIT: Duration = Duration::from_secs(90);
/// How long beyond its time a way may have nothing on it that is disturbed.
const DISTURBANCE_LIMIT: Duration = Duration::from_secs(30);

/// A fault that struck.
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    /// Whether no other one struck before it was healed.
    pub(crate) alone: bool,
    pub(crate) from: Instant,
    /// How long it went on before it was healed.
    pub(crate) lasted: Duration,
    pub(crate) to: Instant,
}

/// What strikes together.
#[derive(Default)]
struct Turn {
    /// Nodes and brokers that were chosen: the next fault chooses others.
    nodes: Vec<usize>,
    brokers: Vec<usize>,
    disturbed: Vec<Disturbed>,
    /// Until when at least it goes on.
    until: Option<Instant>,
}

/// Faults that have struck together, and have to be healed.
struct Strike {
    /// Each with the time at which it was begun.
    faults: Vec<(Fault, Instant)>,
    /// When all of them had gone on for as long as they were to.
    until: Instant,
}

pub(crate) struct Nemesis {
    rng: SmallRng,
    pub(crate) struck: Vec<Struck>,
    bag: Bag,
    turn: Turn,
    began: Instant,
}

impl Nemesis {
    pub(crate) fn new(seed: u64, only: Vec<Family>) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed ^ 0xfa17),
            struck: Vec::new(),
            bag: Bag::new(only),
            turn: Turn::default(),
            began: Instant::now(),
        }
    }

    /// Lets faults strike for `limit`, and on a machine that is too slow for that until every family has.
    ///
    /// # Errors
    /// When a fault did not happen, or the shop does not recover from one.
    pub(crate) async fn rage(
        &mut self,
        ground: &mut Ground,
        load: &Load,
        limit: Duration,
    ) -> anyhow::Result<()> {
        self.began = Instant::now();
        while self.began.elapsed() < limit || !self.every_family_has_struck() {
            let faults = self.bag.next(ground, &mut self.rng);
            let strike = self.strike_together(ground, &faults).await?;
            self.heal(ground, load, strike)
                .await
                .with_context(|| names(&faults))?;
        }
        Ok(())
    }

    fn every_family_has_struck(&self) -> bool {
        let has_struck = |family| {
            let mut struck = self.struck.iter();
            struck.any(|struck| struck.fault.family() == family)
        };
        self.bag.wanted().into_iter().all(has_struck)
    }

    /// Strikes with each of them, and lets them go on together for as long as each is to.
    async fn strike_together(
        &mut self,
        ground: &mut Ground,
        faults: &[Fault],
    ) -> anyhow::Result<Strike> {
        println!(
            "{:>6.1} s  {}",
            self.began.elapsed().as_secs_f64(),
            names(faults)
        );
        self.turn = Turn::default();
        let mut begun = Vec::with_capacity(faults.len());
        for fault in faults {
            begun.push((*fault, Instant::now()));
            self.strike(ground, *fault).await.context(fault.name())?;
        }
        let until = self.turn.until.unwrap_or_else(Instant::now);
        tokio::time::sleep_until(until.into()).await;
        // Beside another fault nobody may come this way before he has given up on what he waits for.
        complete_within(DISTURBANCE_LIMIT, async || {
            Ok(self.turn.disturbed.iter().find_map(Disturbed::lacking))
        })
        .await?;
        Ok(Strike {
            faults: begun,
            until: Instant::now(),
        })
    }

    /// Ends everything that has struck, and waits until everybody is served. While a store takes its time
    /// to come back others strike.
    async fn heal(
        &mut self,
        ground: &mut Ground,
        load: &Load,
        strike: Strike,
    ) -> anyhow::Result<()> {
        let slow = |(fault, _): &(Fault, Instant)| fault.heals_slowly();
        let (slow, quick): (Vec<_>, Vec<_>) = strike.faults.iter().copied().partition(slow);
        ground.mend().await?;
        let stores = ground.start_stores();
        let meanwhile = async {
            ground.wait_for_nodes().await?;
            if slow.is_empty() {
                return Ok(());
            }
            load.shoppers_are_served(RECOVERY_LIMIT).await?;
            self.note(load, &quick, strike.until, false);
            // A fixed number, whenever it is back: what strikes is the seed's choice.
            for _ in 0..MEANWHILE {
                self.strike_meanwhile(ground, load).await?;
            }
            anyhow::Ok(())
        };
        let (started, struck) = tokio::join!(stores, meanwhile);
        started?;
        struck?;
        ground.wait_until_ready().await?;
        load.everybody_is_served(RECOVERY_LIMIT).await?;
        tokio::time::sleep(CALM).await;
        if slow.is_empty() {
            self.note(load, &quick, strike.until, quick.len() == 1);
        } else {
            let slow_ones: Vec<Fault> = slow.iter().map(|(fault, _)| *fault).collect();
            println!("          {}, all in all:", names(&slow_ones));
            self.note(load, &slow, strike.until, strike.faults.len() == 1);
        }
        Ok(())
    }

    /// Strikes the write side and heals it, while the round has something left for that.
    async fn strike_meanwhile(&mut self, ground: &mut Ground, load: &Load) -> anyhow::Result<()> {
        let faults = self.bag.next_meanwhile(&mut self.rng);
        if faults.is_empty() {
            return Ok(());
        }
        let strike = self.strike_together(ground, &faults).await?;
        let healed = async {
            ground.mend().await?;
            ground.wait_for_nodes().await?;
            load.shoppers_are_served(RECOVERY_LIMIT).await
        };
        healed.await.with_context(|| names(&faults))?;
        self.note(load, &strike.faults, strike.until, false);
        Ok(())
    }

    /// Notes faults that were healed by now, having struck until `until`.
    fn note(&mut self, load: &Load, faults: &[(Fault, Instant)], until: Instant, alone: bool) {
        let to = Instant::now();
        let Some(from) = faults.iter().map(|(_, begun)| *begun).min() else {
            return;
        };
        println!(
            "          {:.1} s, healed in {:.1} s; {} successes, {:.1} s without any, {:.1} s for one command, \
             {:.1} s without a read",
            (until - from).as_secs_f64(),
            (to - until).as_secs_f64(),
            load.commands.count(from, to),
            load.commands.longest_gap(from, to).as_secs_f64(),
            load.longest_wait(from, to).as_secs_f64(),
            load.longest_unread(from, to).as_secs_f64(),
        );
        self.struck
            .extend(faults.iter().map(|(fault, from)| Struck {
                fault: *fault,
                alone,
                from: *from,
                lasted: until - *from,
                to,
            }));
    }

    /// What has struck goes on for so long from now, or longer.
    fn lasts(&mut self, millis: std::ops::Range<u64>) {
        let until = Instant::now() + Duration::from_millis(self.rng.random_range(millis));
        self.turn.until = self.turn.until.max(Some(until));
    }

    /// A node that was spared so far in this turn.
    fn choose_node(&mut self, ground: &Ground) -> usize {
        choose(&mut self.rng, ground.nodes.len(), &mut self.turn.nodes)
    }

    /// A broker that was spared so far in this turn.
    fn choose_broker(&mut self, ground: &Ground) -> usize {
        choose(&mut self.rng, ground.brokers.len(), &mut self.turn.brokers)
    }

    async fn strike(&mut self, ground: &mut Ground, fault: Fault) -> anyhow::Result<()> {
        match fault.family() {
            Family::Nodes => self.strike_node(ground, fault).await,
            Family::Brokers => self.strike_broker(ground, fault).await,
            Family::Ways => self.strike_way(ground, fault).await,
            Family::Projectors => self.strike_projector(ground, fault).await,
            Family::Stores => self.strike_store(ground, fault).await,
        }
    }
}

fn names(faults: &[Fault]) -> String {
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    names.join(", and ")
}

/// One of `count` that is not among those `chosen` before, to which it is added.
fn choose(rng: &mut SmallRng, count: usize, chosen: &mut Vec<usize>) -> usize {
    let spared: Vec<usize> = (0..count).filter(|one| !chosen.contains(one)).collect();
    // Where all were chosen, as one node alone is, any is as good.
    let one = spared.choose(rng).copied().unwrap_or_default();
    chosen.push(one);
    one
}
