//! What goes wrong, one thing or two at a time, each seen to have happened.

mod brokers;
mod kinds;
mod nodes;
mod projectors;
mod said;
mod stores;
mod ways;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) use kinds::{Family, Fault, left_out};
pub(crate) use said::coordinator_moves;

use crate::ground::Ground;
use crate::load::Load;
use kinds::Bag;

/// How long the shop is left alone before the next fault; what is measured reaches as far.
const CALM: Duration = Duration::from_secs(1);
/// How long everybody may be without a success after everything was healed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(90);
/// How long brokers may take to hand over what they do, on a busy machine.
const ELECTION_LIMIT: Duration = Duration::from_secs(40);
/// How long a process may take that was asked to stop, or that has to find out that it can't go on.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks again and again until nothing lacks any more; `lacking` says what does.
///
/// # Errors
/// What still lacks after `limit`.
async fn complete_within(
    limit: Duration,
    mut lacking: impl AsyncFnMut() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Some(lacks) = lacking().await? {
        ensure!(began.elapsed() < limit, lacks);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// A fault that struck.
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    /// Whether no other one struck meanwhile.
    pub(crate) alone: bool,
    pub(crate) from: Instant,
    /// How long it went on before it was healed.
    pub(crate) lasted: Duration,
    pub(crate) to: Instant,
}

pub(crate) struct Nemesis {
    rng: SmallRng,
    pub(crate) struck: Vec<Struck>,
    bag: Bag,
}

impl Nemesis {
    pub(crate) fn new(seed: u64, only: Vec<Family>) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed ^ 0xfa17),
            struck: Vec::new(),
            bag: Bag::new(only),
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
            let faults = self.bag.next(ground, &mut self.rng);
            let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
            let names = names.join(", and ");
            println!("{:>6.1} s  {names}", began.elapsed().as_secs_f64());
            let from = Instant::now();
            let mut begun = Vec::with_capacity(faults.len());
            for fault in &faults {
                begun.push(Instant::now());
                self.strike(ground, *fault).await.context(fault.name())?;
            }
            let struck = from.elapsed();
            ground.heal().await.with_context(|| names.clone())?;
            let healed = from.elapsed() - struck;
            load.everybody_is_served(RECOVERY_LIMIT)
                .await
                .with_context(|| names.clone())?;
            tokio::time::sleep(CALM).await;
            let to = Instant::now();
            println!(
                "          {:.1} s, healed in {:.1} s; {} successes, {:.1} s without any, {:.1} s for one command, \
                 {:.1} s without a read",
                struck.as_secs_f64(),
                healed.as_secs_f64(),
                load.commands.count(from, to),
                load.commands.longest_gap(from, to).as_secs_f64(),
                load.longest_wait(from, to).as_secs_f64(),
                load.longest_unread(from, to).as_secs_f64(),
            );
            let alone = faults.len() == 1;
            let struck = faults.into_iter().zip(begun).map(|(fault, begun)| Struck {
                fault,
                alone,
                from: begun,
                lasted: from + struck - begun,
                to,
            });
            self.struck.extend(struck);
        }
        Ok(())
    }

    async fn wait(&mut self, millis: std::ops::Range<u64>) {
        let millis = self.rng.random_range(millis);
        tokio::time::sleep(Duration::from_millis(millis)).await;
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
