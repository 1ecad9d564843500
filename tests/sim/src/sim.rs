//! What every part of a run shares: the one source of chance, the count of what went wrong, the
//! trace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cartwright_event_log::memory::MemoryWriter;
use cartwright_event_log::{NewRecord, TopicPartition};
use cartwright_events::Timestamp;
use cartwright_shard::Clock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::Weather;
use crate::bug::Bug;

/// How a transaction ended, as its writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Committed,
    NotCommitted,
    Unknown,
}

/// One call of a writer's `commit`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) records: usize,
    pub(crate) told: Told,
}

pub(crate) struct State {
    pub(crate) rng: SmallRng,
    pub(crate) bug: Option<Bug>,
    weather: Weather,
    calm: bool,
    faults: BTreeMap<&'static str, u64>,
    trace: DefaultHasher,
    step: u64,
    /// By their number, which every record carries in a header.
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    /// By the number of the attempt, records of it that compaction has taken.
    pub(crate) compacted: BTreeMap<u64, usize>,
    /// First offset of the last committed transaction in a partition.
    pub(crate) last_transaction: HashMap<TopicPartition, u64>,
    /// Partitions whose leader's last stable offset is behind, and for how many polls.
    pub(crate) lagging: HashMap<TopicPartition, u32>,
    /// Partitions whose leader takes its time, and how many more polls end before it has answered.
    pub(crate) slow: HashMap<TopicPartition, u32>,
    /// For [`Bug::SkipTheFence`].
    pub(crate) shared_writers: HashMap<String, Arc<Mutex<MemoryWriter>>>,
    /// Transactional ids whose epoch a take-over joins, for [`Bug::SkipTheFence`].
    pub(crate) joinable: BTreeSet<String>,
    /// For [`Bug::ReadUncommitted`].
    pub(crate) aborted: Vec<NewRecord>,
    /// What does not hold, seen where it happened.
    violation: Option<String>,
}

/// A handle to it; clones share it.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<State>>, Arc<AtomicI64>);

/// What unwinds through a process that is killed.
struct Killed;

impl Sim {
    pub(crate) fn new(seed: u64, weather: Weather, now_us: i64) -> Self {
        let state = State {
            rng: SmallRng::seed_from_u64(seed),
            bug: weather.bug,
            weather,
            calm: false,
            faults: BTreeMap::new(),
            trace: DefaultHasher::new(),
            step: 0,
            attempts: BTreeMap::new(),
            compacted: BTreeMap::new(),
            last_transaction: HashMap::new(),
            lagging: HashMap::new(),
            slow: HashMap::new(),
            shared_writers: HashMap::new(),
            joinable: BTreeSet::new(),
            aborted: Vec::new(),
            violation: None,
        };
        Self(
            Arc::new(Mutex::new(state)),
            Arc::new(AtomicI64::new(now_us)),
        )
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A process that was killed while it held the lock leaves it as it is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.lock().rng.random_range(0..end.max(1))
    }

    pub(crate) fn between(&self, range: std::ops::Range<i64>) -> i64 {
        self.lock().rng.random_range(range)
    }

    /// Whether something goes wrong that does so `per_mille` times of 1,000. Never in calm weather.
    pub(crate) fn strikes(&self, per_mille: u32) -> bool {
        let mut state = self.lock();
        !state.calm && state.rng.random_range(0..1000) < per_mille
    }

    /// As [`strikes`](Self::strikes), counted when it does.
    pub(crate) fn fault(&self, kind: &'static str, per_mille: u32) -> bool {
        let strikes = self.strikes(per_mille);
        if strikes {
            self.count(kind);
        }
        strikes
    }

    pub(crate) fn count(&self, kind: &'static str) {
        *self.lock().faults.entry(kind).or_default() += 1;
        self.trace(kind);
    }

    /// A place where a process may be killed.
    pub(crate) fn may_die(&self, kind: &'static str) {
        self.may_die_often(kind, 1);
    }

    /// The same for a process that makes so many times fewer calls than others.
    pub(crate) fn may_die_often(&self, kind: &'static str, times: u32) {
        let per_mille = self.lock().weather.crashes_per_mille * times;
        if self.fault(kind, per_mille) {
            Self::die();
        }
    }

    /// kill -9 of the process whose code runs. Unwinds to [`alive`](Self::alive).
    pub(crate) fn die() -> ! {
        resume_unwind(Box::new(Killed))
    }

    /// Runs a process until it returns; `None` when it was killed.
    pub(crate) fn alive<T>(run: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(done) => Some(done),
            Err(killed) if killed.is::<Killed>() => None,
            Err(panic) => resume_unwind(panic),
        }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.lock().bug == Some(bug)
    }

    /// Whether `bug` is planted and shows now.
    pub(crate) fn shows(&self, bug: Bug, per_mille: u32) -> bool {
        self.has(bug) && self.strikes(per_mille)
    }

    /// From here on nothing goes wrong.
    pub(crate) fn calm_down(&self) {
        let mut state = self.lock();
        state.calm = true;
        state.lagging.clear();
        state.slow.clear();
    }

    pub(crate) fn at_step(&self, step: u64) {
        self.lock().step = step;
    }

    /// Notes that something does not hold; the run ends with it.
    pub(crate) fn violated(&self, problem: String) {
        self.lock().violation.get_or_insert(problem);
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.lock().violation {
            Some(problem) => Err(problem.clone()),
            None => Ok(()),
        }
    }

    /// Notes what happens: the digest covers it, and a replay prints it.
    pub(crate) fn trace(&self, what: &str) {
        let mut state = self.lock();
        let step = state.step;
        (step, what).hash(&mut state.trace);
        if state.weather.trace {
            println!("{step:>6}  {what}");
        }
    }

    pub(crate) fn trace_digest(&self) -> u64 {
        self.lock().trace.finish()
    }

    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.lock().faults.clone()
    }

    /// True time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.1.load(Ordering::SeqCst))
    }

    pub(crate) fn advance_millis(&self, millis: i64) {
        self.1.fetch_add(millis * 1000, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Arc<SimClock> {
        Arc::new(SimClock {
            now_us: Arc::clone(&self.1),
            offset_us: AtomicI64::new(0),
        })
    }
}

/// The clock of one process: true time, and how far it is off.
#[derive(Debug)]
pub(crate) struct SimClock {
    now_us: Arc<AtomicI64>,
    offset_us: AtomicI64,
}

impl SimClock {
    pub(crate) fn set_offset_millis(&self, millis: i64) {
        self.offset_us.store(millis * 1000, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let now_us = self.now_us.load(Ordering::SeqCst);
        Timestamp::from_micros(now_us + self.offset_us.load(Ordering::SeqCst))
    }

    fn steady_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }
}
