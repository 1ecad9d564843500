//! What the suite can be run against.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cartwright_events::Timestamp;
use cartwright_read_model::cassandra::{self, CassandraOptions};
use cartwright_read_model::tables::{CONTROL_VERSION, SKIPPED};
use cartwright_read_model::{ParkRequest, Row, SkippedRow, Table, postgres};
use deadpool_postgres::Pool;
use tokio::runtime::Handle;

use super::{PARTS, PROJECTION, Subject, THINGS};
use crate::memory::{MemorySink, MemoryStore, Semantics};
use crate::sink::Sink;
use crate::{CassandraSink, CassandraStore, PostgresSink};

/// Rows of a list that is looked at.
const MOST_READ: u32 = 1_000;

/// [`MemorySink`] in either way.
pub struct MemorySubject {
    store: MemoryStore,
    semantics: Semantics,
}

impl MemorySubject {
    /// Over an empty store.
    #[must_use]
    pub fn new(semantics: Semantics) -> Self {
        Self {
            store: MemoryStore::new(semantics),
            semantics,
        }
    }
}

impl Subject for MemorySubject {
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(MemorySink::new(self.store.clone(), self.version()))
    }

    fn version(&self) -> u32 {
        1
    }

    fn rows(&self, table: &'static Table) -> Vec<Row> {
        self.store.rows(table, self.version())
    }

    fn ask(&self, request: &ParkRequest) {
        self.store.ask(PROJECTION.name, self.version(), request);
    }

    fn skipped(&self) -> Vec<SkippedRow> {
        let rows = self.store.rows(&SKIPPED, CONTROL_VERSION);
        rows.iter().filter_map(SkippedRow::from_row).collect()
    }

    fn refuses_stale_batches(&self) -> bool {
        self.semantics == Semantics::Transactional
    }
}

/// A number that no other subject has, of this run or of earlier ones, so that they do not meet.
fn fresh_version() -> u32 {
    static MADE: AtomicI64 = AtomicI64::new(0);
    let millis = Timestamp::now().as_micros() / 1_000;
    let unique = millis + MADE.fetch_add(1, Ordering::Relaxed);
    u32::try_from(unique & 0x7fff_ffff).expect("31 bits")
}

/// [`PostgresSink`] over a running server. Dropping it drops its tables.
pub struct PostgresSubject {
    runtime: Handle,
    pool: Pool,
    version: u32,
    bulk: bool,
}

impl PostgresSubject {
    /// Over the database at `url`, which has to exist.
    ///
    /// # Panics
    /// When the URL cannot be read.
    #[must_use]
    pub fn new(runtime: Handle, url: &str) -> Self {
        let options = postgres::PostgresOptions::new(url);
        Self {
            runtime,
            pool: postgres::pool(&options).expect("a pool"),
            version: fresh_version(),
            bulk: false,
        }
    }

    /// The same, as versions are built that nobody reads yet.
    #[must_use]
    pub fn in_bulk(mut self) -> Self {
        self.bulk = true;
        self
    }

    /// A sink as a live version has it, over the same tables.
    #[must_use]
    pub fn live_sink(&self) -> PostgresSink {
        let (runtime, pool) = (self.runtime.clone(), self.pool.clone());
        PostgresSink::new(runtime, pool, &PROJECTION, self.version)
    }

    /// Whether two rows of one key are impossible.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn has_key(&self, table: &'static Table) -> bool {
        let (pool, name) = (self.pool.clone(), table.physical_name(self.version));
        self.runtime.block_on(async move {
            let client = pool.get().await.expect("a connection");
            let keys =
                "SELECT FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'p'";
            let key = client.query_opt(keys, &[&name]).await.expect("an answer");
            key.is_some()
        })
    }
}

