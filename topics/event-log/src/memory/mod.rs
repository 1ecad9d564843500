//! A model of Kafka in memory, deterministic and with scripted faults.
//!
//! It models what a shard or a projector can notice: offsets, control records
//! that take offsets, producer epochs and fencing, aborted records, the last
//! stable offset against the high watermark, unknown outcomes, requests that
//! arrive late, transaction timeouts, consumer groups, compaction. It does not model
//! replication or retention by time.

mod fault;
mod group;
mod partition;
mod reader;
mod state;
mod writer;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{EventLog, LogError, OpenTransaction, ReaderPurpose, Record, Start, TopicPartition};

pub use fault::Fault;
pub use group::MemoryGroupReader;
use reader::Cursors;
pub use reader::MemoryReader;
pub use state::DelayedRequests;
use state::{Clock, State};
pub use writer::MemoryWriter;

/// First time of an explicit clock: 2026-01-01T00:00:00Z.
const EXPLICIT_START_US: i64 = 1_767_225_600_000_000;

/// A handle to a cluster in memory; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    polls_wait: bool,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// A log for one thread: polls return at once, and time moves only by
    /// [`advance`](Self::advance).
    pub fn new() -> Self {
        Self::build(Clock::Explicit(EXPLICIT_START_US), false)
    }

    /// A log for several threads: a poll waits for records up to its timeout,
    /// and records carry the machine's time.
    pub fn waiting() -> Self {
        Self::build(Clock::System, true)
    }

    fn build(clock: Clock, polls_wait: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(clock)),
                changed: Condvar::new(),
                polls_wait,
            }),
        }
    }

    /// Creates a topic; does nothing if it exists.
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        self.lock().create_topic(topic, partitions);
    }

    /// Makes `fault` strike the next call of its kind, by whomever.
    pub fn inject(&self, fault: Fault) {
        self.lock().script.push(None, fault);
    }

    /// Makes `fault` strike the next call of its kind by the writers of one
    /// transactional id.
    pub fn inject_for(&self, transactional_id: &str, fault: Fault) {
        self.lock().script.push(Some(transactional_id), fault);
    }

    /// The same before all faults that were injected and have not struck yet.
    pub fn inject_next_for(&self, transactional_id: &str, fault: Fault) {
        self.lock().script.push_first(transactional_id, fault);
    }

    /// How often `fault` has struck so far.
    pub fn fired(&self, fault: &Fault) -> u64 {
        self.lock().script.fired(fault)
    }

    /// Number of injected faults that have not struck yet.
    pub fn pending_faults(&self) -> usize {
        self.lock().script.pending()
    }

    /// Forgets the faults that have not struck yet.
    pub fn clear_faults(&self) {
        self.lock().script.clear();
    }

    /// Whether writers insist on a take-over after an error or a doubtful
    /// receipt (they do unless told otherwise). Off, a test can show what the
    /// rule protects from.
    pub fn insist_on_take_over(&self, insist: bool) {
        self.lock().guard = insist;
    }

    /// Lets the requests arrive now that a fault has delayed.
    pub fn deliver_delayed(&self, transactional_id: &str) {
        self.lock().deliver_delayed(transactional_id);
        self.wake();
    }

    /// What became of delayed requests so far.
    pub fn delayed_requests(&self) -> DelayedRequests {
        self.lock().delayed_requests
    }

    /// Broker time, microseconds since the epoch.
    pub fn now_us(&self) -> i64 {
        self.lock().now_us()
    }

    /// Moves an explicit clock forward and lets the coordinator abort the
    /// transactions that have been open for more than 3 s by then. Of a log made
    /// with [`waiting`](Self::waiting), it does the latter only.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        if let Clock::Explicit(now) = &mut state.clock {
            *now += i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 2);
        }
        state.abort_timed_out();
        drop(state);
        self.wake();
    }

    /// Deletes the records of a partition before `offset`, as retention does.
    pub fn delete_records(&self, at: &TopicPartition, offset: u64) {
        if let Some(partition) = self.lock().partition_mut(at) {
            partition.delete_before(offset);
        }
    }

    /// Compacts a partition, as Kafka's log cleaner may do at any moment with what
    /// stands before `offset`: of each key the newest committed record there stays,
    /// where it is; older ones go, and deletions, aborted records and control
    /// records, whose time has come. Nothing goes from the last stable offset on, nor
    /// does the very last entry: the segment that is written to is never cleaned.
    ///
    /// Gives the committed records that went. Those that were gone before left gaps,
    /// and do not go again.
    pub fn compact(&self, at: &TopicPartition, offset: u64) -> Vec<Record> {
        let mut state = self.lock();
        state
            .partition_mut(at)
            .map_or_else(Vec::new, |partition| partition.compact(offset))
    }

    /// The last stable offset of a partition: the end for read_committed readers.
    pub fn last_stable_offset(&self, at: &TopicPartition) -> Result<u64, LogError> {
        Ok(self.lock().partition(at)?.last_stable())
    }

    /// Every committed record of a partition that can be read now.
    pub fn committed(&self, at: &TopicPartition) -> Result<Vec<Record>, LogError> {
        let state = self.lock();
        let mut position = state.resolve(at, Start::Beginning)?;
        Ok(state.partition(at)?.read(&mut position, usize::MAX))
    }

    /// Makes a consumer group share its partitions out again.
    pub fn force_rebalance(&self, group: &str) {
        if let Some(group) = self.lock().groups.get_mut(group) {
            group.rebalance();
        }
        self.wake();
    }

    /// Takes the group's longest-standing member for dead: its partitions go to
    /// the others without its consent. It learns of it by its next poll, which
    /// joins again.
    pub fn expire_oldest_member(&self, group: &str) {
        self.lock().expire_oldest(group);
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panics in one thread should fail by that panic alone.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.shared.changed.notify_all();
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        let state = self.lock();
        let partition = state.partition(at)?;
        Ok((partition.low(), partition.high()))
    }

    /// Calls `step` until it gives something, once only unless polls wait.
    fn poll_until<T>(
        &self,
        timeout: Duration,
        mut step: impl FnMut(&mut State) -> Result<Option<T>, LogError>,
    ) -> Result<Option<T>, LogError> {
        let started = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(found) = step(&mut state)? {
                return Ok(Some(found));
            }
            let left = timeout.saturating_sub(started.elapsed());
            if !self.shared.polls_wait || left.is_zero() {
                return Ok(None);
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl EventLog for MemoryLog {
    type Writer = MemoryWriter;
    type Reader = MemoryReader;
    type GroupReader = MemoryGroupReader;

    fn writer(&self, transactional_id: &str) -> Result<MemoryWriter, LogError> {
        Ok(MemoryWriter {
            log: self.clone(),
            transactional_id: transactional_id.to_owned(),
            epoch: 0,
            ready: false,
        })
    }

    fn reader(&self, _purpose: ReaderPurpose) -> Result<MemoryReader, LogError> {
        Ok(MemoryReader {
            log: self.clone(),
            cursors: Cursors::default(),
        })
    }

    fn group_reader(&self, group: &str, topics: &[&str]) -> Result<MemoryGroupReader, LogError> {
        MemoryGroupReader::join(self, group, topics)
    }

    fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        self.lock().partition_count(topic)
    }

    fn open_transactions(&self, at: &TopicPartition) -> Result<Vec<OpenTransaction>, LogError> {
        self.lock().open_transactions(at)
    }
}
