//! PostgreSQL: rows and position in one transaction.

mod binary;
mod bulk;
mod limit;
mod position;
mod statements;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres;
use cartwright_read_model::tables::CONTROL_VERSION;
use cartwright_read_model::{
    ParkRequest, PositionKey, Projection, ReadModelError, RequestOutcome, SkippedRow,
};
use deadpool_postgres::Pool;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;

use crate::control::{answer_ops, parked_ops, settled_ops};
use crate::merge::{MergedRow, merge};
use crate::sink::{Batch, Begun, Loaded, Sink, SinkError};
use crate::written::Written;
use bulk::copy_rows;
use position::{forget_logs_before, move_position, written_at};
use statements::{delete_rows, upsert_rows};

/// Answers when the position was written.
type Applying = JoinHandle<Result<Timestamp, SinkError>>;

/// See [`Sink`]. The stored position guards every transaction, so a projector that has lost its
/// partition changes nothing. So does the time at which the position's row was last written, which
/// every transaction raises: what is done about parked records leaves the position where it is.
pub struct PostgresSink {
    runtime: Handle,
    pool: Pool,
    projection: &'static Projection,
    version: u32,
    /// When each partition was last written, as this sink knows it.
    written_at: HashMap<PositionKey, Timestamp>,
    /// Set while a version is built that nobody reads.
    bulk: Option<Arc<Mutex<Written>>>,
    /// What is being applied, and since when.
    under_way: HashMap<PositionKey, (Applying, Instant)>,
    /// How long a call may take, but for one that makes keys and indexes.
    limit: Duration,
}

impl PostgresSink {
    /// A sink for `projection` as `version`. Connections run on `runtime`.
    #[must_use]
    pub fn new(runtime: Handle, pool: Pool, projection: &'static Projection, version: u32) -> Self {
        Self {
            runtime,
            pool,
            projection,
            version,
            written_at: HashMap::new(),
            bulk: None,
            under_way: HashMap::new(),
            limit: limit::DEFAULT,
        }
    }

    /// The same with another limit on how long the server may be silent: longer than it may take over a
    /// statement, since it says so itself when it gives one up.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same for building a version that nobody reads yet: new rows are copied, and indexes (also
    /// keys, where it can be) left for whoever calls [`Sink::prepare`] of an ordinary sink at the end.
    #[must_use]
    pub fn in_bulk(mut self) -> Self {
        self.bulk = Some(Arc::default());
        self
    }

    /// Runs in a task of its own and waits for it, within the limit.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SinkError>> + Send + 'static,
    ) -> Result<T, SinkError> {
        let task = self.runtime.spawn(work);
        self.wait(Some(self.limit), Instant::now(), task)
    }

    /// The same for as long as it takes.
    fn run_long<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SinkError>> + Send + 'static,
    ) -> Result<T, SinkError> {
        let task = self.runtime.spawn(work);
        self.wait(None, Instant::now(), task)
    }

    fn wait<T>(
        &self,
        limit: Option<Duration>,
        begun: Instant,
        task: JoinHandle<Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        limit::wait(&self.runtime, &self.pool, limit, begun, task)
    }

    /// Waits for a batch. One that copies rows may have to make keys first.
    fn wait_for(&self, (task, begun): (Applying, Instant)) -> Result<Timestamp, SinkError> {
        let limit = self.bulk.is_none().then_some(self.limit);
        self.wait(limit, begun, task)
    }
}

/// A batch that has been begun ends before its sink does: whoever drops one to go on with another, or
/// to remove the version, finds nothing of it moving.
impl Drop for PostgresSink {
    fn drop(&mut self) {
        // A thread that drives asynchronous tasks cannot wait, and is not where sinks are used.
        if Handle::try_current().is_ok() {
            return;
        }
        for (_, applying) in std::mem::take(&mut self.under_way) {
            // What became of it the store knows.
            let _ = self.wait_for(applying);
        }
    }
}

/// Upserts every row.
async fn apply_live(
    pool: &Pool,
    batch: &Batch,
    known: Option<Timestamp>,
    version: u32,
) -> Result<Timestamp, SinkError> {
    let (new, rest) = (Vec::new(), merge(&batch.ops)?);
    apply(pool, batch, &Rows { new, rest }, known, version).await
}

