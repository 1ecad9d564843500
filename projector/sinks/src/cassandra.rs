//! Cassandra and ScyllaDB: idempotent writes with a time per cell, then the position.

mod statements;
mod store;

pub use store::CassandraStore;

use std::collections::HashMap;
use std::sync::Arc;

use cartwright_read_model::cassandra::ParkRequests;
use cartwright_read_model::control::Control;
use cartwright_read_model::{
    CellTime, ParkRequest, PositionKey, Projection, ReadModelError, RequestOutcome, SkippedRow,
    Value, cassandra,
};
use futures::stream::{FuturesUnordered, StreamExt};
use scylla::client::session::Session;
use tokio::runtime::Handle;

use crate::control::{final_ops, log_begins, parked_ops, settled_ops};
use crate::merge::{MergedRow, merge, merge_timed};
use crate::sink::{Batch, Loaded, Sink, SinkError};
use statements::{Statements, Write};

/// See [`Sink`]. Nothing guards the position: a projector that has lost its partition may still
/// write, and its writes lose to later ones by their times.
pub struct CassandraSink {
    runtime: Handle,
    store: CassandraStore,
    projection: &'static Projection,
    version: u32,
    ready: Option<Ready>,
}

#[derive(Clone)]
struct Ready {
    session: Arc<Session>,
    statements: Arc<Statements>,
    requests: Arc<ParkRequests>,
}

impl CassandraSink {
    /// A sink for `projection` as `version`. Statements run on `runtime`.
    #[must_use]
    pub fn new(
        runtime: Handle,
        store: CassandraStore,
        projection: &'static Projection,
        version: u32,
    ) -> Self {
        Self {
            runtime,
            store,
            projection,
            version,
            ready: None,
        }
    }

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

    fn ready(&self) -> Result<Ready, SinkError> {
        let ready = self.ready.clone();
        ready.ok_or_else(|| SinkError::retry("cassandra: not connected yet"))
    }
}

impl Sink for CassandraSink {
    fn prepare(&mut self) -> Result<(), SinkError> {
        let (store, projection, version) = (self.store.clone(), self.projection, self.version);
        let ready = self.run(async move {
            let session = store.migrated(projection, version).await?;
            let keyspace = &store.options().keyspace;
            let statements = Statements::prepare(&session, keyspace, projection, version).await?;
            let requests = ParkRequests::prepare(&session, keyspace).await?;
            Ok(Ready {
                session,
                statements: Arc::new(statements),
                requests: Arc::new(requests),
            })
        })?;
        self.ready = Some(ready);
        Ok(())
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        let Ready { session, .. } = self.ready()?;
        let (keyspace, key) = (self.store.options().keyspace.clone(), key.clone());
        self.run(async move {
            Ok(Loaded {
                position: cassandra::load_position(&session, &keyspace, &key).await?,
                parked: cassandra::load_parked(&session, &keyspace, &key, generation).await?,
            })
        })
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        let (ready, batch) = (self.ready()?, Arc::clone(batch));
        let (store, projection, version) = (self.store.clone(), self.projection, self.version);
        self.run(async move {
            let applied = apply(&ready, &batch, store.concurrency()).await;
            if let Err(SinkError::Fatal { .. }) = &applied {
                let keyspace = &store.options().keyspace;
                cassandra::refuse_gone(&ready.session, keyspace, projection, version).await?;
            }
            applied
        })
    }

    fn requests(
        &mut self,
        projection: &str,
        version: u32,
        after: &str,
    ) -> Result<Vec<(ParkRequest, RequestOutcome)>, SinkError> {
        let ready = self.ready()?;
        let (projection, after) = (projection.to_owned(), after.to_owned());
        self.run(async move {
            let found = ready
                .requests
                .after(&ready.session, &projection, version, &after)
                .await;
            Ok(found?)
        })
    }

