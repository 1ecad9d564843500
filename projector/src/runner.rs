//! A thread that keeps one projection's worker going, and tells the world how it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_event_log::{GroupReader, TopicPartition};
use cartwright_events::Timestamp;
use cartwright_service::health::Check;
use metrics::{counter, gauge, histogram};

use crate::board::{Board, PartitionState, Phase};
use crate::metric_names as names;
use crate::motion::{Motion, lag_seconds};
use crate::plan::Plan;
use crate::progress::{Applied, PartitionReport, Step};
use crate::watchdog::{Pulse, Watchdog};
use crate::worker::Worker;

/// The thread of one projection.
///
/// A worker that fails is dropped and made anew; one that must stop is dropped for good, which
/// leaves its partitions to another process, perhaps one that can read them. Other projections go
/// on in either case.
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
            series: Vec::new(),
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
    /// Partitions with gauges, to be zeroed when they go.
    series: Vec<(String, String)>,
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
        while !self.asked_to_stop() {
            let end = match make() {
                Ok(mut worker) => {
                    let end = self.follow(&mut worker);
                    self.count(&Applied::default(), 0.0);
                    end
                }
                Err(reason) => {
                    self.not_up(Phase::Waiting, reason);
                    self.pause();
                    End::Again
                }
            };
            self.forget_partitions();
            match end {
                End::Asked | End::ForGood => return,
                End::Again => {}
            }
        }
    }

    fn follow<G: GroupReader>(&mut self, worker: &mut Worker<G>) -> End {
        let mut counted = worker.totals().clone();
        while !self.asked_to_stop() {
            let begin = Instant::now();
            let step = self.pulse.during(|| worker.step());
            self.count(&worker.totals().since(&counted), 1.0);
            counted = worker.totals().clone();
            match step {
                Step::Idle | Step::Applied(_) => self.report(worker, None),
                Step::Rebalanced => {
                    self.forget_partitions();
                    self.reported = None;
                }
                Step::Waiting { reason } => {
                    self.report(worker, Some((Phase::Waiting, reason)));
                    // Most waits take their time in the step; a refused connection does not.
                    if begin.elapsed() < self.pace.pause {
                        self.pause();
                    }
                }
                Step::Held { reason } => {
                    let reason = format!("stopped: {reason}");
                    self.report(worker, Some((Phase::Held, reason)));
                    if begin.elapsed() < self.pace.pause {
                        self.pause();
                    }
                }
                Step::Failed { reason } => {
                    self.not_up(Phase::Waiting, format!("starting again: {reason}"));
                    self.pause();
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

    fn pause(&self) {
        let end = Instant::now() + self.pace.pause;
        while Instant::now() < end && !self.asked_to_stop() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn not_up(&mut self, phase: Phase, reason: String) {
        gauge!(names::UP, &self.labels()).set(0.0);
        self.board.change(&self.plan, |state| {
            state.enter(phase, Some(reason.clone()));
        });
        self.check.not_ok(reason);
    }

    fn count(&self, applied: &Applied, up: f64) {
        let of = |count: usize| count as u64;
        counter!(names::RECORDS, &self.labels()).increment(of(applied.records));
        counter!(names::DROPPED, &self.labels()).increment(of(applied.dropped));
        counter!(names::PARKED, &self.labels()).increment(of(applied.parked));
        counter!(names::UNPARKED, &self.labels()).increment(of(applied.unparked));
        counter!(names::ROWS, &self.labels()).increment(of(applied.rows));
        if applied.batches > 0 {
            histogram!(names::APPLY_SECONDS, &self.labels()).record(applied.took);
        }
        gauge!(names::UP, &self.labels()).set(up);
    }

    /// Says how it stands, now and then, and at once when something is wrong.
    fn report<G: GroupReader>(&mut self, worker: &Worker<G>, wrong: Option<(Phase, String)>) {
        if let Some((phase, reason)) = &wrong {
            self.not_up(*phase, reason.clone());
        }
        let due = self
            .reported
            .is_none_or(|last| last.elapsed() >= self.pace.report_every);
        let ready = wrong.is_some() || worker.is_following();
        if !due || !ready {
            return;
        }
        self.reported = Some(Instant::now());
        let reason = wrong.as_ref().map(|(_, reason)| reason.as_str());
        let reports = worker.report();
        let partitions: Vec<PartitionState> =
            reports.iter().map(|each| self.look(each, reason)).collect();
        for partition in &partitions {
            self.gauges(partition);
        }
        let stuck = partitions.iter().find_map(|each| each.stuck.clone());
        if wrong.is_none() {
            let detail = detail(&partitions);
            match &stuck {
                Some(stuck) => self.check.not_ok(format!("{stuck}; {detail}")),
                None => self.check.ok(detail),
            }
        }
        let records = worker.totals().records as u64;
        self.board.change(&self.plan, |state| {
            if wrong.is_none() {
                state.enter(Phase::Following, stuck);
            }
            state.records = records;
            state.partitions = partitions;
        });
    }

    /// How a partition stands, and whether it moves.
    fn look(&mut self, report: &PartitionReport, wrong: Option<&str>) -> PartitionState {
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
        PartitionState {
            topic: report.at.topic.to_string(),
            partition: report.at.partition,
            position: report.position,
            behind: report.behind,
            lag_seconds: lag_seconds(report, Timestamp::now()),
            parked_keys: report.parked_keys,
            parked_records: report.parked_records,
            stuck,
        }
    }

    fn gauges(&mut self, partition: &PartitionState) {
        let series = (partition.topic.clone(), partition.partition.to_string());
        self.set(&series, names::PARKED_KEYS, partition.parked_keys as f64);
        let records = partition.parked_records as f64;
        self.set(&series, names::PARKED_RECORDS, records);
        let stuck = if partition.stuck.is_some() { 1.0 } else { 0.0 };
        self.set(&series, names::STUCK, stuck);
        if let Some(behind) = partition.behind {
            self.set(&series, names::LAG_RECORDS, behind as f64);
        }
        if let Some(seconds) = partition.lag_seconds {
            self.set(&series, names::LAG_SECONDS, seconds);
        }
        if !self.series.contains(&series) {
            self.series.push(series);
        }
    }

    fn set(&self, (topic, partition): &(String, String), name: &'static str, value: f64) {
        let labels = [
            ("projection", self.name.to_owned()),
            ("version", self.version.clone()),
            ("topic", topic.clone()),
            ("partition", partition.clone()),
        ];
        gauge!(name, &labels).set(value);
    }

    /// What is no longer owned here has no lag here.
    fn forget_partitions(&mut self) {
        self.motion.clear();
        self.board
            .change(&self.plan, |state| state.partitions.clear());
        for series in std::mem::take(&mut self.series) {
            for name in [
                names::PARKED_KEYS,
                names::PARKED_RECORDS,
                names::STUCK,
                names::LAG_RECORDS,
                names::LAG_SECONDS,
            ] {
                self.set(&series, name, 0.0);
            }
        }
    }
}

fn detail(partitions: &[PartitionState]) -> String {
    if partitions.is_empty() {
        return "no partition is assigned to this process".to_owned();
    }
    let behind: u64 = partitions.iter().filter_map(|each| each.behind).sum();
    let lags = partitions.iter().filter_map(|each| each.lag_seconds);
    let lag = lags.fold(0.0, f64::max);
    let keys: usize = partitions.iter().map(|each| each.parked_keys).sum();
    let records: usize = partitions.iter().map(|each| each.parked_records).sum();
    let count = partitions.len();
    format!(
        "{count} partitions, {behind} offsets and {lag:.1} s behind, \
         {keys} keys with {records} records parked"
    )
}
