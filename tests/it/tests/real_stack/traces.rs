//! What the stores hold, asked without the services.

use anyhow::{Context as _, ensure};
use cartwright_harness::{PATIENCE, TestStack};
use cartwright_local::READ_MODEL_NAME;
use cartwright_read_model::cassandra::{self, CassandraOptions};
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{PostgresOptions, pool};
use cartwright_read_model::tables::tables_about_versions;
use cartwright_read_model::{Store, projection};

/// A store, as the tools reach it.
pub(crate) async fn control(stack: &TestStack, store: Store) -> anyhow::Result<Control> {
    Ok(match store {
        Store::Postgres => {
            Control::Postgres(pool(&PostgresOptions::new(stack.stack.postgres_url()))?)
        }
        Store::Cassandra => {
            let node = stack.stack.cassandra_node();
            let mut options = CassandraOptions::new(vec![node], READ_MODEL_NAME);
            // Changes of the schema take their time.
            options.request_timeout = PATIENCE;
            let session = cassandra::connect(&options).await?;
            Control::Cassandra(session.into(), READ_MODEL_NAME.into())
        }
    })
}

/// No table of the version is there, and no row about it in any control table.
pub(crate) async fn nothing_is_left_of(
    stack: &TestStack,
    name: &str,
    version: u32,
) -> anyhow::Result<()> {
    let of = projection(name).context("a projection")?;
    let control = control(stack, of.store).await?;
    let missing = control.missing_tables(of, version).await?;
    for table in of.tables {
        let name = table.physical_name(version);
        ensure!(missing.contains(&name), "{name} is there");
    }
    for table in tables_about_versions() {
        let rows = control.rows(table, &[name.into(), version.into()]).await?;
        ensure!(rows.is_empty(), "{} has {rows:?}", table.name);
    }
    Ok(())
}
