//! The program's parts, built from its settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cartwright_event_log::kafka::KafkaLog;
use cartwright_event_log::{EventLog, LogReader, ReaderPurpose};
use cartwright_read_model::ReadModelError;
use cartwright_service::health::Readiness;
use thiserror::Error;
use tokio::runtime::Handle;

use crate::board::Board;
use crate::connect::{LateCodec, Stores, kafka_options};
use crate::plan::{Limits, Plan, UnknownProjection};
use crate::runner::{Pace, Runner};
use crate::settings::{InvalidSetting, Projector, Settings};
use crate::worker::Worker;

/// Why the projector cannot start. What may pass (a store, the registry or the log that does not
/// answer) is none of these: the projections wait for it.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is not allowed.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// There is no such projection.
    #[error(transparent)]
    Projection(#[from] UnknownProjection),
    /// The log's client refuses its settings.
    #[error(transparent)]
    Log(#[from] cartwright_event_log::LogError),
    /// A store's settings cannot be read.
    #[error(transparent)]
    Store(#[from] ReadModelError),
    /// No thread can be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Every projection of one process.
pub struct Projections {
    runners: Vec<Runner>,
    stop: Arc<AtomicBool>,
    stop_limit: Duration,
    board: Board,
}

impl Projections {
    /// Starts a thread per projection. Stores and registry need not answer yet.
    ///
    /// # Errors
    /// [`StartError`]: a mistake in the settings, or no thread.
    pub fn start(
        settings: &Settings,
        readiness: &Readiness,
        runtime: &Handle,
    ) -> Result<Self, StartError> {
        let of = &settings.projector;
        of.check()?;
        let log = KafkaLog::new(kafka_options(settings, "cartwright-projector"))?;
        let stores = Stores::new(settings, runtime.clone())?;
        let codec = LateCodec::new(&settings.registry.url);
        let stop = Arc::new(AtomicBool::new(false));
        let mut projections = Self {
            runners: Vec::new(),
            stop: Arc::clone(&stop),
            stop_limit: Duration::from_millis(of.stop_limit_ms),
            board: Board::default(),
        };
        let (limits, pace) = (of.limits(), pace(of));
        for name in &of.projections {
            let plan = Plan::named(name, of.log_generation)?;
            let check = readiness.check(format!("projection {}", plan.projection.name));
            let (log, stores, codec) = (log.clone(), stores.clone(), codec.clone());
            let make = move || make_worker(plan, limits, &log, &stores, &codec);
            let stop = Arc::clone(&stop);
            let board = projections.board.clone();
            let runner = Runner::start(plan, make, check, board, pace, stop)?;
            projections.runners.push(runner);
        }
        Ok(projections)
    }

    /// How the projections stand.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Lets every projection finish the batch that it is at, within the limit. Answers the names of
    /// those that did not make it; what they were at is done again at the next start.
    #[must_use]
    pub fn stop(self) -> Vec<&'static str> {
        self.stop.store(true, Ordering::Release);
        let deadline = Instant::now() + self.stop_limit;
        let mut late = Vec::new();
        for runner in self.runners {
            while !runner.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            let name = runner.name();
            if !runner.is_finished() || !runner.join() {
                late.push(name);
            }
        }
        late
    }
}

fn make_worker<L: EventLog>(
    plan: Plan,
    limits: Limits,
    log: &L,
    stores: &Stores,
    codec: &LateCodec,
) -> Result<Worker<L::GroupReader>, String> {
    let codec = codec.get()?;
    let reader = log
        .group_reader(&plan.group(), &plan.topics())
        .map_err(|error| error.to_string())?;
    let lookup = log.clone();
    let worker = Worker::new(plan, limits, reader, codec, stores.sink(&plan));
    Ok(worker.with_lookup(move || {
        let reader = lookup.reader(ReaderPurpose::Recovery)?;
        Ok(Box::new(reader) as Box<dyn LogReader>)
    }))
}

fn pace(of: &Projector) -> Pace {
    Pace {
        report_every: Duration::from_millis(of.report_interval_ms),
        stuck_after: Duration::from_millis(of.stuck_after_ms),
        pause: Duration::from_millis(of.retry_min_ms.max(100)),
    }
}
