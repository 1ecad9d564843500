//! The control tables of either store: versions, readers, builds.
//!
//! Few rows, rarely written, read by whoever has to know which version is current. Both stores are
//! behind one type, so that their users need not care which one a projection lives in.

use std::sync::Arc;

use cartwright_events::Timestamp;
use deadpool_postgres::Pool;
use scylla::client::session::Session;
use serde::Serialize;

use crate::error::ReadModelError;
use crate::parking::SkippedRow;
use crate::position::{Position, PositionKey};
use crate::row::{FromCell, Row};
use crate::schema::{Projection, Table};
use crate::tables::{
    CONTROL_VERSION, POSITIONS, READERS, SKIPPED, VERSIONS, tables_about_versions,
};
use crate::value::Value;
use crate::versions::Versions;
use crate::{cassandra, postgres};

/// One store's control tables. Cheap to clone.
#[derive(Clone)]
pub enum Control {
    /// In PostgreSQL.
    Postgres(Pool),
    /// In Cassandra, in a keyspace.
    Cassandra(Arc<Session>, Arc<str>),
}

/// What a reader says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reader {
    /// A name of its own, made at its start.
    pub instance: String,
    /// The revision of the versions that it has seen.
    pub revision: u64,
    /// The version that it answers from.
    pub serves: u32,
    /// How long it goes on answering without seeing the versions, in milliseconds.
    pub pointer_max_age_ms: u64,
    /// When it said so, by its clock.
    pub seen_at: Timestamp,
}

impl Control {
    /// The versions of a projection; `None` before the first projector.
    ///
    /// # Errors
    /// What the store said.
    pub async fn versions(&self, projection: &str) -> Result<Option<Versions>, ReadModelError> {
        let rows = self.rows(&VERSIONS, &[projection.into()]).await?;
        rows.first().map(document).transpose()
    }

    /// The versions of every projection in this store, by name.
    ///
    /// # Errors
    /// What the store said.
    pub async fn all_versions(&self) -> Result<Vec<(String, Versions)>, ReadModelError> {
        let rows = self.rows(&VERSIONS, &[]).await?;
        rows.iter()
            .map(|row| {
                let name = String::from_cell(row.value("projection")).unwrap_or_default();
                Ok((name, document(row)?))
            })
            .collect()
    }

