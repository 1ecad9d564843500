//! Positions and parked records.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::from_sql;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::parked::ParkedRow;
use crate::position::{Position, PositionKey};
use crate::row::Row;
use crate::schema::{Projection, Table};
use crate::tables::{CONTROL_VERSION, PARKED, POSITIONS};

const IN_PARTITION: &str =
    "projection = $1 AND projection_version = $2 AND topic = $3 AND log_partition = $4";

async fn in_partition(
    client: &impl GenericClient,
    table: &'static Table,
    key: &PositionKey,
) -> Result<Vec<Row>, ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE {IN_PARTITION} ORDER BY {}",
        names(table.columns()),
        table.physical_name(CONTROL_VERSION),
        names(table.key()),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&key.projection, Type::TEXT),
                (&i64::from(key.version), Type::INT8),
                (&key.stream.topic(), Type::TEXT),
                (&i64::from(key.partition), Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(|row| from_sql(table, row)).collect()
}

/// How far a projection is in one partition; `None` before it began.
///
/// # Errors
/// What the store said.
pub async fn load_position(
    client: &impl GenericClient,
    key: &PositionKey,
) -> Result<Option<Position>, ReadModelError> {
    let rows = in_partition(client, &POSITIONS, key).await?;
    Ok(rows.first().and_then(Position::from_row))
}

/// How far a projection is, in every partition that it has begun.
///
/// # Errors
/// What the store said.
pub async fn load_positions(
    client: &impl GenericClient,
    projection: &'static Projection,
    version: u32,
) -> Result<Vec<(PositionKey, Position)>, ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE projection = $1 AND projection_version = $2 ORDER BY {}",
        names(POSITIONS.columns()),
        POSITIONS.physical_name(CONTROL_VERSION),
        names(POSITIONS.key()),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&projection.name, Type::TEXT),
                (&i64::from(version), Type::INT8),
            ],
        )
        .await?;
    let mut positions = Vec::with_capacity(rows.len());
    for row in &rows {
        positions.extend(Position::keyed(
            &from_sql(&POSITIONS, row)?,
            projection,
            version,
        ));
    }
    Ok(positions)
}

/// The records of one partition that are parked, in the order of key and offset.
///
/// # Errors
/// What the store said.
pub async fn load_parked(
    client: &impl GenericClient,
    key: &PositionKey,
    generation: u32,
) -> Result<Vec<ParkedRow>, ReadModelError> {
    let rows = in_partition(client, &PARKED, key).await?;
    Ok(rows
        .iter()
        .filter_map(|row| ParkedRow::waiting(row, generation))
        .collect())
}

/// Every row of a table, by key: for comparing two versions of a projection, not for serving.
///
/// # Errors
/// What the store said.
pub async fn all_rows(
    client: &impl GenericClient,
    table: &'static Table,
    version: u32,
) -> Result<Vec<Row>, ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {} ORDER BY {}",
        names(table.columns()),
        table.physical_name(version),
        names(table.key()),
    );
    let rows = client.query_typed(&sql, &[]).await?;
    rows.iter().map(|row| from_sql(table, row)).collect()
}
