//! Making the tables.

use std::collections::BTreeMap;

use deadpool_postgres::Pool;
use futures::stream::{self, StreamExt as _};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::presence::missing;
use crate::ddl::{add_missing_key_sql, create_bare_table_sql, create_table_sql, sql_type};
use crate::error::ReadModelError;
use crate::schema::{Projection, Table};
use crate::tables::{CONTROL_TABLES, CONTROL_VERSION, POSITIONS};

/// Held while the control tables are made, so that several processes may boot at once. Any fixed
/// number; with a table's name beside it, held while that table changes.
const MIGRATION_LOCK: i32 = 0x6361_7274;

/// Keys and indexes take as long as the table is large; only waiting for others is bounded.
const MAY_TAKE_LONG: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'";

/// Keys or indexes of a version that are made at a time: each may take the server's memory for such work.
const COMPLETED_AT_ONCE: usize = 2;

/// Makes the control tables and the tables of `projections` (with the version each is to be built
/// as) where they are not there yet, and holds those that are against their declaration. Several
/// processes may do so at once, and again; those who make keys and indexes of one version keep nobody
/// from another.
///
/// # Errors
/// [`ReadModelError::Drift`] when a table has other columns, [`ReadModelError::Gone`] when one is not
/// there that has been written to; otherwise what the store said.
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

