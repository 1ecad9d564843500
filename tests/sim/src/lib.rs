//! Seeded simulation: shoppers, the network between, shards of all contexts, their log, projectors
//! and both stores on one thread, under virtual time, driven by one seed.
//!
//! Everything that can differ between two runs comes from the seed: who acts next, which process is
//! killed in which call, which fault strikes the log or a store, how far time moves. So a failing
//! seed is a failing test that can be run again, step by step; its trace is the same every time, and
//! a digest of the trace says so.
//!
//! The shards, workers, folds and sinks are those of production. What is simulated stands at their
//! seams: the event log and the sinks are the in-memory models that their contract suites hold to the
//! real ones' behaviour, wrapped here so that a process can be killed at every call.

pub mod bug;
mod invariants;
mod log;
mod network;
mod node;
mod prices;
mod projector;
mod replay;
mod script;
mod shopper;
mod sim;
mod stock;
mod store;
pub mod take_over;
mod ticket;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

pub use bug::{BUGS, Bug, Planted};

/// What a run that held its invariants did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Orders that reached each end, by its name, and those of which goods left or came back.
    pub orders: BTreeMap<String, u64>,
    /// How often each kind of fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// What was done with versions of projections, and how often.
    pub versions: BTreeMap<&'static str, u64>,
    /// Commands that were queued in an inbox.
    pub queued: u64,
    /// Transactions before which messages had passed one that waits in the inbox.
    pub passed_in_inbox: u64,
    /// Commands that were decided once more since their key was forgotten.
    pub anew: u64,
    /// Rows of the read model that were compared with a fold of the log.
    pub rows: u64,
    /// Digest of everything that happened, in order, and of every record of the log: the same seed
    /// gives the same digest.
    pub trace_digest: u64,
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
    /// Of 1,000 steps, how many let something go wrong.
    pub faults_per_mille: u32,
    /// Of 1,000 calls of a process to the log or a store, how many it does not survive.
    pub crashes_per_mille: u32,
    /// Whether each step is printed.
    pub trace: bool,
    /// A deliberate bug, which the run should find.
    pub bug: Option<Bug>,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            shoppers: 10,
            faults_per_mille: 40,
            crashes_per_mille: 3,
            trace: false,
            bug: None,
        }
    }
}

/// Runs one seed to its end and judges it.
///
/// # Errors
/// The invariant that does not hold.
pub fn run(seed: u64, weather: Weather) -> Result<Report, Violation> {
    // A panic is a problem like others: whoever runs many seeds is told which one it was.
    let judged = catch_unwind(AssertUnwindSafe(|| judged(seed, weather)));
    let judged = judged.unwrap_or_else(|panic| Err(format!("a panic: {}", text_of(&*panic))));
    judged.map_err(|problem| Violation { seed, problem })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a text")
}

fn judged(seed: u64, weather: Weather) -> Result<Report, String> {
    let mut world = world::World::new(seed, weather)?;
    if let Err(problem) = world.run() {
        // What is wrong with the log says more than that a run could not go on.
        invariants::check_log(&world)?;
        return Err(problem);
    }
    let verdict = invariants::check(&world)?;
    Ok(Report {
        seed,
        acknowledged: world.acknowledged(),
        orders: verdict.orders,
        faults: world.faults(),
        versions: world.replay.done.clone(),
        queued: world.queued.len() as u64,
        passed_in_inbox: verdict.passed_in_inbox,
        anew: verdict.anew,
        rows: verdict.rows,
        trace_digest: invariants::trace_digest(&world)?,
    })
}

/// Runs seeds from `first` on until one shows the bug. Returns how many it took, and what it showed.
///
/// # Errors
/// When none of `most` seeds shows it.
pub fn hunt(bug: Bug, first: u64, most: u64) -> Result<(u64, Violation), u64> {
    let weather = Weather {
        bug: Some(bug),
        ..Weather::default()
    };
    for tried in 1..=most {
        if let Err(violation) = run(first + tried - 1, weather) {
            return Ok((tried, violation));
        }
    }
    Err(most)
}