impl Subject for PostgresSubject {
    fn sink(&self) -> Box<dyn Sink> {
        match self.bulk {
            true => Box::new(self.live_sink().in_bulk()),
            false => Box::new(self.live_sink()),
        }
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn rows(&self, table: &'static Table) -> Vec<Row> {
        let (pool, version) = (self.pool.clone(), self.version);
        self.runtime.block_on(async move {
            let client = pool.get().await.expect("a connection");
            let rows = postgres::all_rows(&**client, table, version).await;
            rows.expect("rows")
        })
    }

    fn ask(&self, request: &ParkRequest) {
        let (pool, version) = (self.pool.clone(), self.version);
        self.runtime.block_on(async move {
            let client = pool.get().await.expect("a connection");
            let asked = postgres::ask(&**client, PROJECTION.name, version, request).await;
            asked.expect("a request");
        });
    }

    fn skipped(&self) -> Vec<SkippedRow> {
        let (pool, version) = (self.pool.clone(), self.version);
        self.runtime.block_on(async move {
            let client = pool.get().await.expect("a connection");
            let rows = postgres::skipped_rows(&**client, PROJECTION.name, version, MOST_READ).await;
            rows.expect("rows")
        })
    }

    fn refuses_stale_batches(&self) -> bool {
        true
    }
}

impl Drop for PostgresSubject {
    fn drop(&mut self) {
        let (pool, version) = (self.pool.clone(), self.version);
        self.runtime.block_on(async move {
            let Ok(client) = pool.get().await else { return };
            for table in [&THINGS, &PARTS] {
                let drop = format!("DROP TABLE IF EXISTS {}", table.physical_name(version));
                let _ = client.batch_execute(&drop).await;
            }
        });
    }
}

/// [`CassandraSink`] over a running server. Dropping it drops its tables.
pub struct CassandraSubject {
    runtime: Handle,
    store: CassandraStore,
    version: u32,
}

impl CassandraSubject {
    /// Over the keyspace in `options`, which is made if need be.
    #[must_use]
    pub fn new(runtime: Handle, options: CassandraOptions) -> Self {
        Self {
            runtime,
            store: CassandraStore::new(options, 64),
            version: fresh_version(),
        }
    }

    fn session(&self) -> Arc<scylla::client::session::Session> {
        let migrated = self.store.migrated(&PROJECTION, self.version);
        self.runtime.block_on(migrated).expect("a session")
    }
}

impl Subject for CassandraSubject {
    fn sink(&self) -> Box<dyn Sink> {
        let (runtime, store) = (self.runtime.clone(), self.store.clone());
        let mut sink = CassandraSink::new(runtime, store, &PROJECTION, self.version);
        sink.prepare().expect("prepare");
        Box::new(sink)
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn rows(&self, table: &'static Table) -> Vec<Row> {
        let session = self.session();
        let keyspace = &self.store.options().keyspace;
        let rows = cassandra::all_rows(&session, keyspace, table, self.version);
        self.runtime.block_on(rows).expect("rows")
    }

    fn ask(&self, request: &ParkRequest) {
        let session = self.session();
        let keyspace = &self.store.options().keyspace;
        let asked = cassandra::ask(&session, keyspace, PROJECTION.name, self.version, request);
        self.runtime.block_on(asked).expect("a request");
    }

    fn skipped(&self) -> Vec<SkippedRow> {
        let session = self.session();
        let keyspace = &self.store.options().keyspace;
        let name = PROJECTION.name;
        let rows = cassandra::skipped_rows(&session, keyspace, name, self.version, MOST_READ);
        self.runtime.block_on(rows).expect("rows")
    }

    fn refuses_stale_batches(&self) -> bool {
        false
    }
}

impl Drop for CassandraSubject {
    fn drop(&mut self) {
        // Without their tables, which a test may have dropped.
        let Ok(session) = self.runtime.block_on(self.store.session()) else {
            return;
        };
        let keyspace = &self.store.options().keyspace;
        for table in [&THINGS, &PARTS] {
            let name = table.physical_name(self.version);
            let drop = format!("DROP TABLE IF EXISTS {keyspace}.{name}");
            let _ = self.runtime.block_on(session.query_unpaged(drop, ()));
        }
    }
}
