//! Positions and parked records.

use futures::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, GenericClient};

use super::from_sql;
use super::sql_value::Micros;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::parked::ParkedRow;
use crate::position::{Position, PositionKey};
use crate::row::Row;
use crate::schema::{Projection, Table};
use crate::tables::{CONTROL_VERSION, PARKED, POSITIONS, VERSIONS};
use crate::value::Value;

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

/// Rows of a control table whose key begins with `key`, by key.
///
/// # Errors
/// What the store said.
pub async fn control_rows(
    client: &impl GenericClient,
    table: &'static Table,
    key: &[Value],
) -> Result<Vec<Row>, ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {} {} ORDER BY {}",
        names(table.columns()),
        table.physical_name(CONTROL_VERSION),
        key_condition(table, key.len()),
        names(table.key()),
    );
    let parameters = parameters(key);
    let rows = client.query_typed(&sql, &typed(&parameters)).await?;
    rows.iter().map(|row| from_sql(table, row)).collect()
}

/// Gives every row of a table to `visit`, however long that takes.
pub(crate) async fn scan(
    client: &mut Client,
    table: &'static Table,
    version: u32,
    visit: &mut (dyn FnMut(Row) + Send),
) -> Result<(), ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {}",
        names(table.columns()),
        table.physical_name(version),
    );
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0")
        .await?;
    let nothing: [(&(dyn ToSql + Sync), Type); 0] = [];
    {
        let rows = transaction.query_typed_raw(&sql, nothing).await?;
        futures::pin_mut!(rows);
        while let Some(row) = rows.try_next().await? {
            visit(from_sql(table, &row)?);
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// The rows of a table, and the bytes that it takes with its key and indexes; however long counting takes.
pub(crate) async fn size(
    client: &mut Client,
    table: &Table,
    version: u32,
) -> Result<(u64, u64), ReadModelError> {
    let name = table.physical_name(version);
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0")
        .await?;
    let sql =
        format!("SELECT (SELECT count(*) FROM {name}), pg_total_relation_size(to_regclass($1))");
    let found = transaction
        .query_typed(&sql, &[(&name, Type::TEXT)])
        .await?;
    transaction.commit().await?;
    let Some(row) = found.first() else {
        return Ok((0, 0));
    };
    let (rows, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok((number(rows), number(bytes)))
}

/// Whether a table holds no row.
pub(crate) async fn is_empty(
    client: &impl GenericClient,
    table: &Table,
    version: u32,
) -> Result<bool, ReadModelError> {
    let name = table.physical_name(version);
    let sql = format!("SELECT FROM {name} LIMIT 1");
    Ok(client.query_typed(&sql, &[]).await?.is_empty())
}

/// The rows with these keys.
pub(crate) async fn get(
    client: &impl GenericClient,
    table: &'static Table,
    version: u32,
    keys: &[Vec<Value>],
) -> Result<Vec<Row>, ReadModelError> {
    let width = table.key_len();
    let tuple = |index: usize| {
        let markers: Vec<String> = (1..=width)
            .map(|column| format!("${}", index * width + column))
            .collect();
        format!("({})", markers.join(", "))
    };
    let tuples: Vec<String> = (0..keys.len()).map(tuple).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE ({}) IN ({})",
        names(table.columns()),
        table.physical_name(version),
        names(table.key()),
        tuples.join(", "),
    );
    let values: Vec<Value> = keys.iter().flatten().cloned().collect();
    let parameters = parameters(&values);
    let rows = client.query_typed(&sql, &typed(&parameters)).await?;
    rows.iter().map(|row| from_sql(table, row)).collect()
}

/// Writes a row of a control table.
pub(crate) async fn put(
    client: &impl GenericClient,
    table: &'static Table,
    key: &[Value],
    cells: &[(&'static str, Value)],
) -> Result<(), ReadModelError> {
    let columns: Vec<&str> = table
        .key()
        .map(|column| column.name)
        .chain(cells.iter().map(|(name, _)| *name))
        .collect();
    let markers: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let changed: Vec<String> = cells
        .iter()
        .map(|(name, _)| format!("{name} = EXCLUDED.{name}"))
        .collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
        table.physical_name(CONTROL_VERSION),
        columns.join(", "),
        markers.join(", "),
        names(table.key()),
        changed.join(", "),
    );
    let values: Vec<Value> = key
        .iter()
        .cloned()
        .chain(cells.iter().map(|(_, value)| value.clone()))
        .collect();
    write(client, &sql, &values).await.map(drop)
}

/// Removes the rows of a control table whose key begins with `key`.
pub(crate) async fn delete_rows(
    client: &impl GenericClient,
    table: &'static Table,
    key: &[Value],
) -> Result<(), ReadModelError> {
    let sql = format!(
        "DELETE FROM {} {}",
        table.physical_name(CONTROL_VERSION),
        key_condition(table, key.len()),
    );
    write(client, &sql, key).await.map(drop)
}

/// Stores a revision of a projection's versions if it follows the one that is there. Answers whether
/// it did.
pub(crate) async fn put_versions(
    client: &impl GenericClient,
    projection: &str,
    revision: u64,
    document: &serde_json::Value,
) -> Result<bool, ReadModelError> {
    let name = VERSIONS.physical_name(CONTROL_VERSION);
    let sql = format!(
        "INSERT INTO {name} AS t (projection, document, row_seq) VALUES ($1, $2, $3) \
         ON CONFLICT (projection) DO UPDATE SET document = EXCLUDED.document, \
         row_seq = EXCLUDED.row_seq WHERE t.row_seq = EXCLUDED.row_seq - 1"
    );
    let values = [
        projection.into(),
        Value::Json(document.clone()),
        revision.into(),
    ];
    Ok(write(client, &sql, &values).await? == 1)
}

/// Runs a statement that writes; answers how many rows it touched.
pub(super) async fn write(
    client: &impl GenericClient,
    sql: &str,
    values: &[Value],
) -> Result<u64, ReadModelError> {
    let parameters = parameters(values);
    let sql = format!("{sql} RETURNING 1");
    let rows = client.query_typed(&sql, &typed(&parameters)).await?;
    Ok(rows.len() as u64)
}

fn key_condition(table: &Table, columns: usize) -> String {
    let same: Vec<String> = table
        .key()
        .take(columns)
        .enumerate()
        .map(|(index, column)| format!("{} = ${}", column.name, index + 1))
        .collect();
    match same.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", same.join(" AND ")),
    }
}

type Parameter = (Box<dyn ToSql + Sync + Send>, Type);

fn parameters(values: &[Value]) -> Vec<Parameter> {
    let parameter = |value: &Value| -> Parameter {
        match value {
            Value::Unset => (Box::new(None::<String>), Type::TEXT),
            Value::Text(text) => (Box::new(text.to_string()), Type::TEXT),
            Value::Int(number) => (Box::new(*number), Type::INT8),
            Value::Bool(flag) => (Box::new(*flag), Type::BOOL),
            Value::Time(time) => (Box::new(Micros(*time)), Type::TIMESTAMPTZ),
            Value::Json(json) => (Box::new(json.clone()), Type::JSONB),
        }
    };
    values.iter().map(parameter).collect()
}

fn typed(parameters: &[Parameter]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    parameters
        .iter()
        .map(|(value, kind)| (value.as_ref() as &(dyn ToSql + Sync), kind.clone()))
        .collect()
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
