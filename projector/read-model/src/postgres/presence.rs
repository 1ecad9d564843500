//! What a reader asks before it trusts the tables: whether they are there, and what was put aside.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::from_sql;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::parked::{ParkedLook, ParkedSeq};
use crate::schema::Projection;
use crate::tables::{CONTROL_VERSION, PARKED, READERS_TABLES};

/// The control tables that a reader needs, and the tables of `views` (each with its version), that nobody has made yet,
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
    let control = READERS_TABLES.iter();
    let control = control.map(|table| table.physical_name(CONTROL_VERSION));
    missing(client, control.chain(declared).collect()).await
}

/// Those of the tables called `wanted` that nobody has made yet.
pub(super) async fn missing(
    client: &impl GenericClient,
    wanted: Vec<String>,
) -> Result<Vec<String>, ReadModelError> {
    let rows = client
        .query_typed(
            "SELECT name FROM unnest($1) AS name WHERE to_regclass(name) IS NULL ORDER BY name",
            &[(&wanted, Type::TEXT_ARRAY)],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The records that a projection has parked and that still wait, at most `most`.
///
/// # Errors
/// What the store said.
pub async fn parked_records(
    client: &impl GenericClient,
    projection: &'static Projection,
    version: u32,
    most: u32,
) -> Result<ParkedLook, ReadModelError> {
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
                (&(i64::from(most) + 1), Type::INT8),
            ],
        )
        .await?;
    let rows: Result<Vec<_>, _> = rows.iter().map(|row| from_sql(&PARKED, row)).collect();
    Ok(ParkedLook::of(&rows?, most))
}

/// Those of `places` whose records a projection has parked, however many others it has.
///
/// # Errors
/// What the store said.
pub async fn parked_among(
    client: &impl GenericClient,
    projection: &'static Projection,
    version: u32,
    places: &[ParkedSeq],
) -> Result<Vec<ParkedSeq>, ReadModelError> {
    let topics: Vec<&str> = places.iter().map(|at| at.stream.topic()).collect();
    let numbers = |of: fn(&ParkedSeq) -> i64| places.iter().map(of).collect::<Vec<i64>>();
    let sql = format!(
        "SELECT {} FROM {} WHERE projection = $1 AND projection_version = $2 \
         AND (topic, log_partition, generation, seq) IN \
         (SELECT * FROM unnest($3, $4, $5, $6))",
        names(PARKED.columns()),
        PARKED.physical_name(CONTROL_VERSION),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&projection.name, Type::TEXT),
                (&i64::from(version), Type::INT8),
                (&topics, Type::TEXT_ARRAY),
                (&numbers(|at| i64::from(at.partition)), Type::INT8_ARRAY),
                (&numbers(|at| i64::from(at.generation)), Type::INT8_ARRAY),
                (
                    &numbers(|at| i64::try_from(at.seq).unwrap_or(i64::MAX)),
                    Type::INT8_ARRAY,
                ),
            ],
        )
        .await?;
    let mut parked = Vec::with_capacity(rows.len());
    for row in &rows {
        parked.extend(ParkedSeq::from_row(&from_sql(&PARKED, row)?));
    }
    Ok(parked)
}

/// How many records a projection has parked under `keys`.
///
/// # Errors
/// What the store said.
pub async fn parked_under(
    client: &impl GenericClient,
    projection: &'static Projection,
    version: u32,
    keys: &[String],
) -> Result<u64, ReadModelError> {
    let sql = format!(
        "SELECT count(*) FROM {} WHERE projection = $1 AND projection_version = $2 \
         AND record_key = ANY($3)",
        PARKED.physical_name(CONTROL_VERSION),
    );
    let row = client
        .query_typed_one(
            &sql,
            &[
                (&projection.name, Type::TEXT),
                (&i64::from(version), Type::INT8),
                (&keys, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or_default())
}
