//! Parked records in either store: reading them, and asking for something to be done.

use anyhow::Context as _;
use cartwright_event_log::EventLog;
use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::{
    FromCell, ParkRequest, ParkedRow, Projection, RequestOutcome, Row, SkippedRow, Store,
    cassandra, postgres,
};
use serde::Serialize;

use crate::context::Context;

/// The most rows that are asked for at once: what a statement of Cassandra can say.
const MOST_READ: u32 = i32::MAX as u32;

/// Parked records that are looked at: as many as a projection can hold before it is held, in every
/// partition of its topics, and some more for what was parked together with the last one.
fn most_parked(context: &Context, projection: &Projection) -> anyhow::Result<u32> {
    let log = context.log()?;
    let mut partitions = 0;
    for stream in projection.streams {
        partitions += log.partition_count(stream.topic())?;
    }
    let of = &context.settings.projector;
    let each = of.max_parked_records.saturating_add(of.max_batch_records);
    let each = u32::try_from(each).unwrap_or(u32::MAX);
    Ok(each.saturating_mul(partitions).min(MOST_READ))
}

/// A projection in one of its versions.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// The projection.
    pub projection: &'static Projection,
    /// The version.
    pub version: u32,
}

/// A parked record and its partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The stream.
    #[serde(skip)]
    pub stream: Stream,
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
    /// The pointer.
    #[serde(flatten)]
    pub record: ParkedRow,
    /// Since when.
    pub parked_at: Option<Timestamp>,
}

impl Waiting {
    fn from_row(row: &Row, generation: u32) -> Option<Self> {
        let stream = Stream::of_topic(&String::from_cell(row.value("topic"))?)?;
        Some(Self {
            stream,
            topic: stream.topic(),
            partition: FromCell::from_cell(row.value("log_partition"))?,
            record: ParkedRow::waiting(row, generation)?,
            parked_at: FromCell::from_cell(row.value("parked_at"))?,
        })
    }
}

/// Everything that is parked, by partition, key and offset.
///
/// # Errors
/// What the store said.
pub fn waiting(context: &Context, of: Version) -> anyhow::Result<Vec<Waiting>> {
    let name = of.projection.name;
    let most = most_parked(context, of.projection)?;
    let rows = context.ask(of.projection.store, async {
        match of.projection.store {
            Store::Postgres => {
                let client = context.stores.postgres.get().await?;
                postgres::parked_rows(&**client, name, of.version, most).await
            }
            Store::Cassandra => {
                let store = &context.stores.cassandra;
                let (session, keyspace) = (store.session().await?, &store.options().keyspace);
                cassandra::parked_rows(&session, keyspace, name, of.version, most).await
            }
        }
    })?;
    let generation = context.generation();
    let rows = rows.iter();
    Ok(rows
        .filter_map(|row| Waiting::from_row(row, generation))
        .collect())
}

/// What was given up.
///
/// # Errors
/// What the store said.
pub fn skipped(context: &Context, of: Version) -> anyhow::Result<Vec<SkippedRow>> {
    let name = of.projection.name;
    let rows = context.ask(of.projection.store, async {
        match of.projection.store {
            Store::Postgres => {
                let client = context.stores.postgres.get().await?;
                postgres::skipped_rows(&**client, name, of.version, MOST_READ).await
            }
            Store::Cassandra => {
                let store = &context.stores.cassandra;
                let (session, keyspace) = (store.session().await?, &store.options().keyspace);
                cassandra::skipped_rows(&session, keyspace, name, of.version, MOST_READ).await
            }
        }
    })?;
    Ok(rows)
}

/// Requests after the one called `after`, with what came of them.
///
/// # Errors
/// What the store said.
pub fn requests(
    context: &Context,
    of: Version,
    after: &str,
) -> anyhow::Result<Vec<(ParkRequest, RequestOutcome)>> {
    let name = of.projection.name;
    context.ask(of.projection.store, async {
        match of.projection.store {
            Store::Postgres => {
                let client = context.stores.postgres.get().await?;
                postgres::park_requests(&**client, name, of.version, after).await
            }
            Store::Cassandra => {
                let store = &context.stores.cassandra;
                let (session, keyspace) = (store.session().await?, &store.options().keyspace);
                let requests = cassandra::ParkRequests::prepare(&session, keyspace).await?;
                requests.after(&session, name, of.version, after).await
            }
        }
    })
}

/// Puts requests into the store.
///
/// # Errors
/// What the store said.
pub fn ask(context: &Context, of: Version, asked: &[ParkRequest]) -> anyhow::Result<()> {
    let name = of.projection.name;
    let done = context.ask(of.projection.store, async {
        match of.projection.store {
            Store::Postgres => {
                let client = context.stores.postgres.get().await?;
                for request in asked {
                    postgres::ask(&**client, name, of.version, request).await?;
                }
            }
            Store::Cassandra => {
                let store = &context.stores.cassandra;
                let (session, keyspace) = (store.session().await?, &store.options().keyspace);
                for request in asked {
                    cassandra::ask(&session, keyspace, name, of.version, request).await?;
                }
            }
        }
        Ok(())
    });
    done.context("cannot ask")
}

/// A name for a request made now; names sort by time.
#[must_use]
pub fn request_id(now: Timestamp) -> String {
    format!("{:016}-{:08x}", now.as_micros().max(0), std::process::id())
}
