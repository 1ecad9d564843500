//! Connections to the stores under test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cartwright_projector::{Plan, Step};
use cartwright_read_model::cassandra::{self, CassandraOptions};
use cartwright_read_model::postgres::{self, PostgresOptions};
use cartwright_read_model::tables::CONTROL_TABLES;
use cartwright_read_model::{ParkRequest, Row, Store};
use cartwright_sinks::{CassandraSink, CassandraStore, PostgresSink, Sink};
use scylla::client::session::Session;
use tokio::runtime::Runtime;

use crate::operator::position_keys;
use crate::setup::{TestLog, run};

const KEYSPACE: &str = "cartwright_suites";

pub struct RealStore {
    pub runtime: Runtime,
    kind: Kind,
    _alone: MutexGuard<'static, ()>,
}

enum Kind {
    Postgres(deadpool_postgres::Pool),
    Cassandra(CassandraStore),
}

/// Tests share the stores, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        eprintln!("skipped: {name} is not set");
    }
    value
}

pub fn postgres() -> Option<RealStore> {
    let url = variable("CARTWRIGHT_TEST_POSTGRES")?;
    let pool = postgres::pool(&PostgresOptions::new(url)).expect("a pool");
    Some(RealStore {
        runtime: runtime(),
        kind: Kind::Postgres(pool),
        _alone: turn(),
    })
}

pub fn cassandra() -> Option<RealStore> {
    let node = variable("CARTWRIGHT_TEST_CASSANDRA")?;
    let mut options = CassandraOptions::new(vec![node], KEYSPACE);
    options.request_timeout = std::time::Duration::from_secs(60);
    Some(RealStore {
        runtime: runtime(),
        kind: Kind::Cassandra(CassandraStore::new(options, 128)),
        _alone: turn(),
    })
}

impl RealStore {
    pub fn sink(&self, plan: &Plan) -> Box<dyn Sink> {
        let runtime = self.runtime.handle().clone();
        let (projection, version) = (plan.projection, plan.version);
        match &self.kind {
            Kind::Postgres(pool) => {
                assert_eq!(projection.store, Store::Postgres);
                Box::new(PostgresSink::new(
                    runtime,
                    pool.clone(),
                    projection,
                    version,
                ))
            }
            Kind::Cassandra(store) => {
                assert_eq!(projection.store, Store::Cassandra);
                Box::new(CassandraSink::new(
                    runtime,
                    store.clone(),
                    projection,
                    version,
                ))
            }
        }
    }

    /// Makes the tables and empties them.
    pub fn empty(&self, plan: &Plan) {
        self.sink(plan).prepare().expect("prepare");
        let own = plan.projection.tables.iter();
        let own = own.map(|table| table.physical_name(plan.version));
        let control = CONTROL_TABLES.iter().map(|table| table.physical_name(1));
        for table in own.chain(control) {
            match &self.kind {
                Kind::Postgres(pool) => self.runtime.block_on(async {
                    let client = pool.get().await.expect("a connection");
                    let result = client.batch_execute(&format!("TRUNCATE {table}")).await;
                    result.expect("truncate");
                }),
                Kind::Cassandra(_) => {
                    let truncate = format!("TRUNCATE {KEYSPACE}.{table}");
                    let session = self.session();
                    let result = self.runtime.block_on(session.query_unpaged(truncate, ()));
                    result.expect("truncate");
                }
            }
        }
    }

    /// Empties the projection and projects the log into it.
    pub fn project(&self, log: &TestLog, plan: &Plan) {
        self.empty(plan);
        let mut worker = log.worker_with(plan.projection.name, self.sink(plan));
        assert_eq!(run(&mut worker), Step::Idle);
    }

    /// Every row, in the order that the stores in memory answer.
    pub fn rows(&self, plan: &Plan) -> Vec<Row> {
        let mut all = Vec::new();
        for table in plan.projection.tables {
            let rows = match &self.kind {
                Kind::Postgres(_) => self.with_postgres(async |client| {
                    postgres::all_rows(client, table, plan.version).await
                }),
                Kind::Cassandra(_) => {
                    let session = self.session();
                    let rows = cassandra::all_rows(&session, KEYSPACE, table, plan.version);
                    self.runtime.block_on(rows).expect("rows")
                }
            };
            all.extend(rows);
        }
        in_order(all)
    }

    /// How many records wait.
    pub fn parked(&self, plan: &Plan) -> usize {
        let mut sink = self.sink(plan);
        sink.prepare().expect("prepared");
        let keys = position_keys(plan.projection.name).into_iter();
        let loaded = keys.map(|key| sink.load(&key, plan.generation).expect("loaded"));
        loaded.map(|loaded| loaded.parked.len()).sum()
    }

    /// Puts a request into the store, as an operator's tool does.
    pub fn ask(&self, plan: &Plan, request: &ParkRequest) {
        let (name, version) = (plan.projection.name, plan.version);
        match &self.kind {
            Kind::Postgres(_) => self
                .with_postgres(async |client| postgres::ask(client, name, version, request).await),
            Kind::Cassandra(_) => {
                let session = self.session();
                let asked = cassandra::ask(&session, KEYSPACE, name, version, request);
                self.runtime.block_on(asked).expect("asked");
            }
        }
    }

    pub fn with_postgres<T>(
        &self,
        read: impl AsyncFnOnce(
            &tokio_postgres::Client,
        ) -> Result<T, cartwright_read_model::ReadModelError>,
    ) -> T {
        let Kind::Postgres(pool) = &self.kind else {
            panic!("not PostgreSQL");
        };
        self.runtime.block_on(async {
            let client = pool.get().await.expect("a connection");
            read(&client).await.expect("a read")
        })
    }

    pub fn session(&self) -> Arc<Session> {
        let Kind::Cassandra(store) = &self.kind else {
            panic!("not Cassandra");
        };
        let projection = crate::setup::plan("orders").projection;
        let session = self.runtime.block_on(store.migrated(projection, 1));
        session.expect("a session")
    }

    pub fn keyspace(&self) -> &'static str {
        KEYSPACE
    }
}

/// Rows of several tables in one order, whichever store they come from.
pub fn in_order(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|row| {
        let key = &row.values[..row.table.key_len()];
        (row.table.name, format!("{key:?}"))
    });
    rows
}
