//! Requests about parked records.

use scylla::client::session::Session;

use super::reader::Reader;
use crate::error::ReadModelError;
use crate::parking::{MOST_REQUESTS, ParkRequest, RequestOutcome, SkippedRow};
use crate::row::Row;
use crate::schema::Table;
use crate::tables::{CONTROL_VERSION, PARK_REQUESTS, PARKED, SKIPPED};
use crate::value::Value;

/// The time of what a request's writer says of it: before any time of a worker's.
const ASKED: i64 = 1;

/// Puts a request into the store.
///
/// # Errors
/// What the store said.
pub async fn ask(
    session: &Session,
    keyspace: &str,
    projection: &str,
    version: u32,
    request: &ParkRequest,
) -> Result<(), ReadModelError> {
    let cells = request.cells();
    let columns = PARK_REQUESTS.key().map(|column| column.name);
    let columns: Vec<&str> = columns
        .chain(cells.iter().map(|(name, _)| *name))
        .chain(["row_seq"])
        .collect();
    let cql = format!(
        "INSERT INTO {keyspace}.{} ({}) VALUES ({}) USING TIMESTAMP {ASKED}",
        PARK_REQUESTS.physical_name(CONTROL_VERSION),
        columns.join(", "),
        vec!["?"; columns.len()].join(", "),
    );
    let mut values = request.row_key(projection, version);
    values.extend(cells.map(|(_, value)| value));
    values.push(Value::Int(0));
    let mut statement = session
        .prepare(cql)
        .await
        .map_err(ReadModelError::cassandra)?;
    statement.set_is_idempotent(true);
    let result = session.execute_unpaged(&statement, &values).await;
    result.map(drop).map_err(ReadModelError::cassandra)
}

/// Reads requests; prepared once.
pub struct ParkRequests(Reader);

impl ParkRequests {
    /// Prepares the statement.
    ///
    /// # Errors
    /// What the store said.
    pub async fn prepare(session: &Session, keyspace: &str) -> Result<Self, ReadModelError> {
        let rest = "AND request_id > ? LIMIT ?";
        let reader =
            Reader::prepare(session, keyspace, &PARK_REQUESTS, CONTROL_VERSION, rest).await?;
        Ok(Self(reader))
    }

    /// The requests after the one called `after`, in their order, at most [`MOST_REQUESTS`];
    /// carried out or not.
    ///
    /// # Errors
    /// What the store said.
    pub async fn after(
        &self,
        session: &Session,
        projection: &str,
        version: u32,
        after: &str,
    ) -> Result<Vec<(ParkRequest, RequestOutcome)>, ReadModelError> {
        let values = [
            projection.into(),
            version.into(),
            after.into(),
            MOST_REQUESTS.into(),
        ];
        let rows = self.0.rows(session, &values).await?;
        Ok(rows.iter().filter_map(ParkRequest::from_row).collect())
    }
}

/// Every parked record of a projection, as rows of [`PARKED`], by partition, key and offset; at
/// most `limit`.
///
/// # Errors
/// What the store said.
pub async fn parked_rows(
    session: &Session,
    keyspace: &str,
    projection: &str,
    version: u32,
    limit: u32,
) -> Result<Vec<Row>, ReadModelError> {
    of_projection(session, keyspace, &PARKED, projection, version, limit).await
}

/// The records of a projection that were given up, at most `limit`.
///
/// # Errors
/// What the store said.
pub async fn skipped_rows(
    session: &Session,
    keyspace: &str,
    projection: &str,
    version: u32,
    limit: u32,
) -> Result<Vec<SkippedRow>, ReadModelError> {
    let rows = of_projection(session, keyspace, &SKIPPED, projection, version, limit).await?;
    Ok(rows.iter().filter_map(SkippedRow::from_row).collect())
}

async fn of_projection(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    projection: &str,
    version: u32,
    limit: u32,
) -> Result<Vec<Row>, ReadModelError> {
    let reader = Reader::prepare(session, keyspace, table, CONTROL_VERSION, "LIMIT ?").await?;
    let limit = i64::from(limit.min(i32::MAX as u32));
    let values = [projection.into(), version.into(), Value::Int(limit)];
    reader.rows(session, &values).await
}
