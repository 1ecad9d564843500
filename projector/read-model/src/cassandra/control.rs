//! Positions and parked records.

use scylla::client::session::Session;
use scylla::value::CqlValue;

use super::reader::Reader;
use crate::error::ReadModelError;
use crate::parked::ParkedRow;
use crate::position::{Position, PositionKey};
use crate::row::Row;
use crate::schema::{Projection, ROW_SEQ, Table};
use crate::tables::{CONTROL_VERSION, PARKED, POSITIONS, VERSIONS};
use crate::value::Value;

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

/// Rows of a control table whose key begins with `key`.
pub(crate) async fn control_rows(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    key: &[Value],
) -> Result<Vec<Row>, ReadModelError> {
    let condition = key_condition(table, key.len());
    let reader =
        Reader::prepare_where(session, keyspace, table, CONTROL_VERSION, &condition).await?;
    reader.rows(session, key).await
}

/// Gives every row of a table to `visit`, page by page.
pub(crate) async fn scan(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    version: u32,
    visit: &mut (dyn FnMut(Row) + Send),
) -> Result<(), ReadModelError> {
    let reader = Reader::prepare_where(session, keyspace, table, version, "").await?;
    reader.each(session, visit).await
}

/// Whether a table holds no row.
pub(crate) async fn is_empty(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    version: u32,
) -> Result<bool, ReadModelError> {
    let reader = Reader::prepare_where(session, keyspace, table, version, "LIMIT 1").await?;
    Ok(reader.rows(session, &[]).await?.is_empty())
}

/// Reads single rows.
pub(crate) async fn by_whole_key(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    version: u32,
) -> Result<Reader, ReadModelError> {
    let condition = key_condition(table, table.key_len());
    Reader::prepare_where(session, keyspace, table, version, &condition).await
}

/// Writes a row of a control table at `time`.
pub(crate) async fn put(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    key: &[Value],
    cells: &[(&'static str, Value)],
    time: i64,
) -> Result<(), ReadModelError> {
    let columns: Vec<&str> = table
        .key()
        .map(|column| column.name)
        .chain(cells.iter().map(|(name, _)| *name))
        .chain([ROW_SEQ.name])
        .collect();
    let cql = format!(
        "INSERT INTO {keyspace}.{} ({}) VALUES ({}) USING TIMESTAMP ?",
        table.physical_name(CONTROL_VERSION),
        columns.join(", "),
        vec!["?"; columns.len()].join(", "),
    );
    let mut values: Vec<Value> = key.to_vec();
    values.extend(cells.iter().map(|(_, value)| value.clone()));
    values.extend([Value::Int(0), Value::Int(time)]);
    execute(session, cql, &values).await
}

/// Stores a revision of a projection's versions if it follows the one that is there. Answers whether
/// it did.
///
/// The one lightweight transaction in this store: of two who change versions at the same moment one
/// has to know that it did not, for it goes on to drop tables. Its time is the store's own, which is later
/// than that of any write before.
pub(crate) async fn put_versions(
    session: &Session,
    keyspace: &str,
    projection: &str,
    revision: u64,
    document: serde_json::Value,
) -> Result<bool, ReadModelError> {
    let table = VERSIONS.physical_name(CONTROL_VERSION);
    let (projection, document) = (projection.into(), Value::Json(document));
    let (cql, values): (String, Vec<Value>) = match revision {
        0 | 1 => (
            format!(
                "INSERT INTO {keyspace}.{table} (projection, document, row_seq) VALUES (?, ?, ?) \
                 IF NOT EXISTS"
            ),
            vec![projection, document, revision.into()],
        ),
        next => (
            format!(
                "UPDATE {keyspace}.{table} SET document = ?, row_seq = ? WHERE projection = ? \
                 IF row_seq = ?"
            ),
            vec![document, next.into(), projection, (next - 1).into()],
        ),
    };
    // Not idempotent: sent twice, the second would find the first and say no.
    let statement = session.prepare(cql).await;
    let statement = statement.map_err(ReadModelError::cassandra)?;
    let result = session
        .execute_unpaged(&statement, values)
        .await
        .map_err(ReadModelError::cassandra)?
        .into_rows_result()
        .map_err(ReadModelError::cassandra)?;
    let answer = result.first_row::<scylla::value::Row>();
    let answer = answer.map_err(ReadModelError::cassandra)?;
    Ok(answer.columns.first() == Some(&Some(CqlValue::Boolean(true))))
}

/// Removes the rows of a control table whose key begins with `key`.
pub(crate) async fn delete_rows(
    session: &Session,
    keyspace: &str,
    table: &'static Table,
    key: &[Value],
) -> Result<(), ReadModelError> {
    let cql = format!(
        "DELETE FROM {keyspace}.{} {}",
        table.physical_name(CONTROL_VERSION),
        key_condition(table, key.len()),
    );
    execute(session, cql, key).await
}

async fn execute(session: &Session, cql: String, values: &[Value]) -> Result<(), ReadModelError> {
    let mut statement = session
        .prepare(cql)
        .await
        .map_err(ReadModelError::cassandra)?;
    statement.set_is_idempotent(true);
    let result = session.execute_unpaged(&statement, values).await;
    result.map(drop).map_err(ReadModelError::cassandra)
}

fn key_condition(table: &Table, columns: usize) -> String {
    let same: Vec<String> = table
        .key()
        .take(columns)
        .map(|column| format!("{} = ?", column.name))
        .collect();
    match same.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", same.join(" AND ")),
    }
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
