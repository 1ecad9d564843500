//! The program's parts, built from its settings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cartwright_event_log::kafka::KafkaLog;
use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, TopicPartition};
use cartwright_read_model::{ReadModelError, Store};
use cartwright_service::health::Readiness;
use cartwright_service::shutdown::Shutdown;
use thiserror::Error;
use tokio::runtime::Handle;

use crate::board::Board;
use crate::connect::{LateCodec, Stores, kafka_options};
use crate::motion::held_up_by;
use crate::plan::{Limits, Plan, UnknownProjection};
use crate::runner::{Pace, Runner};
use crate::settings::{InvalidSetting, Projector, Settings};
use crate::supervisor::Supervisor;
use crate::telling::Telling;
use crate::watchdog::Watchdog;
use crate::worker::Worker;

/// How often it is looked whether every projection's steps end.
const WATCH_EVERY: Duration = Duration::from_millis(500);

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
    supervisors: Vec<(Store, JoinHandle<Vec<String>>)>,
    stop: Arc<AtomicBool>,
    stop_limit: Duration,
    refusal: Refusal,
    board: Board,
}

/// Why the process must not go on, once it is known.
#[derive(Clone, Default)]
pub struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    /// The reason, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    pub(crate) fn set(&self, reason: String) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert(reason);
    }
}

impl Projections {
    /// Starts a supervisor per store, which starts a thread per version that is live. Stores and registry
    /// need not answer yet. When this code must not run over the versions that the stores hold,
    /// `shutdown` is triggered and [`Projections::refusal`] says why.
    ///
    /// # Errors
    /// [`StartError`]: a mistake in the settings, or no thread.
    pub fn start(
        settings: &Settings,
        readiness: &Readiness,
        runtime: &Handle,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        let of = &settings.projector;
        of.check()?;
        let log = KafkaLog::new(kafka_options(settings, "cartwright-projector"))?;
        let stores = Stores::new(settings, runtime.clone())?;
        let codec = LateCodec::new(&settings.registry.url);
        let stop = Arc::new(AtomicBool::new(false));
        let refusal = Refusal::default();
        let (board, watchdog) = (Board::default(), Watchdog::default());
        let (limits, pace) = (of.limits(), pace(of));
        let start = {
            let (stores, readiness) = (stores.clone(), readiness.clone());
            let (board, watchdog) = (board.clone(), watchdog.clone());
            move |plan: Plan| {
                let check = readiness.check(format!("projection {}", plan.label()));
                let (log, stores, codec) = (log.clone(), stores.clone(), codec.clone());
                let asked = log.clone();
                let make = move || make_worker(plan, limits, &log, &stores, &codec);
                let held_up_by = move |at: &TopicPartition| held_up_by(&asked, at);
                let board = board.clone();
                Runner::start(plan, make, held_up_by, check, board, pace, &watchdog)
            }
        };
        let address = of.address.clone();
        let address = address.unwrap_or_else(|| settings.http.listen.to_string());
        let telling = Telling::new(board.clone(), address, pace.report_every);
        let supervisors = Supervisor::for_each_store(
            &stores, readiness, of, start, &refusal, shutdown, &telling,
        )?;
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    watchdog.look(Instant::now());
                    std::thread::sleep(WATCH_EVERY);
                }
            })?;
        let mut threads = Vec::with_capacity(supervisors.len());
        for supervisor in supervisors {
            let (store, stopped) = (supervisor.store(), Arc::clone(&stop));
            let thread = std::thread::Builder::new()
                .name(format!("versions-{}", store.name()))
                .spawn(move || supervisor.run(&stopped))?;
            threads.push((store, thread));
        }
        Ok(Self {
            supervisors: threads,
            stop,
            stop_limit: Duration::from_millis(of.stop_limit_ms),
            refusal,
            board,
        })
    }

    /// How the projections stand.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Why the process must not go on, once it is known.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    /// Lets every projection finish the batch that it is at, within the limit. Answers those that did
    /// not make it; what they were at is done again at the next start.
    #[must_use]
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        let deadline = Instant::now() + self.stop_limit;
        let is_late = |(_, thread): &(Store, JoinHandle<_>)| !thread.is_finished();
        while self.supervisors.iter().any(is_late) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let late =
            self.supervisors
                .into_iter()
                .flat_map(|(store, thread)| match thread.is_finished() {
                    true => thread.join().unwrap_or_default(),
                    false => vec![format!("those in {}", store.name())],
                });
        late.collect()
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
        pause_max: Duration::from_millis(of.retry_max_ms.max(100)),
    }
}
