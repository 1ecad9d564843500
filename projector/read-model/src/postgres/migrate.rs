//! Making the tables.

use std::collections::BTreeMap;

use tokio_postgres::{Client, GenericClient, Transaction};

use crate::ddl::{add_key_sql, create_bare_table_sql, create_table_sql, sql_type};
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
    transaction
        .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        .await?;
    for table in CONTROL_TABLES {
        make(&transaction, table, CONTROL_VERSION, Extent::Whole).await?;
    }
    for (projection, version) in projections {
        let extent = match extent {
            Extent::Bare if projection.streams.len() > 1 => Extent::Keyed,
            extent => extent,
        };
        for table in projection.tables {
            make(&transaction, table, *version, extent).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn make(
    transaction: &Transaction<'_>,
    table: &Table,
    version: u32,
    extent: Extent,
) -> Result<(), ReadModelError> {
    let statements = match extent {
        Extent::Bare => vec![create_bare_table_sql(table, version)],
        Extent::Keyed | Extent::Whole => create_table_sql(table, version),
    };
    let mut statements = statements.iter();
    if let Some(create) = statements.next() {
        transaction.batch_execute(create).await?;
    }
    if let Extent::Whole = extent {
        add_missing_key(transaction, table, version).await?;
        for index in statements {
            transaction.batch_execute(index).await?;
        }
    }
    let name = table.physical_name(version);
    let found = existing_columns(transaction, &name).await?;
    let declared: BTreeMap<String, String> = table
        .columns()
        .map(|column| (column.name.to_owned(), sql_type(column.kind).to_owned()))
        .collect();
    if found == declared {
        return Ok(());
    }
    Err(ReadModelError::Drift {
        table: name,
        problem: format!("has columns {found:?}, not {declared:?}"),
    })
}

async fn add_missing_key(
    transaction: &Transaction<'_>,
    table: &Table,
    version: u32,
) -> Result<(), ReadModelError> {
    let has_key = "SELECT FROM pg_index WHERE indrelid = to_regclass($1) AND indisprimary";
    let name = table.physical_name(version);
    if transaction.query_opt(has_key, &[&name]).await?.is_none() {
        transaction
            .batch_execute(&add_key_sql(table, version))
            .await?;
    }
    Ok(())
}

async fn existing_columns(
    client: &impl GenericClient,
    table: &str,
) -> Result<BTreeMap<String, String>, ReadModelError> {
    let rows = client
        .query(
            "SELECT column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1",
            &[&table],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}
