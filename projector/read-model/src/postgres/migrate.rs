//! Making the tables.

use std::collections::BTreeMap;

use tokio_postgres::{Client, GenericClient, Transaction};

use crate::ddl::{create_table_sql, sql_type};
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
    make_all(client, projections, true).await
}

/// The same without the tables' indexes, for a version that nobody reads yet: they are made faster
/// when the rows are there.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_bare(
    client: &mut Client,
    projections: &[(&'static Projection, u32)],
) -> Result<(), ReadModelError> {
    make_all(client, projections, false).await
}

async fn make_all(
    client: &mut Client,
    projections: &[(&'static Projection, u32)],
    with_indexes: bool,
) -> Result<(), ReadModelError> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    transaction
        .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        .await?;
    for table in CONTROL_TABLES {
        make(&transaction, table, CONTROL_VERSION, true).await?;
    }
    for (projection, version) in projections {
        for table in projection.tables {
            make(&transaction, table, *version, with_indexes).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn make(
    transaction: &Transaction<'_>,
    table: &Table,
    version: u32,
    with_indexes: bool,
) -> Result<(), ReadModelError> {
    let statements = create_table_sql(table, version);
    // The first makes the table.
    let count = if with_indexes { statements.len() } else { 1 };
    for statement in statements.into_iter().take(count) {
        transaction.batch_execute(&statement).await?;
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