/// Copies what is new and upserts the rest; where a row turns out to be there, upserts all the next
/// time.
async fn apply_bulk(
    pool: &Pool,
    batch: &Batch,
    written: &mut Written,
    known: Option<Timestamp>,
    version: u32,
) -> Result<Timestamp, SinkError> {
    match copy(pool, batch, written, known, version).await {
        Err(SinkError::Fatal { reason }) if reason.contains(SqlState::UNIQUE_VIOLATION.code()) => {
            written.forget(&batch.key);
            Err(SinkError::retry(reason))
        }
        result => result,
    }
}

/// Applies a batch by [`copy_rows`] as far as its rows are new; answers when the position was
/// written.
async fn copy(
    pool: &Pool,
    batch: &Batch,
    written: &mut Written,
    known: Option<Timestamp>,
    version: u32,
) -> Result<Timestamp, SinkError> {
    let mut rest = merge(&batch.ops)?;
    let new = written.take_new(&batch.key, &mut rest);
    written.add_keys(pool, &rest, version).await?;
    apply(pool, batch, &Rows { new, rest }, known, version).await
}

impl Sink for PostgresSink {
    fn prepare(&mut self) -> Result<(), SinkError> {
        let (pool, projection, version) = (self.pool.clone(), self.projection, self.version);
        let bulk = self.bulk.is_some();
        let asked = self.pool.clone();
        let made = self.run(async move {
            let client = asked.get().await.map_err(ReadModelError::from)?;
            Ok(postgres::is_whole(&**client, projection, version).await?)
        })?;
        let prepare = async move {
            let mut client = pool.get().await.map_err(ReadModelError::from)?;
            match bulk {
                // Indexes and keys are made at the end, all at once.
                true => postgres::migrate_bare(&mut client, &[(projection, version)]).await?,
                false => postgres::migrate(&mut client, &[(projection, version)]).await?,
            }
            Ok(())
        };
        match made {
            true => self.run(prepare),
            false => self.run_long(prepare),
        }
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        let (pool, of) = (self.pool.clone(), key.clone());
        let (written_at, loaded) = self.run(async move {
            let mut client = pool.get().await.map_err(ReadModelError::from)?;
            // One snapshot: the list is the one that goes with the position.
            let transaction = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()
                .await?;
            let position = postgres::load_position(&*transaction, &of).await?;
            let parked = postgres::load_parked(&*transaction, &of, generation).await?;
            let written_at = written_at(&transaction, &of).await?;
            transaction.commit().await?;
            Ok((written_at, Loaded { position, parked }))
        })?;
        match written_at {
            Some(time) => self.written_at.insert(key.clone(), time),
            None => self.written_at.remove(key),
        };
        if let Some(written) = &self.bulk {
            let mut written = self.runtime.block_on(written.lock());
            written.loaded(key, loaded.position.is_none());
        }
        Ok(loaded)
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        match self.begin(batch) {
            Begun::Ended(result) => result,
            Begun::UnderWay => self.finish(&batch.key),
        }
    }

    fn begin(&mut self, batch: &Arc<Batch>) -> Begun {
        let (pool, given, version) = (self.pool.clone(), Arc::clone(batch), self.version);
        let known = self.written_at.get(&batch.key).copied();
        let (projection, bulk) = (self.projection, self.bulk.clone());
        let task = self.runtime.spawn(async move {
            let applied = match bulk {
                None => apply_live(&pool, &given, known, version).await,
                Some(written) => {
                    let mut written = written.lock().await;
                    apply_bulk(&pool, &given, &mut written, known, version).await
                }
            };
            if let Err(SinkError::Fatal { reason }) = &applied
                && reason.contains(SqlState::UNDEFINED_TABLE.code())
            {
                let client = pool.get().await.map_err(ReadModelError::from)?;
                postgres::refuse_gone(&**client, projection, version).await?;
            }
            applied
        });
        let applying = (task, Instant::now());
        self.under_way.insert(batch.key.clone(), applying);
        Begun::UnderWay
    }

