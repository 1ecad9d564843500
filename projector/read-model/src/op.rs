//! What a fold asks a sink to do.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use thiserror::Error;

use crate::schema::{ColumnType, Table};
use crate::value::Value;

/// The longest text in a key, in bytes: what an index entry of PostgreSQL holds several of.
pub const MAX_KEY_BYTES: usize = 512;
/// The longest text outside of a key, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

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
    /// No store takes such a value: a key that is empty or longer than [`MAX_KEY_BYTES`], a text
    /// longer than [`MAX_TEXT_BYTES`], a NUL character.
    #[error("{table}.{column}: {problem}")]
    Unstorable {
        /// The table's name.
        table: &'static str,
        /// The column's name.
        column: &'static str,
        /// What is wrong with it.
        problem: &'static str,
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
    pub fn upsert(
        table: &'static Table,
        key: impl Into<Vec<Value>>,
        cells: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        // A vector stays where it is.
        let mut cells: Vec<_> = cells.into_iter().collect();
        cells.retain(|(_, value)| *value != Value::Unset);
        RowOp::Upsert {
            table,
            key: key.into(),
            cells,
        }
    }

    /// A delete.
    #[must_use]
    pub fn delete(table: &'static Table, key: impl Into<Vec<Value>>) -> Self {
        RowOp::Delete {
            table,
            key: key.into(),
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
            if let Value::Text(text) = value
                && !(1..=MAX_KEY_BYTES).contains(&text.len())
            {
                return Err(InvalidOp::Unstorable {
                    table: table.name,
                    column: column.name,
                    problem: "a key is empty or too long",
                });
            }
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
    if !fits {
        return Err(InvalidOp::Type {
            table: table.name,
            column,
        });
    }
    let problem = match value {
        Value::Text(text) if text.len() > MAX_TEXT_BYTES => "a text is too long",
        Value::Text(text) if text.contains('\0') => "a text holds a NUL character",
        Value::Json(json) if holds_nul(json) => "a text holds a NUL character",
        _ => return Ok(()),
    };
    Err(InvalidOp::Unstorable {
        table: table.name,
        column,
        problem,
    })
}

/// PostgreSQL takes NUL neither in text nor in `jsonb`.
fn holds_nul(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(holds_nul),
        serde_json::Value::Object(fields) => fields.values().any(holds_nul),
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{CART_LINES, PRODUCTS};

    fn product(sku: &str, cells: Vec<(&'static str, Value)>) -> Result<(), InvalidOp> {
        RowOp::upsert(&PRODUCTS, [sku.into()], cells).check()
    }

    #[test]
    fn an_operation_that_fits_its_table_is_taken() {
        let cells = vec![("name", "Cup".into()), ("price_minor", Value::Int(250))];
        assert_eq!(product("cup", cells), Ok(()));
        let delete = RowOp::delete(&CART_LINES, ["c1".into(), Value::Int(1)]);
        assert_eq!(delete.check(), Ok(()));
    }

    #[test]
    fn unset_cells_are_left_out() {
        let cells = [("name", Value::Unset), ("retired", true.into())];
        let RowOp::Upsert { cells, .. } = RowOp::upsert(&PRODUCTS, ["cup".into()], cells) else {
            panic!("an upsert");
        };
        assert_eq!(cells, [("retired", Value::Bool(true))]);
    }

    #[test]
    fn what_does_not_fit_the_table_is_named() {
        let short = RowOp::delete(&CART_LINES, ["c1".into()]).check();
        assert!(matches!(short, Err(InvalidOp::KeyLength { .. })));
        let unknown = product("cup", vec![("colour", "red".into())]);
        assert!(matches!(unknown, Err(InvalidOp::UnknownCell { .. })));
        let number = product("cup", vec![("name", Value::Int(1))]);
        assert!(matches!(number, Err(InvalidOp::Type { .. })));
        let twice = product("cup", vec![("name", "a".into()), ("name", "b".into())]);
        assert!(matches!(twice, Err(InvalidOp::Twice { .. })));
    }

    #[test]
    fn what_no_store_takes_is_refused() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let refused = [
            product("", vec![]),
            product(&"x".repeat(MAX_KEY_BYTES + 1), vec![]),
            product("cup", vec![("name", "a\0b".into())]),
            product("cup", vec![("name", long.into())]),
        ];
        for result in refused {
            assert!(
                matches!(result, Err(InvalidOp::Unstorable { .. })),
                "{result:?}"
            );
        }
    }
}
