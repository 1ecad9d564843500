//! PostgreSQL: rows and position in one transaction.

mod statements;

use std::sync::Arc;

use cartwright_events::Timestamp;
use cartwright_read_model::postgres::{self, Micros};
use cartwright_read_model::{Position, PositionKey, Projection, ReadModelError};
use deadpool_postgres::{Pool, Transaction};
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;

use crate::merge::{merge, parked_op};
use crate::sink::{Batch, Loaded, SeqOp, Sink, SinkError};
use statements::{delete_rows, upsert_rows};

/// See [`Sink`]. The stored position guards every transaction, so a projector that has lost its
/// partition changes nothing.
pub struct PostgresSink {
    runtime: Handle,
    pool: Pool,
    projection: &'static Projection,
    version: u32,
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
        }
    }

    /// Runs in a task of its own and waits for it: a transaction whose future is dropped half way
    /// would leave its connection in an unknown state.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SinkError>> + Send + 'static,
    ) -> Result<T, SinkError> {
        let task = self.runtime.spawn(work);
        match self.runtime.block_on(task) {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(SinkError::retry("the runtime is stopping")),
            Err(error) => Err(SinkError::fatal(error)),
        }
    }
}

impl Sink for PostgresSink {
    fn prepare(&mut self) -> Result<(), SinkError> {
        let (pool, projection, version) = (self.pool.clone(), self.projection, self.version);
        self.run(async move {
            let mut client = pool.get().await.map_err(ReadModelError::from)?;
            postgres::migrate(&mut client, &[(projection, version)]).await?;
            Ok(())
        })
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        let (pool, key) = (self.pool.clone(), key.clone());
        self.run(async move {
            let client = pool.get().await.map_err(ReadModelError::from)?;
            Ok(Loaded {
                position: postgres::load_position(&**client, &key).await?,
                parked: postgres::load_parked(&**client, &key, generation).await?,
            })
        })
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        let (pool, batch, version) = (self.pool.clone(), Arc::clone(batch), self.version);
        self.run(async move { apply(&pool, &batch, version).await })
    }
}

async fn apply(pool: &Pool, batch: &Batch, version: u32) -> Result<(), SinkError> {
    let rows = merge(&batch.ops)?;
    let parked: Vec<SeqOp> = batch
        .parked
        .iter()
        .map(|parked| SeqOp {
            seq: parked.seq,
            op: parked_op(&batch.key, batch.next.generation, parked),
        })
        .collect();
    let parked = merge(&parked)?;
    let mut client = pool.get().await.map_err(ReadModelError::from)?;
    let transaction = client.transaction().await?;
    // First, since it locks the position's row: whoever else applies this partition waits here and
    // then finds it moved.
    if !move_position(&transaction, &batch.key, batch.expected, batch.next).await? {
        transaction.rollback().await?;
        return Err(SinkError::PositionMoved);
    }
    delete_rows(&transaction, &rows, version).await?;
    upsert_rows(&transaction, &rows, version).await?;
    let control = cartwright_read_model::tables::CONTROL_VERSION;
    upsert_rows(&transaction, &parked, control).await?;
    transaction.commit().await?;
    Ok(())
}

/// Moves the position if it is where the batch expects it.
async fn move_position(
    transaction: &Transaction<'_>,
    key: &PositionKey,
    expected: Option<Position>,
    next: Position,
) -> Result<bool, SinkError> {
    let topic = key.stream.topic();
    let number = |value: u64| i64::try_from(value).map_err(SinkError::fatal);
    let (next_offset, seq) = (number(next.next_offset)?, number(next.seq)?);
    let (version, partition) = (i64::from(key.version), i64::from(key.partition));
    let generation = i64::from(next.generation);
    let (recorded_at, now) = (Micros(next.recorded_at), Micros(Timestamp::now()));
    let moved = match expected {
        None => {
            let insert = transaction
                .prepare_cached(statements::FIRST_POSITION)
                .await?;
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 9] = [
                &key.projection,
                &version,
                &topic,
                &partition,
                &generation,
                &next_offset,
                &seq,
                &recorded_at,
                &now,
            ];
            transaction.execute(&insert, &values).await?
        }
        Some(expected) => {
            let update = transaction
                .prepare_cached(statements::NEXT_POSITION)
                .await?;
            let old_offset = number(expected.next_offset)?;
            let old_generation = i64::from(expected.generation);
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
                &key.projection,
                &version,
                &topic,
                &partition,
                &generation,
                &next_offset,
                &seq,
                &recorded_at,
                &now,
                &old_generation,
                &old_offset,
            ];
            transaction.execute(&update, &values).await?
        }
    };
    Ok(moved == 1)
}

impl From<tokio_postgres::Error> for SinkError {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = match error.as_db_error() {
            Some(db) => format!("postgres: {} ({})", db.message(), db.code().code()),
            None => format!("postgres: {error}"),
        };
        match error.code() {
            Some(code) if !passes(code) => SinkError::Fatal { reason },
            _ => SinkError::Retry { reason },
        }
    }
}

/// Whether the same statement may work later: the connection (08), the rights (28), the database
/// (3D), a conflict (40), resources (53), an object in use (55) or the server (57, 58).
fn passes(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "28" | "3D" | "40" | "53" | "55" | "57" | "58")
}

impl From<ReadModelError> for SinkError {
    fn from(error: ReadModelError) -> Self {
        match error {
            ReadModelError::Postgres(error) => error.into(),
            ReadModelError::Pool { .. } | ReadModelError::Cassandra { .. } => {
                SinkError::retry(error)
            }
            ReadModelError::Drift { .. } | ReadModelError::Type { .. } => SinkError::fatal(error),
        }
    }
}
