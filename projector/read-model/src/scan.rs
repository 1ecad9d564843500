//! Whole tables and chosen rows of either store: for comparing versions, not for serving.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::control::Control;
use crate::error::ReadModelError;
use crate::row::Row;
use crate::schema::Table;
use crate::value::Value;
use crate::{cassandra, postgres};

/// Rows asked for in one statement, or statements in flight.
const AT_ONCE: usize = 200;

impl Control {
    /// Gives every row of a version's table to `visit`, in no particular order, without holding the
    /// table in memory.
    ///
    /// # Errors
    /// What the store said.
    pub async fn scan(
        &self,
        table: &'static Table,
        version: u32,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> Result<(), ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let mut client = pool.get().await?;
                postgres::scan(&mut client, table, version, visit).await
            }
            Control::Cassandra(session, keyspace) => {
                cassandra::scan(session, keyspace, table, version, visit).await
            }
        }
    }

    /// The rows of a version's table and the bytes that they take, as the store says it: with keys and
    /// indexes in PostgreSQL, and without what Cassandra adds, whose rows are read for it.
    ///
    /// # Errors
    /// What the store said.
    pub async fn size(
        &self,
        table: &'static Table,
        version: u32,
    ) -> Result<(u64, u64), ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let mut client = pool.get().await?;
                postgres::size(&mut client, table, version).await
            }
            Control::Cassandra(..) => {
                let (mut rows, mut bytes) = (0, 0);
                self.scan(table, version, &mut |row| {
                    rows += 1;
                    bytes += serde_json::to_vec(&row.values).map_or(0, |json| json.len() as u64);
                })
                .await?;
                Ok((rows, bytes))
            }
        }
    }

    /// Whether a version's table holds no row.
    ///
    /// # Errors
    /// What the store said.
    pub async fn is_empty(
        &self,
        table: &'static Table,
        version: u32,
    ) -> Result<bool, ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                postgres::is_empty(&**client, table, version).await
            }
            Control::Cassandra(session, keyspace) => {
                cassandra::is_empty(session, keyspace, table, version).await
            }
        }
    }

    /// The rows with these keys that there are.
    ///
    /// # Errors
    /// What the store said.
    pub async fn get(
        &self,
        table: &'static Table,
        version: u32,
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>, ReadModelError> {
        let mut rows = Vec::new();
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                for keys in keys.chunks(AT_ONCE) {
                    rows.extend(postgres::get(&**client, table, version, keys).await?);
                }
            }
            Control::Cassandra(session, keyspace) => {
                let reader = cassandra::by_whole_key(session, keyspace, table, version).await?;
                let found: Vec<Vec<Row>> = stream::iter(keys)
                    .map(|key| reader.rows(session, key))
                    .buffer_unordered(AT_ONCE)
                    .try_collect()
                    .await?;
                rows.extend(found.into_iter().flatten());
            }
        }
        Ok(rows)
    }
}
