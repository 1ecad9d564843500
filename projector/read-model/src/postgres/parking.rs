//! Requests about parked records.

use tokio_postgres::GenericClient;
use tokio_postgres::types::{ToSql, Type};

use super::control::write;
use super::from_sql;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::parking::{MOST_REQUESTS, ParkRequest, RequestOutcome, SkippedRow};
use crate::row::Row;
use crate::schema::Table;
use crate::tables::{CONTROL_VERSION, PARK_REQUESTS, PARKED, SKIPPED};
use crate::value::Value;

/// Puts a request into the store.
///
/// # Errors
/// What the store said.
pub async fn ask(
    client: &impl GenericClient,
    projection: &str,
    version: u32,
    request: &ParkRequest,
) -> Result<(), ReadModelError> {
    let key = request.row_key(projection, version);
    let cells = request.cells();
    let said: Vec<&(&'static str, Value)> = cells
        .iter()
        .filter(|(_, value)| *value != Value::Unset)
        .collect();
    let columns = PARK_REQUESTS.key().map(|column| column.name);
    let columns: Vec<&str> = columns.chain(said.iter().map(|(name, _)| *name)).collect();
    let values: Vec<Value> = key
        .iter()
        .chain(said.iter().map(|(_, value)| value))
        .cloned()
        .collect();
    let markers: Vec<String> = (1..=values.len()).map(|at| format!("${at}")).collect();
    let sql = format!(
        "INSERT INTO {} ({}, row_seq) VALUES ({}, 0)",
        PARK_REQUESTS.physical_name(CONTROL_VERSION),
        columns.join(", "),
        markers.join(", "),
    );
    write(client, &sql, &values).await.map(drop)
}

/// The requests after the one called `after`, in their order, at most [`MOST_REQUESTS`]; carried
/// out or not.
///
/// # Errors
/// What the store said.
pub async fn park_requests(
    client: &impl GenericClient,
    projection: &str,
    version: u32,
    after: &str,
) -> Result<Vec<(ParkRequest, RequestOutcome)>, ReadModelError> {
    let rest = "AND request_id > $3 ORDER BY request_id, topic, log_partition LIMIT $4";
    let values: [(&(dyn ToSql + Sync), Type); 2] = [
        (&after, Type::TEXT),
        (&i64::from(MOST_REQUESTS), Type::INT8),
    ];
    let rows = of_projection(client, &PARK_REQUESTS, projection, version, rest, &values).await?;
    Ok(rows.iter().filter_map(ParkRequest::from_row).collect())
}

/// Every parked record of a projection, as rows of [`PARKED`], by partition, key and offset; at
/// most `limit`.
///
/// # Errors
/// What the store said.
pub async fn parked_rows(
    client: &impl GenericClient,
    projection: &str,
    version: u32,
    limit: u32,
) -> Result<Vec<Row>, ReadModelError> {
    let rest = "ORDER BY topic, log_partition, record_key, record_offset LIMIT $3";
    let values: [(&(dyn ToSql + Sync), Type); 1] = [(&i64::from(limit), Type::INT8)];
    of_projection(client, &PARKED, projection, version, rest, &values).await
}

/// The records of a projection that were given up, at most `limit`.
///
/// # Errors
/// What the store said.
pub async fn skipped_rows(
    client: &impl GenericClient,
    projection: &str,
    version: u32,
    limit: u32,
) -> Result<Vec<SkippedRow>, ReadModelError> {
    let rest = "ORDER BY topic, log_partition, record_key, record_offset LIMIT $3";
    let values: [(&(dyn ToSql + Sync), Type); 1] = [(&i64::from(limit), Type::INT8)];
    let rows = of_projection(client, &SKIPPED, projection, version, rest, &values).await?;
    Ok(rows.iter().filter_map(SkippedRow::from_row).collect())
}

async fn of_projection(
    client: &impl GenericClient,
    table: &'static Table,
    projection: &str,
    version: u32,
    rest: &str,
    more: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE projection = $1 AND projection_version = $2 {rest}",
        names(table.columns()),
        table.physical_name(CONTROL_VERSION),
    );
    let version = i64::from(version);
    let mut values: Vec<(&(dyn ToSql + Sync), Type)> =
        vec![(&projection, Type::TEXT), (&version, Type::INT8)];
    values.extend(more.iter().map(|(value, kind)| (*value, kind.clone())));
    let rows = client.query_typed(&sql, &values).await?;
    rows.iter().map(|row| from_sql(table, row)).collect()
}
