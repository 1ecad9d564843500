//! Making the tables.

use std::collections::BTreeMap;

use tokio_postgres::{Client, GenericClient, Transaction};

use crate::ddl::{add_missing_key_sql, create_bare_table_sql, create_table_sql, sql_type};
use crate::error::ReadModelError;
use crate::schema::{Projection, Table};
use crate::tables::{CONTROL_TABLES, CONTROL_VERSION};

/// Held while the schema changes, so that several processes may boot at once. Any fixed number.
const MIGRATION_LOCK: i64 = 0x6361_7274;

/// Makes the control tables and the tables of `projections` (with the version each is to be built
/// as) where they are not there yet, in one transaction, and holds those that are against their
/// declaration. Several processes may do so at once, and again.
///
/// # Errors
/// [`ReadModelError::Drift`] when a table has other columns; otherwise what the store said.
pub async fn migrate(
    client: &mut Client,
    projections: &[(&'static Projection, u32)],
) -> Result<(), ReadModelError> {
    make_all(client, projections, Extent::Whole).await
}

/// The same for a version that nobody reads yet: indexes are made faster when the rows are there, and
/// so are keys. A table that several streams write to has its key from the beginning, for a row of
/// it may be there already; any other gets it from [`add_key`] or, at the end, from [`migrate`].
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_bare(
    client: &mut Client,
    projections: &[(&'static Projection, u32)],
) -> Result<(), ReadModelError> {
    make_all(client, projections, Extent::Bare).await
}

/// Gives a table the key that [`migrate_bare`] has left out, if it has none yet.
///
/// # Errors
/// What the store said; for one, that two rows have the same key.
pub async fn add_key(
    client: &mut Client,
    table: &Table,
    version: u32,
) -> Result<(), ReadModelError> {
    let transaction = client.transaction().await?;
    lock(&transaction).await?;
    add_missing_key(&transaction, table, version).await?;
    transaction.commit().await?;
    Ok(())
}

/// How much of a table is made.
#[derive(Clone, Copy)]
enum Extent {
    Whole,
    Keyed,
    Bare,
}

async fn lock(transaction: &Transaction<'_>) -> Result<(), ReadModelError> {
    let statement = "SELECT pg_advisory_xact_lock($1)";
    transaction.execute(statement, &[&MIGRATION_LOCK]).await?;
    Ok(())
}

async fn make_all(
    client: &mut Client,
    projections: &[(&'static Projection, u32)],
    extent: Extent,
) -> Result<(), ReadModelError> {
    let transaction = client.transaction().await?;
    lock(&transaction).await?;
    let control = CONTROL_TABLES.map(|table| (table, CONTROL_VERSION, Extent::Whole));
    let mut tables = Vec::from(control);
    for (projection, version) in projections {
        let extent = match extent {
            Extent::Bare if projection.streams.len() > 1 => Extent::Keyed,
            extent => extent,
        };
        let own = projection.tables.iter();
        tables.extend(own.map(|table| (*table, *version, extent)));
    }
    let mut wanted = vec!["CREATE EXTENSION IF NOT EXISTS pg_trgm".to_owned()];
    for (table, version, extent) in &tables {
        wanted.extend(statements(table, *version, *extent));
    }
    // All at once: every worker does this when it begins, and the others wait for the lock.
    transaction.batch_execute(&wanted.join(";\n")).await?;
    hold(&transaction, &tables).await?;
    transaction.commit().await?;
    Ok(())
}

/// What makes a table where it is not there yet.
fn statements(table: &Table, version: u32, extent: Extent) -> Vec<String> {
    match extent {
        Extent::Bare => vec![create_bare_table_sql(table, version)],
        Extent::Keyed => create_table_sql(table, version)
            .into_iter()
            .take(1)
            .collect(),
        Extent::Whole => {
            let mut statements = create_table_sql(table, version);
            // One that was begun bare.
            statements.insert(1, add_missing_key_sql(table, version));
            statements
        }
    }
}

async fn add_missing_key(
    transaction: &Transaction<'_>,
    table: &Table,
    version: u32,
) -> Result<(), ReadModelError> {
    let statement = add_missing_key_sql(table, version);
    transaction.batch_execute(&statement).await?;
    Ok(())
}

/// Holds the tables that are there against their declaration.
async fn hold(
    client: &impl GenericClient,
    tables: &[(&Table, u32, Extent)],
) -> Result<(), ReadModelError> {
    let name = |(table, version, _): &(&Table, u32, Extent)| table.physical_name(*version);
    let names: Vec<String> = tables.iter().map(name).collect();
    let rows = client
        .query(
            "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL) \
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1) \
             AND a.attnum > 0 AND NOT a.attisdropped",
            &[&names],
        )
        .await?;
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in rows {
        let columns = found.entry(row.try_get(0)?).or_default();
        columns.insert(row.try_get(1)?, row.try_get(2)?);
    }
    for ((table, ..), name) in tables.iter().zip(names) {
        let declared: BTreeMap<String, String> = table
            .columns()
            .map(|column| (column.name.to_owned(), sql_type(column.kind).to_owned()))
            .collect();
        let none = BTreeMap::new();
        let found = found.get(&name).unwrap_or(&none);
        if *found != declared {
            let problem = format!("has columns {found:?}, not {declared:?}");
            return Err(ReadModelError::Drift {
                table: name,
                problem,
            });
        }
    }
    Ok(())
}
