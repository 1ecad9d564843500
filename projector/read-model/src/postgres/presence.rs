//! What a reader asks before it trusts the tables: whether they are there, and what was put aside.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::from_sql;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::parked::{MOST_PARKED, ParkedRecord};
use crate::schema::Projection;
use crate::tables::{CONTROL_TABLES, CONTROL_VERSION, PARKED};

/// The control tables, and the tables of `views` (each with its version), that nobody has made yet,
/// by their names in the store.
///
/// # Errors
/// What the store said.
pub async fn missing_tables(
    client: &impl GenericClient,
    views: &[(&'static Projection, u32)],
) -> Result<Vec<String>, ReadModelError> {
    let declared = views.iter().flat_map(|(each, version)| {
        let tables = each.tables.iter();
        tables.map(move |table| table.physical_name(*version))
    });
    let wanted: Vec<String> = CONTROL_TABLES
        .iter()
        .map(|table| table.physical_name(CONTROL_VERSION))
        .chain(declared)
        .collect();
    let rows = client
        .query_typed(
            "SELECT name FROM unnest($1) AS name WHERE to_regclass(name) IS NULL ORDER BY name",
            &[(&wanted, Type::TEXT_ARRAY)],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The records that a projection has parked and that still wait.
///
/// # Errors
/// What the store said.
pub async fn parked_records(
    client: &impl GenericClient,
    projection: &'static Projection,
    version: u32,
) -> Result<Vec<ParkedRecord>, ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE projection = $1 AND projection_version = $2 \
         ORDER BY {} LIMIT $3",
        names(PARKED.columns()),
        PARKED.physical_name(CONTROL_VERSION),
        names(PARKED.key()),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&projection.name, Type::TEXT),
                (&i64::from(version), Type::INT8),
                (&i64::from(MOST_PARKED), Type::INT8),
            ],
        )
        .await?;
    let mut parked = Vec::with_capacity(rows.len());
    for row in &rows {
        parked.extend(ParkedRecord::from_row(&from_sql(&PARKED, row)?));
    }
    Ok(parked)
}
