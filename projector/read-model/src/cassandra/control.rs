//! Positions and parked records.

use scylla::client::session::Session;

use super::reader::Reader;
use crate::error::ReadModelError;
use crate::parked::ParkedRow;
use crate::position::{Position, PositionKey};
use crate::row::Row;
use crate::schema::{Projection, Table};
use crate::tables::{CONTROL_VERSION, PARKED, POSITIONS};

const IN_PARTITION: &str = "AND topic = ? AND log_partition = ?";

/// How far a projection is in one partition; `None` before it began.
///
/// # Errors
/// What the store said.
pub async fn load_position(
    session: &Session,
    keyspace: &str,
    key: &PositionKey,
) -> Result<Option<Position>, ReadModelError> {
    let reader =
        Reader::prepare(session, keyspace, &POSITIONS, CONTROL_VERSION, IN_PARTITION).await?;
    let rows = reader.rows(session, &key.values()).await?;
    Ok(rows.first().and_then(Position::from_row))
}

/// How far a projection is, in every partition that it has begun.
///
/// # Errors
/// What the store said.
pub async fn load_positions(
    session: &Session,
    keyspace: &str,
    projection: &'static Projection,
    version: u32,
) -> Result<Vec<(PositionKey, Position)>, ReadModelError> {
    let reader = Reader::prepare(session, keyspace, &POSITIONS, CONTROL_VERSION, "").await?;
    let values = [projection.name.into(), version.into()];
    let rows = reader.rows(session, &values).await?;
    Ok(rows
        .iter()
        .filter_map(|row| Position::keyed(row, projection, version))
        .collect())
}

/// The records of one partition that are parked, in the order of key and offset.
///
/// # Errors
/// What the store said.
pub async fn load_parked(
    session: &Session,
    keyspace: &str,
    key: &PositionKey,
    generation: u32,
) -> Result<Vec<ParkedRow>, ReadModelError> {
    let reader = Reader::prepare(session, keyspace, &PARKED, CONTROL_VERSION, IN_PARTITION).await?;
    let rows: Vec<Row> = reader.rows(session, &key.values()).await?;
    Ok(rows
        .iter()
        .filter_map(|row| ParkedRow::waiting(row, generation))
        .collect())
}

/// Every row of a table, in no particular order: for comparing two versions of a projection, not
/// for serving. Held in memory as a whole.
///
/// # Errors
/// What the store said.
pub async fn all_rows(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    version: u32,
) -> Result<Vec<Row>, ReadModelError> {
    let reader = Reader::prepare_where(session, keyspace, table, version, "").await?;
    reader.rows(session, &[]).await
}
