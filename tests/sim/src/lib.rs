//! Seeded simulation: shoppers, shards of all contexts and their log on one thread, under virtual
//! time, driven by one seed.
//!
//! Everything that can differ between two runs comes from the seed: who acts next, which process
//! dies, which fault strikes the log, how far time moves. So a failing seed is a failing test that
//! can be run again, step by step.

mod invariants;
mod node;
mod shopper;
mod world;

use thiserror::Error;

/// What a run that held its invariants did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Orders that reached each end, by its name.
    pub orders: std::collections::BTreeMap<String, u64>,
    /// Faults of the log that struck.
    pub faults: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Digest of every record of the log: the same seed gives the same digest.
    pub digest: u64,
}

/// A run broke an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("seed {seed}: {problem}")]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// What does not hold.
    pub problem: String,
}

/// How hard a run is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Shoppers that come by.
    pub shoppers: u64,
    /// Of 1,000 steps, how many inject a fault of the log.
    pub faults_per_mille: u32,
    /// Of 1,000 steps, how many kill a process.
    pub crashes_per_mille: u32,
    /// Whether each step is printed.
    pub trace: bool,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            shoppers: 12,
            faults_per_mille: 25,
            crashes_per_mille: 8,
            trace: false,
        }
    }
}

/// Runs one seed to its end and judges it.
///
/// # Errors
/// The invariant that does not hold.
pub fn run(seed: u64, weather: Weather) -> Result<Report, Violation> {
    let mut world = world::World::new(seed, weather);
    let outcome = world.run().and_then(|()| invariants::check(&world));
    match outcome {
        Ok(orders) => Ok(Report {
            seed,
            acknowledged: world.acknowledged(),
            orders,
            faults: world.faults(),
            crashes: world.crashes,
            digest: world.digest(),
        }),
        Err(problem) => Err(Violation { seed, problem }),
    }
}
