//! A thread that keeps one projection's worker going, and tells the world how it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_event_log::GroupReader;
use cartwright_events::Timestamp;
use cartwright_service::health::Check;
use metrics::{counter, gauge, histogram};

use crate::metric_names as names;
use crate::progress::{Applied, PartitionReport, Step};
use crate::worker::Worker;

/// The thread of one projection.
///
/// A worker that fails is dropped and made anew; one that must stop is dropped for good, which
/// leaves its partitions to another process, perhaps one that can read them. Other projections go
/// on in either case.
pub struct Runner {
    name: &'static str,
    thread: JoinHandle<()>,
}

/// How often a runner looks at its lag, and how long it pauses when something fails at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) report_every: Duration,
    pub(crate) pause: Duration,
}

impl Runner {
    /// Starts the thread. `make` makes a worker, or says what it waits for; `stop` ends the thread
    /// after the step that it is in.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start<G, M>(
        name: &'static str,
        make: M,
        check: Check,
        pace: Pace,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<Self>
    where
        G: GroupReader + 'static,
        M: FnMut() -> Result<Worker<G>, String> + Send + 'static,
    {
        let thread = thread::Builder::new()
            .name(format!("project-{name}"))
            .spawn(move || {
                let mut following = Following {
                    name,
                    check,
                    pace,
                    stop,
                    reported: None,
                    series: Vec::new(),
                };
                following.run(make);
            })?;
        Ok(Self { name, thread })
    }

    /// The projection's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
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

struct Following {
    name: &'static str,
    check: Check,
    pace: Pace,
    stop: Arc<AtomicBool>,
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
                    self.not_up(reason);
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
            let step = worker.step();
            self.count(&worker.totals().since(&counted), 1.0);
            counted = worker.totals().clone();
            match step {
                Step::Idle | Step::Applied(_) => self.report(worker),
                Step::Rebalanced => {
                    self.forget_partitions();
                    self.reported = None;
                }
                Step::Waiting { reason } => {
                    self.not_up(reason);
                    // Most waits take their time in the step; a refused connection does not.
                    if begin.elapsed() < self.pace.pause {
                        self.pause();
                    }
                }
                Step::Held { reason } => {
                    self.not_up(format!("stopped: {reason}"));
                    if begin.elapsed() < self.pace.pause {
                        self.pause();
                    }
                }
                Step::Failed { reason } => {
                    self.not_up(format!("starting again: {reason}"));
                    self.pause();
                    return End::Again;
                }
                Step::Stopped { reason } => {
                    tracing::error!(projection = self.name, reason, "the projection has stopped");
                    self.not_up(format!("stopped: {reason}"));
                    return End::ForGood;
                }
            }
        }
        End::Asked
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

    fn not_up(&mut self, reason: String) {
        gauge!(names::UP, "projection" => self.name).set(0.0);
        self.reported = None;
        self.check.not_ok(reason);
    }

    fn count(&self, applied: &Applied, up: f64) {
        let of = |count: usize| count as u64;
        counter!(names::RECORDS, "projection" => self.name).increment(of(applied.records));
        counter!(names::DROPPED, "projection" => self.name).increment(of(applied.dropped));
        counter!(names::PARKED, "projection" => self.name).increment(of(applied.parked));
        counter!(names::ROWS, "projection" => self.name).increment(of(applied.rows));
        if applied.batches > 0 {
            histogram!(names::APPLY_SECONDS, "projection" => self.name).record(applied.took);
        }
        gauge!(names::UP, "projection" => self.name).set(up);
    }

    /// Says how it stands, now and then.
    fn report<G: GroupReader>(&mut self, worker: &Worker<G>) {
        let due = self
            .reported
            .is_none_or(|last| last.elapsed() >= self.pace.report_every);
        if !due || !worker.is_following() {
            return;
        }
        self.reported = Some(Instant::now());
        let partitions = worker.report();
        for partition in &partitions {
            self.gauges(partition);
        }
        self.check.ok(detail(&partitions));
    }

    fn gauges(&mut self, partition: &PartitionReport) {
        let topic = partition.at.topic.to_string();
        let number = partition.at.partition.to_string();
        let series = (topic, number);
        self.set(&series, names::PARKED_KEYS, partition.parked_keys as f64);
        if let Some(behind) = partition.behind {
            self.set(&series, names::LAG_RECORDS, behind as f64);
            let age = lag_seconds(partition, behind);
            self.set(&series, names::LAG_SECONDS, age);
        }
        if !self.series.contains(&series) {
            self.series.push(series);
        }
    }

    fn set(&self, (topic, partition): &(String, String), name: &'static str, value: f64) {
        let labels = [
            ("projection", self.name.to_owned()),
            ("topic", topic.clone()),
            ("partition", partition.clone()),
        ];
        gauge!(name, &labels).set(value);
    }

    /// What is no longer owned here has no lag here.
    fn forget_partitions(&mut self) {
        for series in std::mem::take(&mut self.series) {
            for name in [names::PARKED_KEYS, names::LAG_RECORDS, names::LAG_SECONDS] {
                self.set(&series, name, 0.0);
            }
        }
    }
}

fn lag_seconds(partition: &PartitionReport, behind: u64) -> f64 {
    match partition.position {
        Some(position) if behind > 0 => {
            let age = Timestamp::now().as_micros() - position.recorded_at.as_micros();
            age.max(0) as f64 / 1e6
        }
        _ => 0.0,
    }
}

fn detail(partitions: &[PartitionReport]) -> String {
    if partitions.is_empty() {
        return "no partition is assigned to this process".to_owned();
    }
    let behind: u64 = partitions.iter().filter_map(|each| each.behind).sum();
    let parked: usize = partitions.iter().map(|each| each.parked_keys).sum();
    let count = partitions.len();
    format!("{count} partitions, {behind} offsets behind, {parked} keys parked")
}