    /// Stores the next revision of a projection's versions. Answers whether it was taken: not when
    /// another one with its revision or a later one is there.
    ///
    /// # Errors
    /// What the store said.
    pub async fn store_versions(
        &self,
        projection: &str,
        versions: &Versions,
    ) -> Result<bool, ReadModelError> {
        let json = serde_json::to_value(versions).map_err(|_| ReadModelError::Type {
            table: VERSIONS.name,
            column: "document",
        })?;
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                postgres::put_versions(&**client, projection, versions.revision, &json).await
            }
            Control::Cassandra(session, keyspace) => {
                let revision = versions.revision;
                cassandra::put_versions(session, keyspace, projection, revision, json).await
            }
        }
    }

    /// Who reads a projection, as far as they said so.
    ///
    /// # Errors
    /// What the store said.
    pub async fn readers(&self, projection: &str) -> Result<Vec<Reader>, ReadModelError> {
        let rows = self.rows(&READERS, &[projection.into()]).await?;
        Ok(rows.iter().filter_map(Reader::from_row).collect())
    }

    /// Says what a reader answers from.
    ///
    /// # Errors
    /// What the store said.
    pub async fn say(&self, projection: &str, reader: &Reader) -> Result<(), ReadModelError> {
        let key = [projection.into(), reader.instance.as_str().into()];
        let cells = [
            ("revision", reader.revision.into()),
            ("serves", reader.serves.into()),
            ("pointer_max_age_ms", reader.pointer_max_age_ms.into()),
            ("seen_at", reader.seen_at.into()),
        ];
        self.put(&READERS, &key, &cells).await
    }

    /// Removes what a reader said of itself.
    ///
    /// # Errors
    /// What the store said.
    pub async fn forget_reader(
        &self,
        projection: &str,
        instance: &str,
    ) -> Result<(), ReadModelError> {
        let key = [projection.into(), instance.into()];
        self.delete(&READERS, &key).await
    }

    /// Every row of a control table whose key begins with `key`.
    ///
    /// # Errors
    /// What the store said.
    pub async fn rows(
        &self,
        table: &'static Table,
        key: &[Value],
    ) -> Result<Vec<Row>, ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                postgres::control_rows(&**client, table, key).await
            }
            Control::Cassandra(session, keyspace) => {
                cassandra::control_rows(session, keyspace, table, key).await
            }
        }
    }

    /// What is kept of one record of the partition `of`, if it was given up.
    ///
    /// # Errors
    /// What the store said.
    pub async fn skipped(
        &self,
        of: &PositionKey,
        key: &str,
        offset: u64,
    ) -> Result<Option<SkippedRow>, ReadModelError> {
        let rows = self.rows(&SKIPPED, &of.of_record(key, offset)).await?;
        Ok(rows.first().and_then(SkippedRow::from_row))
    }

    /// Writes a row of a control table; what was written before is overwritten.
    ///
    /// # Errors
    /// What the store said.
    pub async fn put(
        &self,
        table: &'static Table,
        key: &[Value],
        cells: &[(&'static str, Value)],
    ) -> Result<(), ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                postgres::put(&**client, table, key, cells).await
            }
            Control::Cassandra(session, keyspace) => {
                let now = Timestamp::now().as_micros();
                cassandra::put(session, keyspace, table, key, cells, now).await
            }
        }
    }

    /// Removes the rows of a control table whose key begins with `key`.
    ///
    /// # Errors
    /// What the store said.
    pub async fn delete(&self, table: &'static Table, key: &[Value]) -> Result<(), ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                postgres::delete_rows(&**client, table, key).await
            }
            Control::Cassandra(session, keyspace) => {
                cassandra::delete_rows(session, keyspace, table, key).await
            }
        }
    }

    /// The numbers of a projection's versions that have a position, known or not.
    ///
    /// # Errors
    /// What the store said.
    pub async fn positioned(&self, projection: &Projection) -> Result<Vec<u32>, ReadModelError> {
        let mut versions = Vec::new();
        self.scan(&POSITIONS, CONTROL_VERSION, &mut |row| {
            let name = String::from_cell(row.value("projection"));
            if name.as_deref() == Some(projection.name) {
                versions.extend(u32::from_cell(row.value("projection_version")));
            }
        })
        .await?;
        Ok(versions)
    }

    /// The tables of a version that are not there, by their names in the store.
    ///
    /// # Errors
    /// What the store said.
    pub async fn missing_tables(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<Vec<String>, ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                postgres::missing_tables(&**client, &[(projection, version)]).await
            }
            Control::Cassandra(session, keyspace) => {
                cassandra::missing_tables(session, keyspace, projection, version).await
            }
        }
    }

    /// Whether anything is there of a version that `declared` built: a table, or a row about it.
    ///
    /// # Errors
    /// What the store said.
    pub async fn has_traces(
        &self,
        declared: &'static Projection,
        version: u32,
    ) -> Result<bool, ReadModelError> {
        let missing = self.missing_tables(declared, version).await?;
        if missing.len() < declared.tables.len() {
            return Ok(true);
        }
        let key = [declared.name.into(), version.into()];
        for table in tables_about_versions() {
            if !self.rows(table, &key).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How far a version is, in every partition that it has begun.
    ///
    /// # Errors
    /// What the store said.
    pub async fn positions(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<Vec<(PositionKey, Position)>, ReadModelError> {
        let key = [projection.name.into(), version.into()];
        let rows = self.rows(&POSITIONS, &key).await?;
        let positions = rows.iter();
        Ok(positions
            .filter_map(|row| Position::keyed(row, projection, version))
            .collect())
    }

    /// Makes what is left out while a version is built, keys and indexes, for as long as that takes. Makes
    /// no table: one that is not there was removed meanwhile.
    ///
    /// # Errors
    /// [`ReadModelError::Gone`], or what the store said.
    pub async fn complete(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<(), ReadModelError> {
        match self {
            Control::Postgres(pool) => postgres::complete(pool, projection, version).await,
            // Its tables are whole from the beginning.
            Control::Cassandra(..) => {
                let gone = self.missing_tables(projection, version).await?;
                match gone.is_empty() {
                    true => Ok(()),
                    false => Err(ReadModelError::Gone {
                        tables: gone.join(", "),
                    }),
                }
            }
        }
    }

    /// Ends [`Control::complete`] of a version wherever it is under way.
    ///
    /// # Errors
    /// What the store said.
    pub async fn interrupt(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<(), ReadModelError> {
        match self {
            Control::Postgres(pool) => {
                let client = pool.get().await?;
                postgres::interrupt(&**client, projection, version).await
            }
            Control::Cassandra(..) => Ok(()),
        }
    }

    /// Removes every trace of a version: its tables, positions, parked records, what its build said.
    /// Its number must not be used again: in Cassandra a removed position would hide a new one.
    ///
    /// # Errors
    /// What the store said.
    pub async fn remove_version(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<(), ReadModelError> {
        for table in projection.tables {
            let name = table.physical_name(version);
            match self {
                Control::Postgres(pool) => {
                    let client = pool.get().await?;
                    let sql = format!("DROP TABLE IF EXISTS {name}");
                    client.batch_execute(&sql).await?;
                }
                Control::Cassandra(session, keyspace) => {
                    let cql = format!("DROP TABLE IF EXISTS {keyspace}.{name}");
                    cassandra::change(session, &cql).await?;
                }
            }
        }
        let key = [projection.name.into(), version.into()];
        for table in tables_about_versions() {
            self.delete(table, &key).await?;
        }
        Ok(())
    }
}

fn document(row: &Row) -> Result<Versions, ReadModelError> {
    let versions = match row.value("document") {
        Value::Json(json) => serde_json::from_value(json.clone()).ok(),
        _ => None,
    };
    versions.ok_or(ReadModelError::Type {
        table: VERSIONS.name,
        column: "document",
    })
}

impl Reader {
    fn from_row(row: &Row) -> Option<Self> {
        Some(Self {
            instance: FromCell::from_cell(row.value("instance"))?,
            revision: FromCell::from_cell(row.value("revision"))?,
            serves: FromCell::from_cell(row.value("serves"))?,
            pointer_max_age_ms: FromCell::from_cell(row.value("pointer_max_age_ms"))?,
            seen_at: FromCell::from_cell(row.value("seen_at"))?,
        })
    }
}
