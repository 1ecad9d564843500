//! Making the tables.

use std::collections::BTreeMap;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;

use super::connect::CassandraOptions;
use super::control::load_positions;
use crate::ddl::{cql_type, create_table_cql, gc_grace_s, set_gc_grace_cql};
use crate::error::ReadModelError;
use crate::schema::{Projection, Table};
use crate::tables::{CONTROL_TABLES, CONTROL_VERSION, POSITIONS};

/// How often a statement that changes the schema is tried: two processes that do so at once can
/// get in each other's way.
const ATTEMPTS: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(300);

/// Makes the keyspace, the control tables and the tables of `projections` (with the version each is
/// to be built as) where they are not there yet, and holds those that are against their
/// declaration; only how long a removed row is remembered is changed where it differs. Several processes
/// may do so at once, and again.
///
/// # Errors
/// [`ReadModelError::Drift`] when a table has other columns, [`ReadModelError::Gone`] when one is not
/// there that has been written to; otherwise what the store said.
pub async fn migrate(
    session: &Session,
    options: &CassandraOptions,
    projections: &[(&'static Projection, u32)],
) -> Result<(), ReadModelError> {
    let keyspace = &options.keyspace;
    if existing_columns(session, keyspace).await?.is_empty() {
        change(
            session,
            &format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', '{}': {}}}",
                options.local_datacenter, options.replication_factor
            ),
        )
        .await?;
    }
    let declared = projections
        .iter()
        .flat_map(|(each, version)| each.tables.iter().map(move |table| (*table, *version)));
    let tables: Vec<(&Table, u32)> = CONTROL_TABLES
        .map(|table| (table, CONTROL_VERSION))
        .into_iter()
        .chain(declared)
        .collect();
    let begun = begun(session, keyspace, projections).await?;
    let existing = existing_columns(session, keyspace).await?;
    hold_positions(&begun, &existing)?;
    for (table, version) in &tables {
        if !existing.contains_key(&table.physical_name(*version)) {
            change(session, &create_table_cql(keyspace, table, *version)).await?;
        }
    }
    let existing = existing_columns(session, keyspace).await?;
    for (table, version) in &tables {
        check_drift(table, *version, &existing)?;
    }
    keep_gc_grace(session, keyspace, &tables).await
}

/// Tables that were made before they had a time of their own get it now.
async fn keep_gc_grace(
    session: &Session,
    keyspace: &str,
    tables: &[(&Table, u32)],
) -> Result<(), ReadModelError> {
    let existing = existing_gc_grace(session, keyspace).await?;
    for (table, version) in tables {
        let found = existing.get(&table.physical_name(*version)).copied();
        let differs = gc_grace_s(table).is_some_and(|seconds| found != Some(seconds));
        if let Some(statement) = set_gc_grace_cql(keyspace, table, *version).filter(|_| differs) {
            change(session, &statement).await?;
        }
    }
    Ok(())
}

/// Those of `projections` that have been written to, by their positions. To be asked before the tables
/// are looked at, which come before positions.
async fn begun(
    session: &Session,
    keyspace: &str,
    projections: &[(&'static Projection, u32)],
) -> Result<Vec<(&'static Projection, u32)>, ReadModelError> {
    let positions = POSITIONS.physical_name(CONTROL_VERSION);
    let mut begun = Vec::new();
    if projections.is_empty()
        || !existing_columns(session, keyspace)
            .await?
            .contains_key(&positions)
    {
        return Ok(begun);
    }
    for (projection, version) in projections {
        let positions = load_positions(session, keyspace, projection, *version).await?;
        if positions.iter().any(|(_, at)| at.next_offset > 0) {
            begun.push((*projection, *version));
        }
    }
    Ok(begun)
}

/// A table that is not there although the version's positions say that it was written to has been
/// lost; made anew it would be empty, and nobody would know.
///
/// # Errors
/// [`ReadModelError::Gone`], or what the store said.
pub async fn refuse_gone(
    session: &Session,
    keyspace: &str,
    projection: &'static Projection,
    version: u32,
) -> Result<(), ReadModelError> {
    let begun = begun(session, keyspace, &[(projection, version)]).await?;
    hold_positions(&begun, &existing_columns(session, keyspace).await?)
}

/// Holds the tables that there are against versions that have been written to.
fn hold_positions(
    begun: &[(&'static Projection, u32)],
    existing: &Columns,
) -> Result<(), ReadModelError> {
    let tables = begun.iter().flat_map(|(each, version)| {
        let tables = each.tables.iter();
        tables.map(|table| table.physical_name(*version))
    });
    let gone: Vec<String> = tables.filter(|name| !existing.contains_key(name)).collect();
    match gone.is_empty() {
        true => Ok(()),
        false => Err(ReadModelError::Gone {
            tables: gone.join(", "),
        }),
    }
}

/// The tables of a projection's version that are not there.
pub(crate) async fn missing_tables(
    session: &Session,
    keyspace: &str,
    projection: &Projection,
    version: u32,
) -> Result<Vec<String>, ReadModelError> {
    let existing = existing_columns(session, keyspace).await?;
    let tables = projection.tables.iter();
    let names = tables.map(|table| table.physical_name(version));
    Ok(names.filter(|name| !existing.contains_key(name)).collect())
}

/// Runs a statement that changes the schema, and waits until all nodes agree on it.
pub(crate) async fn change(session: &Session, statement: &str) -> Result<(), ReadModelError> {
    let mut attempt = 1;
    loop {
        let result = session.query_unpaged(statement, ()).await;
        match result {
            Ok(_) => break,
            Err(error) if attempt >= ATTEMPTS => return Err(ReadModelError::cassandra(error)),
            Err(_) => {
                attempt += 1;
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
    session
        .await_schema_agreement()
        .await
        .map(|_| ())
        .map_err(ReadModelError::cassandra)
}

type Columns = BTreeMap<String, BTreeMap<String, String>>;

/// Type by column, by table.
async fn existing_columns(session: &Session, keyspace: &str) -> Result<Columns, ReadModelError> {
    let cql =
        "SELECT table_name, column_name, type FROM system_schema.columns WHERE keyspace_name = ?";
    let mut columns = Columns::new();
    for (table, column, kind) in
        system_rows::<(String, String, String)>(session, cql, keyspace).await?
    {
        columns.entry(table).or_default().insert(column, kind);
    }
    Ok(columns)
}

/// For how many seconds what was removed is remembered, by table.
async fn existing_gc_grace(
    session: &Session,
    keyspace: &str,
) -> Result<BTreeMap<String, i32>, ReadModelError> {
    let cql =
        "SELECT table_name, gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = ?";
    let tables = system_rows::<(String, Option<i32>)>(session, cql, keyspace).await?;
    let known = tables.into_iter();
    Ok(known
        .filter_map(|(table, seconds)| Some((table, seconds?)))
        .collect())
}

/// What the store itself says of a keyspace.
async fn system_rows<R>(
    session: &Session,
    cql: &str,
    keyspace: &str,
) -> Result<Vec<R>, ReadModelError>
where
    R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
{
    let result = session
        .query_unpaged(cql, (keyspace,))
        .await
        .map_err(ReadModelError::cassandra)?
        .into_rows_result()
        .map_err(ReadModelError::cassandra)?;
    let rows = result.rows::<R>().map_err(ReadModelError::cassandra)?;
    rows.collect::<Result<_, _>>()
        .map_err(ReadModelError::cassandra)
}

fn check_drift(table: &Table, version: u32, existing: &Columns) -> Result<(), ReadModelError> {
    let name = table.physical_name(version);
    let declared: BTreeMap<String, String> = table
        .columns()
        .map(|column| (column.name.to_owned(), cql_type(column.kind).to_owned()))
        .collect();
    match existing.get(&name) {
        Some(found) if *found == declared => Ok(()),
        found => Err(ReadModelError::Drift {
            table: name,
            problem: format!("has columns {found:?}, not {declared:?}"),
        }),
    }
}
