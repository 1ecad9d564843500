//! A thread that keeps one projection's worker going, and tells the world how it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_event_log::{GroupReader, TopicPartition};
use cartwright_events::Timestamp;
use cartwright_service::health::Check;
use metrics::{counter, histogram};

use crate::board::{Board, PartitionState, Phase, seconds_since, summary};
use crate::metric_names as names;
use crate::motion::{Motion, unapplied_since};
use crate::panics::caught;
use crate::plan::Plan;
use crate::progress::{Applied, PartitionReport, Step};
use crate::watchdog::{Pulse, Watchdog};
use crate::worker::Worker;

/// The thread of one projection.
///
/// A worker that fails or panics is dropped and made anew; one that must stop is dropped for good,
/// which leaves its partitions to another process, perhaps one that can read them. The thread stays,
/// and tells how they fall behind until another process feeds them. Other projections go on in either
/// case.
pub struct Runner {
    label: String,
    plan: Plan,
    board: Board,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    check: Check,
}

/// How often a runner looks at its lag, and how long it pauses when something fails at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) report_every: Duration,
    pub(crate) pause: Duration,
    /// The longest pause; after a defect it doubles from time to time.
    pub(crate) pause_max: Duration,
    pub(crate) stuck_after: Duration,
}

impl Runner {
    /// Starts the thread of `plan`. `make` makes a worker, or says what it waits for; `held_up_by` is
    /// asked about a partition that stands still; `watchdog` tells when a step does not end.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start<G, M, H>(
        plan: Plan,
        make: M,
        held_up_by: H,
        check: Check,
        board: Board,
        pace: Pace,
        watchdog: &Watchdog,
    ) -> std::io::Result<Self>
    where
        G: GroupReader + 'static,
        M: FnMut() -> Result<Worker<G>, String> + Send + 'static,
        H: Fn(&TopicPartition) -> Option<String> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let label = plan.label();
        board.change(&plan, |_| {});
        let pulse = watchdog.watch(plan, check.clone(), board.clone(), pace.stuck_after);
        let mut following = Following {
            pulse,
            name: plan.projection.name,
            version: plan.version.to_string(),
            plan,
            check: check.clone(),
            board: board.clone(),
            pace,
            stop: Arc::clone(&stop),
            motion: Motion::default(),
            held_up_by: Box::new(held_up_by),
            reported: None,
        };
        let thread = thread::Builder::new()
            .name(format!("project-{label}"))
            .spawn(move || following.run(make))?;
        Ok(Self {
            label,
            plan,
            board,
            thread,
            stop,
            check,
        })
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Ends the thread after the step that it is in.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Takes its readiness check and what is told of it away: its version is no longer fed.
    pub(crate) fn withdraw(&self) {
        self.check.remove();
        self.board
            .forget(self.plan.projection.name, self.plan.version);
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread, which has been told to stop. Answers whether it ended well.
    #[must_use]
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Says what keeps a partition's records from their reader.
type HeldUpBy = Box<dyn Fn(&TopicPartition) -> Option<String> + Send>;

struct Following {
    name: &'static str,
    plan: Plan,
    version: String,
    check: Check,
    board: Board,
    pace: Pace,
    pulse: Arc<Pulse>,
    stop: Arc<AtomicBool>,
    motion: Motion,
    held_up_by: HeldUpBy,
    reported: Option<Instant>,
}

/// How a worker ended.
enum End {
    /// The process stops.
    Asked,
    /// Try with another worker.
    Again,
    /// The projection has stopped.
    ForGood,
}

impl Following {
    fn run<G: GroupReader>(&mut self, mut make: impl FnMut() -> Result<Worker<G>, String>) {
        let mut pause = self.pace.pause;
        while !self.asked_to_stop() {
            let begin = Instant::now();
            match caught(|| self.live(&mut make)) {
                Ok(End::Asked) => return,
                Ok(End::ForGood) => return self.rest(),
                Ok(End::Again) => self.pause(self.pace.pause),
                Err(panic) => {
                    self.failed(&panic);
                    pause = match begin.elapsed() > self.pace.pause_max {
                        true => self.pace.pause,
                        false => (pause * 2).min(self.pace.pause_max),
                    };
                    self.pause(pause);
                }
            }
        }
    }

    /// The life of one worker.
    fn live<G: GroupReader>(
        &mut self,
        make: &mut impl FnMut() -> Result<Worker<G>, String>,
    ) -> End {
        let end = match make() {
            Ok(mut worker) => self.follow(&mut worker),
            Err(reason) => {
                self.not_up(Phase::Waiting, reason);
                End::Again
            }
        };
        self.let_go();
        end
    }

    /// A defect of this program; what a record does to the fold is not one of these.
    fn failed(&mut self, panic: &str) {
        tracing::error!(
            projection = self.name,
            version = self.version,
            panic,
            "the projection has failed"
        );
        let reason = format!("starting again after a panic: {panic}");
        self.not_up(Phase::Failed, reason);
        self.let_go();
    }

    /// Has stopped, and says so.
    fn rest(&mut self) {
        while !self.asked_to_stop() {
            self.let_go();
            self.pause(self.pace.report_every.max(self.pace.pause));
        }
    }

    fn follow<G: GroupReader>(&mut self, worker: &mut Worker<G>) -> End {
        let mut counted = worker.totals().clone();
        while !self.asked_to_stop() {
            let begin = Instant::now();
            let step = self.pulse.during(|| worker.step());
            self.count(&worker.totals().since(&counted));
            counted = worker.totals().clone();
            match step {
                Step::Idle | Step::Applied(_) => self.report(worker, None),
                Step::Rebalanced => {
                    self.motion.clear();
                    self.tell(worker, None);
                    self.reported = None;
                }
                Step::Waiting { reason } => {
                    self.report(worker, Some((Phase::Waiting, reason)));
                    // Most waits take their time in the step; a refused connection does not.
                    if begin.elapsed() < self.pace.pause {
                        self.pause(self.pace.pause);
                    }
                }
                Step::Held { reason } => {
                    let reason = format!("stopped: {reason}");
                    self.report(worker, Some((Phase::Held, reason)));
                    if begin.elapsed() < self.pace.pause {
                        self.pause(self.pace.pause);
                    }
                }
                Step::Failed { reason } => {
                    self.not_up(Phase::Waiting, format!("starting again: {reason}"));
                    return End::Again;
                }
                Step::Stopped { reason } => {
                    tracing::error!(
                        projection = self.name,
                        version = self.version,
                        reason,
                        "the projection has stopped"
                    );
                    self.not_up(Phase::Stopped, format!("stopped: {reason}"));
                    return End::ForGood;
                }
            }
        }
        End::Asked
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [
            ("projection", self.name.to_owned()),
            ("version", self.version.clone()),
        ]
    }

    fn asked_to_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.asked_to_stop() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn not_up(&mut self, phase: Phase, reason: String) {
        self.board.change(&self.plan, |state| {
            state.enter(phase, Some(reason.clone()));
        });
        self.check.not_ok(reason);
    }

    fn count(&self, applied: &Applied) {
        let of = |count: usize| count as u64;
        counter!(names::RECORDS, &self.labels()).increment(of(applied.records));
        counter!(names::DROPPED, &self.labels()).increment(of(applied.dropped));
        counter!(names::PARKED, &self.labels()).increment(of(applied.parked));
        counter!(names::UNPARKED, &self.labels()).increment(of(applied.unparked));
        counter!(names::ROWS, &self.labels()).increment(of(applied.rows));
        if applied.batches > 0 {
            histogram!(names::APPLY_SECONDS, &self.labels()).record(applied.took);
        }
    }

    /// Says how it stands, now and then, and at once when something is wrong.
    fn report<G: GroupReader>(&mut self, worker: &mut Worker<G>, wrong: Option<(Phase, String)>) {
        let silent = worker.joining_for();
        let silent = silent.filter(|silent| *silent >= self.pace.stuck_after);
        let wrong = wrong.or_else(|| {
            // The log is away, or another member does not give back what it has.
            let reason = format!("the group has not answered for {} s", silent?.as_secs());
            Some((Phase::Waiting, reason))
        });
        if let Some((phase, reason)) = &wrong {
            self.not_up(*phase, reason.clone());
        }
        let due = self
            .reported
            .is_none_or(|last| last.elapsed() >= self.pace.report_every);
        if !due {
            return;
        }
        self.reported = Some(Instant::now());
        let partitions = self.tell(worker, wrong.as_ref().map(|(_, reason)| reason.as_str()));
        if wrong.is_some() || !worker.is_following() {
            return;
        }
        let stuck = partitions.iter().find_map(|each| each.stuck.clone());
        let detail = summary(&partitions);
        match &stuck {
            Some(stuck) => self.check.not_ok(format!("{stuck}; {detail}")),
            None => self.check.ok(detail),
        }
        self.board
            .change(&self.plan, |state| state.enter(Phase::Following, stuck));
    }

    /// Tells how the worker's partitions stand, and answers it; `wrong`: what keeps it from following.
    fn tell<G: GroupReader>(
        &mut self,
        worker: &mut Worker<G>,
        wrong: Option<&str>,
    ) -> Vec<PartitionState> {
        let reports = worker.report();
        let now = Timestamp::now();
        let partitions = reports.iter().map(|each| self.look(each, wrong, now));
        let partitions: Vec<PartitionState> = partitions.collect();
        let (records, stuck_after) = (worker.totals().records as u64, self.pace.stuck_after);
        self.board.change(&self.plan, |state| {
            state.records = records;
            state.tell(partitions.clone(), now, stuck_after);
        });
        partitions
    }

    /// No partition is this process's now, or none still is.
    fn let_go(&mut self) {
        self.motion.clear();
        let stuck_after = self.pace.stuck_after;
        self.board.change(&self.plan, |state| {
            state.tell(Vec::new(), Timestamp::now(), stuck_after);
        });
    }

    /// How a partition stands at `now`, and whether it moves.
    fn look(
        &mut self,
        report: &PartitionReport,
        wrong: Option<&str>,
        now: Timestamp,
    ) -> PartitionState {
        let still = self.motion.look(report, Instant::now());
        let stuck = (still >= self.pace.stuck_after).then(|| {
            let reason = match wrong {
                Some(wrong) => wrong.to_owned(),
                None => (self.held_up_by)(&report.at)
                    .unwrap_or_else(|| "records come, and none is applied".to_owned()),
            };
            let seconds = still.as_secs();
            format!("{} has stood still for {seconds} s: {reason}", report.at)
        });
        let before = self.board.last(&self.plan, &report.at);
        let since = before.as_ref().map(|before| before.unapplied_since);
        let unapplied_since = unapplied_since(report, since, now);
        let mut state = PartitionState {
            topic: report.at.topic.to_string(),
            partition: report.at.partition,
            position: report.position,
            behind: report.behind,
            lag_seconds: seconds_since(unapplied_since, now),
            parked_keys: report.parked_keys,
            parked_records: report.parked_records,
            stuck,
            unapplied_since,
        };
        // What the store has not told again is as it was.
        if let (None, Some(before)) = (report.position, before) {
            state.position = before.position;
            state.parked_keys = before.parked_keys;
            state.parked_records = before.parked_records;
        }
        state
    }
}

#[cfg(test)]
mod tests;
