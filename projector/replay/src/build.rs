//! Building a version: the live pipeline over fixed partitions, with an end.
//!
//! Each partition has a worker of its own, several at a time. Where a partition stands is kept by
//! the sink with its rows, so a build that was killed goes on from there, and one that is run again
//! after its end finds nothing to do.

mod board;
mod point;
mod source;

pub use board::{Board, PartitionProgress, Phase, Signal};
pub use point::{check_held, cut_at, first_beyond, log_ends, partitions_of, seqs};
pub use source::{Bounded, Cut, End, Rate};

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cartwright_event_log::{EventLog, LogError, LogReader, ReaderPurpose, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_projector::{Applied, FixedPartitions, Limits, Plan, Step, Worker, caught};
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

fn build<L: EventLog>(work: &Work<'_, L>, board: &Board, at: &TopicPartition, end: &End) {
    let mut building = Building::new(at.clone(), end.clone());
    loop {
        // By a defect of the pipeline or of a sink; what a record does to the fold is caught there.
        let next = caught(|| building.step(work, board)).unwrap_or_else(|panic| {
            board.error(at, format!("building has ended in a panic: {panic}"));
            board.phase(at, Phase::Stopped);
            Next::Over
        });
        match next {
            Next::Step => {}
            Next::Wait => std::thread::sleep(PAUSE),
            Next::Over => return,
        }
    }
}

/// What follows a step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another step, at once.
    Step,
    /// Another step after a pause: something has failed, or it is to hold still.
    Wait,
    /// Nothing: the partition has been read to its end, or cannot be, or the board says stop.
    Over,
}

/// The build of one partition, a step at a time, with as many workers as it takes: for a thread of
/// its own, or for whoever has only one.
pub struct Building<R> {
    at: TopicPartition,
    end: End,
    worker: Option<Worker<FixedPartitions<Bounded<R>>>>,
    /// What the worker had done when it was last counted.
    counted: Applied,
    /// When the log was last asked for its end.
    looked: Option<Instant>,
}

impl<R: LogReader> Building<R> {
    /// Reads `at` up to `end`, from where the sink says that it is.
    #[must_use]
    pub fn new(at: TopicPartition, end: End) -> Self {
        Self {
            at,
            end,
            worker: None,
            counted: Applied::default(),
            looked: None,
        }
    }

    /// One step, as the board says; what it came to is on the board.
    pub fn step<L: EventLog<Reader = R>>(&mut self, work: &Work<'_, L>, board: &Board) -> Next {
        match board.signal() {
            Signal::Stop => return Next::Over,
            Signal::Hold => {
                board.phase(&self.at, Phase::Paused);
                return Next::Wait;
            }
            Signal::Go => {}
        }
        if self.worker.is_none() {
            match self.start(work) {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => board.error(&self.at, error.to_string()),
            }
        }
        let Some(worker) = &mut self.worker else {
            return Next::Wait;
        };
        let step = worker.step();
        board.count(&self.at, &worker.totals().since(&self.counted));
        self.counted = worker.totals().clone();
        match step {
            Step::Idle => self.look(board, true),
            Step::Rebalanced | Step::Applied(_) => self.look(board, false),
            Step::Waiting { reason } => {
                board.error(&self.at, reason);
                Next::Wait
            }
            Step::Failed { reason } => {
                board.error(&self.at, reason);
                self.worker = None;
                Next::Wait
            }
            Step::Held { reason } | Step::Stopped { reason } => {
                board.error(&self.at, reason);
                board.phase(&self.at, Phase::Stopped);
                Next::Over
            }
        }
    }

    fn start<L: EventLog<Reader = R>>(
        &mut self,
        work: &Work<'_, L>,
    ) -> Result<Worker<FixedPartitions<Bounded<R>>>, LogError> {
        let reader = work.log.reader(ReaderPurpose::Recovery)?;
        let rate = work.rate.clone();
        let source = Bounded::new(reader, self.at.clone(), self.end.clone(), rate);
        let source = FixedPartitions::new(source, vec![self.at.clone()]);
        let codec = work.codec.clone();
        self.counted = Applied::default();
        Ok(Worker::new(
            work.plan,
            work.limits,
            source,
            codec,
            (work.sink)(),
        ))
    }

    /// Tells how far it is, now and then; `idle`: nothing came, which may be the end.
    fn look(&mut self, board: &Board, idle: bool) -> Next {
        let due = self
            .looked
            .is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        let Some(worker) = self.worker.as_mut().filter(|_| due || idle) else {
            return Next::Step;
        };
        self.looked = Some(Instant::now());
        let mut told = true;
        for report in worker.report() {
            board.report(&report);
            if idle && report.behind == Some(0) {
                board.phase(&self.at, Phase::Done);
                return Next::Over;
            }
            told &= report.behind.is_some();
        }
        match told || !idle {
            true => Next::Step,
            // The log does not say where it ends.
            false => Next::Wait,
        }
    }
}
