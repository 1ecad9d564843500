//! Building a version: the live pipeline over fixed partitions, with an end.
//!
//! Each partition has a worker of its own, several at a time. Where a partition stands is kept by
//! the sink with its rows, so a build that was killed goes on from there, and one that is run again
//! after its end finds nothing to do.

mod board;
mod source;

pub use board::{Board, PartitionProgress, Phase, Signal};
pub use source::{Bounded, Cut, End, Rate};

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_projector::{FixedPartitions, Limits, Plan, Step, Worker};
use cartwright_sinks::Sink;

use crate::reading::ends;

/// How long to wait before something that has failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a partition that moves asks the log for its end, to tell how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a version is built of.
pub struct Work<'a, L> {
    /// The log.
    pub log: L,
    /// Decodes its records.
    pub codec: Codec,
    /// The version.
    pub plan: Plan,
    /// How much is taken at a time.
    pub limits: Limits,
    /// Makes the sinks, one a partition.
    pub sink: &'a (dyn Fn() -> Box<dyn Sink> + Sync),
    /// What is read, and where each ends.
    pub partitions: Vec<(TopicPartition, End)>,
    /// Partitions at a time.
    pub parallel: usize,
    /// How fast records may be read, over all partitions.
    pub rate: Option<Arc<Rate>>,
}

/// Every partition of the plan's topics, up to where it ends now.
///
/// # Errors
/// When the log does not answer.
pub fn partitions<L: EventLog>(
    log: &L,
    plan: &Plan,
    cut: impl Fn(&TopicPartition) -> Option<Cut>,
) -> anyhow::Result<Vec<(TopicPartition, End)>> {
    let ends = ends(log, plan.projection)?.into_iter();
    let ends = ends.map(|(at, offset)| {
        let cut = cut(&at);
        (at, End { offset, cut })
    });
    Ok(ends.collect())
}

/// Builds until every partition has been read to its end, or the board says stop. Answers whether
/// all of them were; what stands in the way is on the board.
pub fn run<L: EventLog>(work: &Work<'_, L>, board: &Board) -> bool {
    board.begin(&work.partitions);
    let queue: Mutex<VecDeque<_>> = Mutex::new(work.partitions.iter().cloned().collect());
    let next = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    };
    std::thread::scope(|scope| {
        for _ in 0..work.parallel.clamp(1, work.partitions.len().max(1)) {
            scope.spawn(|| {
                while board.signal() != Signal::Stop
                    && let Some((at, end)) = next()
                {
                    build(work, board, &at, &end);
                }
            });
        }
    });
    board.is_done()
}

/// Reads one partition to its end, with as many workers as it takes.
fn build<L: EventLog>(work: &Work<'_, L>, board: &Board, at: &TopicPartition, end: &End) {
    while board.signal() != Signal::Stop {
        let reader = match work.log.reader(ReaderPurpose::Recovery) {
            Ok(reader) => reader,
            Err(error) => {
                board.error(at, error.to_string());
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        let source = Bounded::new(reader, at.clone(), end.clone(), work.rate.clone());
        let source = FixedPartitions::new(source, vec![at.clone()]);
        let codec = work.codec.clone();
        let mut worker = Worker::new(work.plan, work.limits, source, codec, (work.sink)());
        if follow(&mut worker, board, at) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Steps a worker; answers whether the partition is done with, be it that it has stopped.
fn follow<R: LogReader>(
    worker: &mut Worker<FixedPartitions<R>>,
    board: &Board,
    at: &TopicPartition,
) -> bool {
    let mut counted = worker.totals().clone();
    let mut looked: Option<Instant> = None;
    loop {
        match board.signal() {
            Signal::Stop => return true,
            Signal::Hold => {
                board.phase(at, Phase::Paused);
                std::thread::sleep(PAUSE);
                continue;
            }
            Signal::Go => {}
        }
        let step = worker.step();
        board.count(at, &worker.totals().since(&counted));
        counted = worker.totals().clone();
        match step {
            Step::Idle | Step::Rebalanced | Step::Applied(_) => {
                let due = looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
                if !(due || step == Step::Idle) {
                    continue;
                }
                looked = Some(Instant::now());
                for report in worker.report() {
                    board.report(&report);
                    if step == Step::Idle && report.behind == Some(0) {
                        board.phase(at, Phase::Done);
                        return true;
                    }
                }
            }
            Step::Waiting { reason } => {
                board.error(at, reason);
                std::thread::sleep(PAUSE.min(LOOK_EVERY));
            }
            Step::Failed { reason } => {
                board.error(at, reason);
                return false;
            }
            Step::Held { reason } | Step::Stopped { reason } => {
                board.error(at, reason);
                board.phase(at, Phase::Stopped);
                return true;
            }
        }
    }
}
