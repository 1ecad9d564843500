//! The program's parts, built from its settings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cartwright_event_log::EventLog;
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_events::codec::Codec;
use cartwright_read_model::cassandra::CassandraOptions;
use cartwright_read_model::postgres::{PostgresOptions, pool};
use cartwright_read_model::{ReadModelError, Store};
use cartwright_service::health::Readiness;
use cartwright_sinks::{CassandraSink, CassandraStore, PostgresSink, Sink};
use thiserror::Error;
use tokio::runtime::Handle;

use crate::plan::{Limits, Plan, UnknownProjection};
use crate::runner::{Pace, Runner};
use crate::settings::{Consistency, InvalidSetting, Projector, Settings};
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
}

/// What the sinks are made of.
struct Stores {
    runtime: Handle,
    postgres: deadpool_postgres::Pool,
    cassandra: CassandraStore,
}

impl Stores {
    fn sink(&self, plan: &Plan) -> Box<dyn Sink> {
        let runtime = self.runtime.clone();
        match plan.projection.store {
            Store::Postgres => Box::new(PostgresSink::new(
                runtime,
                self.postgres.clone(),
                plan.projection,
                plan.version,
            )),
            Store::Cassandra => Box::new(CassandraSink::new(
                runtime,
                self.cassandra.clone(),
                plan.projection,
                plan.version,
            )),
        }
    }
}

/// The codec, made when the registry answers for the first time, and shared from then on.
#[derive(Clone)]
struct LateCodec {
    url: Arc<str>,
    made: Arc<Mutex<Option<Codec>>>,
}

impl LateCodec {
    fn get(&self) -> Result<Codec, String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(codec) = &*made {
            return Ok(codec.clone());
        }
        let codec = Codec::connect(&self.url).map_err(|error| error.to_string())?;
        *made = Some(codec.clone());
        Ok(codec)
    }
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
        let log = KafkaLog::new(kafka_options(settings))?;
        let stores = Arc::new(Stores {
            runtime: runtime.clone(),
            postgres: pool(&postgres_options(settings))?,
            cassandra: CassandraStore::new(cassandra_options(settings), of.cassandra_concurrency),
        });
        let codec = LateCodec {
            url: settings.registry.url.as_str().into(),
            made: Arc::default(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut projections = Self {
            runners: Vec::new(),
            stop: Arc::clone(&stop),
            stop_limit: Duration::from_millis(of.stop_limit_ms),
        };
        let (limits, pace) = (of.limits(), pace(of));
        for name in &of.projections {
            let plan = Plan::named(name, of.log_generation)?;
            let check = readiness.check(format!("projection {}", plan.projection.name));
            let (log, stores, codec) = (log.clone(), Arc::clone(&stores), codec.clone());
            let make = move || make_worker(plan, limits, &log, &stores, &codec);
            let stop = Arc::clone(&stop);
            let runner = Runner::start(plan.projection.name, make, check, pace, stop)?;
            projections.runners.push(runner);
        }
        Ok(projections)
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
    Ok(Worker::new(plan, limits, reader, codec, stores.sink(&plan)))
}

fn pace(of: &Projector) -> Pace {
    Pace {
        report_every: Duration::from_millis(of.report_interval_ms),
        pause: Duration::from_millis(of.retry_min_ms.max(100)),
    }
}

fn kafka_options(settings: &Settings) -> KafkaOptions {
    let mut options = KafkaOptions::new(&settings.kafka.bootstrap);
    options.client_id = "cartwright-projector".to_owned();
    let properties = settings.kafka.properties.iter();
    options.extra = properties
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    options
}

fn postgres_options(settings: &Settings) -> PostgresOptions {
    let mut options = PostgresOptions::new(settings.postgres.url.expose());
    options.max_connections = settings.postgres.max_connections;
    options.connect_timeout = settings.postgres.connect_timeout();
    let timeout_ms = settings.projector.postgres_statement_timeout_ms;
    options.statement_timeout = Some(Duration::from_millis(timeout_ms));
    options
}

fn cassandra_options(settings: &Settings) -> CassandraOptions {
    let (of, projector) = (&settings.cassandra, &settings.projector);
    let mut options = CassandraOptions::new(of.nodes.clone(), &of.keyspace);
    options.local_datacenter.clone_from(&of.local_datacenter);
    options.replication_factor = projector.cassandra_replication_factor;
    options.credentials = of
        .credentials()
        .map(|(user, password)| (user.to_owned(), password.to_owned()));
    options.consistency = match projector.cassandra_consistency {
        Consistency::LocalOne => cartwright_read_model::cassandra::Consistency::LocalOne,
        Consistency::LocalQuorum => cartwright_read_model::cassandra::Consistency::LocalQuorum,
    };
    options.request_timeout = Duration::from_millis(projector.cassandra_timeout_ms);
    options
}
