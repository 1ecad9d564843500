//! Connections to the log, the stores and the registry, made from the settings.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cartwright_event_log::kafka::KafkaOptions;
use cartwright_events::codec::Codec;
use cartwright_read_model::cassandra::CassandraOptions;
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{self, PostgresOptions, pool};
use cartwright_read_model::{ReadModelError, Store};
use cartwright_sinks::{CassandraSink, CassandraStore, PostgresSink, Sink};
use tokio::runtime::Handle;

use crate::plan::Plan;
use crate::settings::{Consistency, Settings};

/// Both stores. Neither is connected to before it is used. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Where connections run.
    pub runtime: Handle,
    /// Lists, search, facts.
    pub postgres: deadpool_postgres::Pool,
    /// Views by key.
    pub cassandra: CassandraStore,
    /// How long PostgreSQL may be silent: what it may take over a statement, and a grace.
    postgres_limit: Duration,
}

/// What a server that gives a statement up may take to say so.
const GRACE: Duration = Duration::from_secs(15);

impl Stores {
    /// From the settings.
    ///
    /// # Errors
    /// A database URL that cannot be read.
    pub fn new(settings: &Settings, runtime: Handle) -> Result<Self, ReadModelError> {
        let concurrency = settings.projector.cassandra_concurrency;
        Ok(Self {
            runtime,
            postgres: pool(&postgres_options(settings))?,
            cassandra: CassandraStore::new(cassandra_options(settings), concurrency),
            postgres_limit: statement_timeout(settings) + GRACE,
        })
    }

    /// The sink that live workers of `plan` write to.
    #[must_use]
    pub fn sink(&self, plan: &Plan) -> Box<dyn Sink> {
        let runtime = self.runtime.clone();
        match plan.projection.store {
            Store::Postgres => {
                let pool = self.postgres.clone();
                let sink = PostgresSink::new(runtime, pool, plan.projection, plan.version);
                Box::new(sink.with_limit(self.postgres_limit))
            }
            Store::Cassandra => Box::new(CassandraSink::new(
                runtime,
                self.cassandra.clone(),
                plan.projection,
                plan.version,
            )),
        }
    }

    /// The sink that a version is built with, whose tables nobody reads yet.
    #[must_use]
    pub fn rebuild_sink(&self, plan: &Plan) -> Box<dyn Sink> {
        match plan.projection.store {
            Store::Postgres => {
                let (runtime, pool) = (self.runtime.clone(), self.postgres.clone());
                let sink = PostgresSink::new(runtime, pool, plan.projection, plan.version);
                Box::new(sink.in_bulk())
            }
            // Writes by cell are the same whether somebody reads or not.
            Store::Cassandra => self.sink(plan),
        }
    }

    /// Makes the next call to a store that has been silent connect anew. The driver of Cassandra does so
    /// by itself.
    pub fn forget_connections(&self, store: Store) {
        match store {
            Store::Postgres => postgres::forget_connections(&self.postgres),
            Store::Cassandra => {}
        }
    }

    /// The control tables of a store, made where they are not there yet.
    ///
    /// # Errors
    /// What the store said.
    pub async fn control(&self, store: Store) -> Result<Control, ReadModelError> {
        match store {
            Store::Postgres => {
                let mut client = self.postgres.get().await?;
                postgres::make_control_tables(&mut client).await?;
                Ok(Control::Postgres(self.postgres.clone()))
            }
            Store::Cassandra => {
                let session = self.cassandra.session().await?;
                let keyspace = self.cassandra.options().keyspace.as_str();
                Ok(Control::Cassandra(session, keyspace.into()))
            }
        }
    }
}

/// Makes the database that the settings name where the server has none of that name. Answers whether
/// it did. A keyspace is made together with its tables.
///
/// # Errors
/// What the server said.
pub async fn make_database(settings: &Settings) -> Result<bool, ReadModelError> {
    postgres::make_database(&postgres_options(settings)).await
}

/// The codec, made when the registry answers for the first time, and shared from then on.
#[derive(Clone)]
pub struct LateCodec {
    url: Arc<str>,
    made: Arc<Mutex<Option<Codec>>>,
}

impl LateCodec {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(registry_url: &str) -> Self {
        Self {
            url: registry_url.into(),
            made: Arc::default(),
        }
    }

    /// The codec.
    ///
    /// # Errors
    /// What the registry said, when it has not answered yet.
    pub fn get(&self) -> Result<Codec, String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(codec) = &*made {
            return Ok(codec.clone());
        }
        let codec = Codec::connect(&self.url).map_err(|error| error.to_string())?;
        *made = Some(codec.clone());
        Ok(codec)
    }
}

/// How the log is reached, under the name `client_id`.
#[must_use]
pub fn kafka_options(settings: &Settings, client_id: &str) -> KafkaOptions {
    let mut options = KafkaOptions::new(&settings.kafka.bootstrap);
    options.client_id = client_id.to_owned();
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
    options.statement_timeout = Some(statement_timeout(settings));
    let timeout_ms = settings.projector.postgres_idle_in_transaction_ms;
    options.idle_in_transaction_timeout = Some(Duration::from_millis(timeout_ms));
    options
}

const fn statement_timeout(settings: &Settings) -> Duration {
    Duration::from_millis(settings.projector.postgres_statement_timeout_ms)
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