    fn finish(&mut self, key: &PositionKey) -> Result<(), SinkError> {
        if let Some(applying) = self.under_way.remove(key) {
            let written_at = self.wait_for(applying)?;
            self.written_at.insert(key.clone(), written_at);
        }
        Ok(())
    }

    fn requests(
        &mut self,
        projection: &str,
        version: u32,
        after: &str,
    ) -> Result<Vec<(ParkRequest, RequestOutcome)>, SinkError> {
        let (pool, projection, after) =
            (self.pool.clone(), projection.to_owned(), after.to_owned());
        self.run(async move {
            let client = pool.get().await.map_err(ReadModelError::from)?;
            Ok(postgres::park_requests(&**client, &projection, version, &after).await?)
        })
    }

    fn skipped(
        &mut self,
        of: &PositionKey,
        key: &str,
        offset: u64,
    ) -> Result<Option<SkippedRow>, SinkError> {
        let control = Control::Postgres(self.pool.clone());
        let (of, key) = (of.clone(), key.to_owned());
        self.run(async move { Ok(control.skipped(&of, &key, offset).await?) })
    }
}

/// What a batch writes.
struct Rows<'a> {
    /// Rows that are not there; copied.
    new: Vec<MergedRow<'a>>,
    /// Rows that may be there.
    rest: Vec<MergedRow<'a>>,
}

/// Answers when the position was written.
async fn apply(
    pool: &Pool,
    batch: &Batch,
    rows: &Rows<'_>,
    known: Option<Timestamp>,
    version: u32,
) -> Result<Timestamp, SinkError> {
    let mut control = parked_ops(batch);
    control.extend(settled_ops(batch));
    control.extend(answer_ops(batch));
    let control = merge(&control)?;
    let mut client = pool.get().await.map_err(ReadModelError::from)?;
    let transaction = client.transaction().await?;
    // First, since it locks the position's row: whoever else applies this partition waits here and
    // then finds it moved.
    let moved = move_position(&transaction, &batch.key, batch.expected, known, batch.next).await?;
    let Some(written_at) = moved else {
        transaction.rollback().await?;
        return Err(SinkError::PositionMoved);
    };
    if batch.begins_log() {
        let (key, generation) = (&batch.key, batch.next.generation);
        forget_logs_before(&transaction, key, generation).await?;
    }
    if !rows.new.is_empty() {
        // Rows and position are lost together, or not at all: the build goes on from there.
        let unsynced = "SET LOCAL synchronous_commit TO OFF";
        transaction.batch_execute(unsynced).await?;
        copy_rows(&transaction, &rows.new, version).await?;
    }
    delete_rows(&transaction, &rows.rest, version).await?;
    upsert_rows(&transaction, &rows.rest, version).await?;
    delete_rows(&transaction, &control, CONTROL_VERSION).await?;
    upsert_rows(&transaction, &control, CONTROL_VERSION).await?;
    transaction.commit().await?;
    Ok(written_at)
}

impl From<tokio_postgres::Error> for SinkError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return SinkError::retry(ReadModelError::from(error));
        };
        let reason = format!("postgres: {} ({})", db.message(), db.code().code());
        match passes(db.code()) {
            true => SinkError::Retry { reason },
            false => SinkError::Fatal { reason },
        }
    }
}

/// Whether the same statement may work later: the connection (08), the rights (28), the database
/// (3D), a conflict (40), resources (53), an object in use (55) or the server (57, 58); also one that
/// takes no writes now (a primary that has become a standby, until another is found), and one that has
/// ended a transaction in which this process had stood still.
fn passes(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || matches!(class, "08" | "28" | "3D" | "40" | "53" | "55" | "57" | "58")
}

impl From<ReadModelError> for SinkError {
    fn from(error: ReadModelError) -> Self {
        match error {
            ReadModelError::Postgres(error) => error.into(),
            ReadModelError::Pool { .. } | ReadModelError::Cassandra { .. } => {
                SinkError::retry(error)
            }
            ReadModelError::Drift { .. }
            | ReadModelError::Gone { .. }
            | ReadModelError::Type { .. } => SinkError::fatal(error),
        }
    }
}
