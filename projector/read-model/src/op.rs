//! What a fold asks a sink to do.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use thiserror::Error;

use crate::schema::{ColumnType, Table};
use crate::value::Value;

/// An operation on one row. One event makes at most one per cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOp {
    /// Writes these cells; makes the row where there is none.
    Upsert {
        /// The table.
        table: &'static Table,
        /// The row's key, in the order of [`Table::key`].
        key: Vec<Value>,
        /// Column and value, without [`Value::Unset`]. Other cells stay as they are.
        cells: Vec<(&'static str, Value)>,
    },
    /// Removes the row.
    Delete {
        /// The table.
        table: &'static Table,
        /// The row's key, in the order of [`Table::key`].
        key: Vec<Value>,
    },
}

/// An operation does not fit its table: a mistake in a fold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidOp {
    /// The key has another number of columns.
    #[error("{table}: the key has {actual} columns, not {expected}")]
    KeyLength {
        /// The table's name.
        table: &'static str,
        /// Given.
        actual: usize,
        /// Declared.
        expected: usize,
    },
    /// No such cell.
    #[error("{table} has no cell {column}")]
    UnknownCell {
        /// The table's name.
        table: &'static str,
        /// The cell's name.
        column: &'static str,
    },
    /// The value is not of the column's type, or a key column is unset.
    #[error("{table}.{column} does not take such a value")]
    Type {
        /// The table's name.
        table: &'static str,
        /// The column's name.
        column: &'static str,
    },
    /// A cell is written twice.
    #[error("{table}.{column} is written twice")]
    Twice {
        /// The table's name.
        table: &'static str,
        /// The column's name.
        column: &'static str,
    },
}

impl RowOp {
    /// An upsert; cells that are [`Value::Unset`] are left out.
    #[must_use]
    pub fn upsert<const K: usize, const C: usize>(
        table: &'static Table,
        key: [Value; K],
        cells: [(&'static str, Value); C],
    ) -> Self {
        let mut cells = Vec::from(cells);
        cells.retain(|(_, value)| *value != Value::Unset);
        RowOp::Upsert {
            table,
            key: Vec::from(key),
            cells,
        }
    }

    /// A delete.
    #[must_use]
    pub fn delete<const K: usize>(table: &'static Table, key: [Value; K]) -> Self {
        RowOp::Delete {
            table,
            key: Vec::from(key),
        }
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &'static Table {
        match self {
            RowOp::Upsert { table, .. } | RowOp::Delete { table, .. } => table,
        }
    }

    /// The row's key.
    #[must_use]
    pub fn key(&self) -> &[Value] {
        match self {
            RowOp::Upsert { key, .. } | RowOp::Delete { key, .. } => key,
        }
    }

    /// Holds the operation against its table's declaration.
    ///
    /// # Errors
    /// [`InvalidOp`] names the first thing that does not fit.
    pub fn check(&self) -> Result<(), InvalidOp> {
        let table = self.table();
        if self.key().len() != table.key_len() {
            return Err(InvalidOp::KeyLength {
                table: table.name,
                actual: self.key().len(),
                expected: table.key_len(),
            });
        }
        for (column, value) in table.key().zip(self.key()) {
            check_type(table, column.name, column.kind, value)?;
        }
        let RowOp::Upsert { cells, .. } = self else {
            return Ok(());
        };
        for (index, (name, value)) in cells.iter().enumerate() {
            let column = table.cell(name).ok_or(InvalidOp::UnknownCell {
                table: table.name,
                column: name,
            })?;
            check_type(table, column.name, column.kind, value)?;
            if cells[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(InvalidOp::Twice {
                    table: table.name,
                    column: column.name,
                });
            }
        }
        Ok(())
    }
}

fn check_type(
    table: &Table,
    column: &'static str,
    kind: ColumnType,
    value: &Value,
) -> Result<(), InvalidOp> {
    let fits = matches!(
        (kind, value),
        (ColumnType::Text, Value::Text(_))
            | (ColumnType::Int, Value::Int(_))
            | (ColumnType::Bool, Value::Bool(_))
            | (ColumnType::Time, Value::Time(_))
            | (ColumnType::Json, Value::Json(_))
    );
    if fits {
        return Ok(());
    }
    Err(InvalidOp::Type {
        table: table.name,
        column,
    })
}

/// For snapshots and tools: `{"upsert": "orders", "key": {…}, "cells": {…}}`.
impl Serialize for RowOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key: serde_json::Map<_, _> = self
            .table()
            .key()
            .zip(self.key())
            .map(|(column, value)| (column.name.to_owned(), serde_json::json!(value)))
            .collect();
        let mut map = serializer.serialize_map(None)?;
        match self {
            RowOp::Upsert { table, cells, .. } => {
                map.serialize_entry("upsert", table.name)?;
                map.serialize_entry("key", &key)?;
                let cells: serde_json::Map<_, _> = cells
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), serde_json::json!(value)))
                    .collect();
                map.serialize_entry("cells", &cells)?;
            }
            RowOp::Delete { table, .. } => {
                map.serialize_entry("delete", table.name)?;
                map.serialize_entry("key", &key)?;
            }
        }
        map.end()
    }
}