    fn skipped(
        &mut self,
        of: &PositionKey,
        key: &str,
        offset: u64,
    ) -> Result<Option<SkippedRow>, SinkError> {
        let Ready { session, .. } = self.ready()?;
        let keyspace = self.store.options().keyspace.as_str().into();
        let control = Control::Cassandra(session, keyspace);
        let (of, key) = (of.clone(), key.to_owned());
        self.run(async move { Ok(control.skipped(&of, &key, offset).await?) })
    }
}

async fn apply(ready: &Ready, batch: &Batch, concurrency: usize) -> Result<(), SinkError> {
    let generation = batch.next.generation;
    if batch.begins_log() {
        let (session, time) = (&ready.session, log_begins(generation)?);
        ready
            .statements
            .forget_parked(session, &batch.key, time)
            .await?;
    }
    let parked = parked_ops(batch);
    let mut rows = merge_timed(batch)?;
    rows.extend(merge(&parked)?);
    write_all(ready, &writes(&rows, generation)?, concurrency).await?;
    // Only now: what is on the list no longer is in the rows. And one after the other, the oldest first:
    // what stays of a key's queue when this ends half way has no gap.
    let settled = settled_ops(batch);
    write_all(ready, &writes(&merge(&settled)?, generation)?, 1).await?;
    // And last: whoever reads the position or an answer may rely on both.
    let last = final_ops(batch);
    write_all(ready, &writes(&merge(&last)?, generation)?, 1).await
}

/// The writes of each partition of each table, together.
fn writes<'a>(
    rows: &'a [MergedRow<'a>],
    generation: u32,
) -> Result<Vec<Vec<Write<'a>>>, SinkError> {
    let mut partitions: Vec<Vec<Write<'a>>> = Vec::new();
    let mut index_of: HashMap<(&str, &[Value]), usize, _> =
        HashMap::with_capacity_and_hasher(rows.len(), foldhash::fast::RandomState::default());
    for row in rows {
        let partition = &row.key[..row.table.partition.len()];
        let index = *index_of
            .entry((row.table.name, partition))
            .or_insert_with(|| {
                partitions.push(Vec::new());
                partitions.len() - 1
            });
        if let Some(seq) = row.deleted {
            let time = CellTime::delete(generation, seq).map_err(SinkError::fatal)?;
            partitions[index].push(Write::delete(row, time));
        }
        if let Some(write) = &row.write {
            let time = CellTime::write(generation, write.seq).map_err(SinkError::fatal)?;
            partitions[index].push(Write::upsert(row, write, time));
        }
    }
    Ok(partitions)
}

async fn write_all(
    ready: &Ready,
    partitions: &[Vec<Write<'_>>],
    concurrency: usize,
) -> Result<(), SinkError> {
    let mut in_flight = FuturesUnordered::new();
    let mut outcome = Ok(());
    // All of them are seen through to their end, also after one has failed: a dropped request might
    // still arrive, and the caller is about to try again.
    for writes in partitions {
        for piece in statements::pieces(writes) {
            if in_flight.len() >= concurrency
                && let Some(result) = in_flight.next().await
            {
                outcome = outcome.and(result);
            }
            if outcome.is_ok() {
                in_flight.push(ready.statements.write(&ready.session, piece));
            }
        }
    }
    while let Some(result) = in_flight.next().await {
        outcome = outcome.and(result);
    }
    outcome
}

pub(crate) fn from_execution(error: scylla::errors::ExecutionError) -> SinkError {
    use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
    let refused = match &error {
        ExecutionError::BadQuery(_) => true,
        ExecutionError::LastAttemptError(RequestAttemptError::SerializationError(_)) => true,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(db, _)) => matches!(
            db,
            DbError::SyntaxError | DbError::Invalid | DbError::ConfigError
        ),
        _ => false,
    };
    let reason = format!("cassandra: {error}");
    match refused {
        true => SinkError::Fatal { reason },
        false => SinkError::Retry { reason },
    }
}

pub(crate) fn from_prepare(error: impl std::fmt::Display) -> SinkError {
    SinkError::from(ReadModelError::Cassandra {
        reason: error.to_string(),
    })
}
