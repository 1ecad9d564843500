//! How projections, tables and columns are declared.

use cartwright_events::Stream;
use serde::{Deserialize, Serialize};

use crate::ddl::{create_table_cql, create_table_sql};

/// The cell that every row has besides its own: the seq of the event that last wrote to it.
pub const ROW_SEQ: Column = Column::int("row_seq");

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Text,
    /// A 64-bit integer.
    Int,
    /// Yes or no.
    Bool,
    /// A moment to the microsecond. `timestamptz` in PostgreSQL; in Cassandra, whose own type keeps
    /// milliseconds only, a `bigint` of microseconds since 1970.
    Time,
    /// Structured data: `jsonb` in PostgreSQL, `text` in Cassandra.
    Json,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, the same in every store.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnType,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnType::Text,
        }
    }

    /// A column of 64-bit integers.
    #[must_use]
    pub const fn int(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnType::Int,
        }
    }

    /// A column of flags.
    #[must_use]
    pub const fn flag(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnType::Bool,
        }
    }

    /// A column of moments.
    #[must_use]
    pub const fn time(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnType::Time,
        }
    }

    /// A column of structured data.
    #[must_use]
    pub const fn json(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnType::Json,
        }
    }
}

/// Which way a clustering column is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// An index of a PostgreSQL table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// What is appended to the table's name for the index's name.
    pub suffix: &'static str,
    /// What follows `ON <table>`, for example `USING btree (currency)`.
    pub definition: &'static str,
}

/// A table. Its key is the partition columns and then the clustering columns, in this order.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name without the version.
    pub name: &'static str,
    /// The partition key in Cassandra, the first part of the primary key in PostgreSQL.
    pub partition: &'static [Column],
    /// The rest of the key.
    pub clustering: &'static [(Column, Order)],
    /// Every other column, [`ROW_SEQ`] excepted.
    pub cells: &'static [Column],
    /// Indexes, in PostgreSQL.
    pub indexes: &'static [Index],
}

impl Table {
    /// The name in the store, with the projection's version.
    #[must_use]
    pub fn physical_name(&self, version: u32) -> String {
        format!("{}_v{version}", self.name)
    }

    /// The key's columns, in order.
    pub fn key(&self) -> impl Iterator<Item = Column> + '_ {
        let clustering = self.clustering.iter().map(|(column, _)| *column);
        self.partition.iter().copied().chain(clustering)
    }

    /// Number of columns in the key.
    #[must_use]
    pub const fn key_len(&self) -> usize {
        self.partition.len() + self.clustering.len()
    }

    /// Every column: the key, the cells, [`ROW_SEQ`].
    pub fn columns(&self) -> impl Iterator<Item = Column> + '_ {
        self.key()
            .chain(self.cells.iter().copied())
            .chain([ROW_SEQ])
    }

    /// The cell column called `name`; not for key columns.
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<Column> {
        self.cells.iter().copied().find(|cell| cell.name == name)
    }
}

/// Where a projection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Store {
    /// ScyllaDB, or Cassandra in its place: views by key.
    Cassandra,
    /// PostgreSQL: search, lists, facts.
    Postgres,
}

impl Store {
    /// Every store.
    pub const ALL: [Store; 2] = [Store::Cassandra, Store::Postgres];

    /// The store's name in logs, metrics and health.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Store::Cassandra => "cassandra",
            Store::Postgres => "postgres",
        }
    }
}

/// One version of a projection as this code declares it: the streams it folds and the tables it
/// fills.
#[derive(Debug, PartialEq, Eq)]
pub struct Projection {
    /// Its name in consumer groups, positions, metrics and configuration.
    pub name: &'static str,
    /// The version, from 1. A fold or tables that change in a way that rows written before would
    /// not show are a new version, declared beside the one that is still in use.
    pub version: u32,
    /// Tells one fold from another. Raised together with `version` when the fold changes; a fold
    /// that was changed under a version that has rows already is refused.
    pub fold_version: u32,
    /// Where its tables are.
    pub store: Store,
    /// The streams it folds. Rows of different streams share no cell.
    pub streams: &'static [Stream],
    /// What it fills.
    pub tables: &'static [&'static Table],
    /// Columns, as table and column, that are meant to hold other values than in the version
    /// before. They are judged against a fold of the log instead.
    pub differs: &'static [(&'static str, &'static str)],
}

/// What makes the rows of a version what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// [`Projection::fold_version`].
    pub fold_version: u32,
    /// A digest of streams, tables, columns, keys and indexes.
    pub tables: String,
}

impl Projection {
    /// Its table called `name`.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&'static Table> {
        let mut tables = self.tables.iter().copied();
        tables.find(|table| table.name == name)
    }

    /// What the rows of this version are made by and look like.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let mut text = String::new();
        for stream in self.streams {
            text.push_str(stream.topic());
            text.push('\n');
        }
        for table in self.tables {
            text.push_str(&create_table_cql("k", table, 0));
            text.push('\n');
            text.push_str(&create_table_sql(table, 0).join("\n"));
            text.push('\n');
        }
        Identity {
            fold_version: self.fold_version,
            tables: format!("{:016x}", fnv64(text.as_bytes())),
        }
    }
}

/// FNV-1a: the same everywhere and in every release, and meant against mistakes only.
#[must_use]
pub fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv64;

    #[test]
    fn a_digest_is_fnv_1a() {
        assert_eq!(fnv64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv64(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