/// Makes the control tables where some are missing, and asks nothing else of the store: many do so,
/// again and again.
///
/// # Errors
/// As [`migrate`].
pub async fn make_control_tables(client: &mut Client) -> Result<(), ReadModelError> {
    let wanted = CONTROL_TABLES.map(|table| table.physical_name(CONTROL_VERSION));
    if missing(&*client, wanted.into()).await?.is_empty() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    let statement = "SELECT pg_advisory_xact_lock($1)";
    let lock = i64::from(MIGRATION_LOCK);
    transaction.execute(statement, &[&lock]).await?;
    transaction
        .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        .await?;
    for table in CONTROL_TABLES {
        make(&transaction, table, CONTROL_VERSION, Extent::Whole).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Whether a version's tables have their keys and indexes, so that [`migrate`] changes nothing.
///
/// # Errors
/// As [`migrate`].
pub async fn is_whole(
    client: &impl GenericClient,
    projection: &Projection,
    version: u32,
) -> Result<bool, ReadModelError> {
    let mut wanted = Vec::new();
    let mut keyed = Vec::new();
    for table in projection.tables {
        let name = table.physical_name(version);
        let indexes = table.indexes.iter();
        wanted.extend(indexes.map(|index| format!("{name}_{}", index.suffix)));
        keyed.push(name);
    }
    let found = client
        .query_typed(
            "SELECT (SELECT count(*) FROM unnest($1) AS name WHERE to_regclass(name) IS NULL) \
             + (SELECT count(*) FROM unnest($2) AS name WHERE NOT EXISTS \
             (SELECT FROM pg_index WHERE indrelid = to_regclass(name) AND indisprimary))",
            &[(&wanted, Type::TEXT_ARRAY), (&keyed, Type::TEXT_ARRAY)],
        )
        .await?;
    let missing: i64 = found.first().map_or(Ok(1), |row| row.try_get(0))?;
    Ok(missing == 0)
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
    lock(&transaction, &table.physical_name(version)).await?;
    add_missing_key(&transaction, table, version).await?;
    transaction.commit().await?;
    Ok(())
}

/// Makes what [`migrate_bare`] has left out: keys and indexes of a version whose rows are all there. Makes no
/// table: one that is not there was removed meanwhile, and nobody would remove it again.
///
/// # Errors
/// [`ReadModelError::Gone`], or what the store said.
pub(crate) async fn complete(
    pool: &Pool,
    projection: &'static Projection,
    version: u32,
) -> Result<(), ReadModelError> {
    let tables = || projection.tables.iter().copied();
    let keys = tables().map(|table| (table, add_missing_key_sql(table, version)));
    let indexes = tables().flat_map(|table| {
        let statements = create_table_sql(table, version).into_iter();
        statements.skip(1).map(move |index| (table, index))
    });
    // A key keeps everybody else from its table; indexes let each other be.
    complete_all(pool, version, keys.collect()).await?;
    complete_all(pool, version, indexes.collect()).await
}

/// Executes the statements, some at a time. All of them are seen through to their end, also after one has
/// failed: the server would go on with them.
async fn complete_all(
    pool: &Pool,
    version: u32,
    statements: Vec<(&'static Table, String)>,
) -> Result<(), ReadModelError> {
    let made: Vec<Result<(), ReadModelError>> = stream::iter(statements)
        .map(|(table, statement)| complete_one(pool, table, version, statement))
        .buffer_unordered(COMPLETED_AT_ONCE)
        .collect()
        .await;
    made.into_iter().collect()
}

async fn complete_one(
    pool: &Pool,
    table: &'static Table,
    version: u32,
    statement: String,
) -> Result<(), ReadModelError> {
    let name = table.physical_name(version);
    let mut pooled = pool.get().await?;
    let client: &mut Client = &mut pooled;
    let transaction = client.transaction().await?;
    transaction.batch_execute(MAY_TAKE_LONG).await?;
    // Nobody else changes the table, and whoever makes the same has made it by then.
    let locks = "SELECT pg_advisory_xact_lock_shared($1, hashtext($2)), \
                 pg_advisory_xact_lock($1, hashtext($3))";
    transaction
        .execute(locks, &[&MIGRATION_LOCK, &name, &statement])
        .await?;
    if !missing(&transaction, vec![name.clone()]).await?.is_empty() {
        return Err(ReadModelError::Gone { tables: name });
    }
    transaction.batch_execute(&statement).await?;
    hold(&transaction, &[table], version).await?;
    transaction.commit().await?;
    Ok(())
}

/// Ends what anybody makes of keys and indexes of a version, also where the process is dead that asked
/// for them: the server would go on. Who reads or writes rows is left alone, and so is who drops tables.
pub(crate) async fn interrupt(
    client: &impl GenericClient,
    projection: &Projection,
    version: u32,
) -> Result<(), ReadModelError> {
    let tables = projection.tables.iter();
    let tables: Vec<String> = tables.map(|table| table.physical_name(version)).collect();
    let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid IN \
               (SELECT pid FROM pg_locks WHERE locktype = 'relation' \
               AND mode IN ('ShareLock', 'AccessExclusiveLock') \
               AND relation IN (SELECT to_regclass(name)::oid FROM unnest($1) AS name)) \
               AND datname = current_database() AND pid <> pg_backend_pid() \
               AND query NOT LIKE 'DROP TABLE%'";
    client
        .query_typed(sql, &[(&tables, Type::TEXT_ARRAY)])
        .await?;
    Ok(())
}

/// How much of a table is made.
#[derive(Clone, Copy)]
enum Extent {
    Whole,
    Keyed,
    Bare,
}

/// Keeps others from changing a table, for as long as the transaction lasts.
async fn lock(transaction: &Transaction<'_>, table: &str) -> Result<(), ReadModelError> {
    transaction.batch_execute(MAY_TAKE_LONG).await?;
    let statement = "SELECT pg_advisory_xact_lock($1, hashtext($2))";
    transaction
        .execute(statement, &[&MIGRATION_LOCK, &table])
        .await?;
    Ok(())
}

async fn make_all(
    client: &mut Client,
    projections: &[(&'static Projection, u32)],
    extent: Extent,
) -> Result<(), ReadModelError> {
    make_control_tables(client).await?;
    hold(&*client, &CONTROL_TABLES, CONTROL_VERSION).await?;
    for (projection, version) in projections {
        let extent = match extent {
            Extent::Bare if projection.streams.len() > 1 => Extent::Keyed,
            extent => extent,
        };
        refuse_gone(&*client, projection, *version).await?;
        // To ask for an index that is there already still waits for everybody who writes.
        if matches!(extent, Extent::Whole) && is_whole(&*client, projection, *version).await? {
            hold(&*client, projection.tables, *version).await?;
            continue;
        }
        for table in projection.tables {
            let transaction = client.transaction().await?;
            lock(&transaction, &table.physical_name(*version)).await?;
            make(&transaction, table, *version, extent).await?;
            transaction.commit().await?;
        }
    }
    Ok(())
}

/// A table that is not there although the version's positions say that it was written to has been
/// lost; made anew it would be empty, and nobody would know.
///
/// # Errors
/// [`ReadModelError::Gone`], or what the store said.
pub async fn refuse_gone(
    client: &impl GenericClient,
    projection: &Projection,
    version: u32,
) -> Result<(), ReadModelError> {
    let tables = projection.tables.iter();
    let tables: Vec<String> = tables.map(|table| table.physical_name(version)).collect();
    // Positions as they were when the statement began: tables come before them.
    let sql = format!(
        "SELECT name FROM unnest($1) AS name WHERE to_regclass(name) IS NULL AND EXISTS \
         (SELECT FROM {} WHERE projection = $2 AND projection_version = $3 AND next_offset > 0)",
        POSITIONS.physical_name(CONTROL_VERSION)
    );
    let gone = client
        .query_typed(
            &sql,
            &[
                (&tables, Type::TEXT_ARRAY),
                (&projection.name, Type::TEXT),
                (&i64::from(version), Type::INT8),
            ],
        )
        .await?;
    let gone: Vec<String> = gone
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    match gone.is_empty() {
        true => Ok(()),
        false => Err(ReadModelError::Gone {
            tables: gone.join(", "),
        }),
    }
}

async fn make(
    transaction: &Transaction<'_>,
    table: &'static Table,
    version: u32,
    extent: Extent,
) -> Result<(), ReadModelError> {
    let mut statements = create_table_sql(table, version);
    match extent {
        Extent::Bare => statements = vec![create_bare_table_sql(table, version)],
        Extent::Keyed => statements.truncate(1),
        // One that was begun bare has no key yet.
        Extent::Whole => statements.insert(1, add_missing_key_sql(table, version)),
    }
    // All at once: every worker does this when it begins.
    transaction.batch_execute(&statements.join(";\n")).await?;
    hold(transaction, &[table], version).await
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

/// Holds tables that are there against their declaration.
async fn hold(
    client: &impl GenericClient,
    tables: &[&'static Table],
    version: u32,
) -> Result<(), ReadModelError> {
    let names = tables.iter().map(|table| table.physical_name(version));
    let names: Vec<String> = names.collect();
    let rows = client
        .query_typed(
            "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL) \
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1) \
             AND a.attnum > 0 AND NOT a.attisdropped",
            &[(&names, Type::TEXT_ARRAY)],
        )
        .await?;
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in rows {
        let columns = found.entry(row.try_get(0)?).or_default();
        columns.insert(row.try_get(1)?, row.try_get(2)?);
    }
    for (table, name) in tables.iter().zip(names) {
        let declared: BTreeMap<String, String> = table
            .columns()
            .map(|column| (column.name.to_owned(), sql_type(column.kind).to_owned()))
            .collect();
        let found = found.remove(&name).unwrap_or_default();
        if found != declared {
            return Err(ReadModelError::Drift {
                table: name,
                problem: format!("has columns {found:?}, not {declared:?}"),
            });
        }
    }
    Ok(())
}
