//! Prepared writes: one INSERT and one DELETE per table.

use std::borrow::Cow;
use std::collections::HashMap;

use cartwright_read_model::tables::{CONTROL_TABLES, CONTROL_VERSION, PARKED};
use cartwright_read_model::{CellTime, Column, PositionKey, Projection, Table, Value};
use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::{from_execution, from_prepare};
use crate::merge::{MergedRow, MergedWrite};
use crate::sink::SinkError;

/// Statements in one unlogged batch; they are of one partition, so one replica set takes them as
/// one mutation.
const MOST_IN_A_BATCH: usize = 50;
/// Bytes of text and structured data in them, about. A mutation that is larger than the store takes
/// (half a segment of its commit log) would be refused each time that it is tried again.
const MOST_BYTES_IN_A_BATCH: usize = 256 * 1024;

pub(super) struct Statements {
    of_tables: HashMap<&'static str, TableStatements>,
    /// Removes the pointers of a partition of the log that were written before a time.
    forget_parked: PreparedStatement,
}

struct TableStatements {
    insert: PreparedStatement,
    delete: PreparedStatement,
}

/// One row's write.
pub(super) struct Write<'a> {
    table: &'static Table,
    deletes: bool,
    /// In the order of the statement's markers.
    values: Vec<Cow<'a, Value>>,
}

impl<'a> Write<'a> {
    /// Removes the row. The statement takes the time first.
    pub(super) fn delete(row: &MergedRow<'a>, time: CellTime) -> Self {
        let time = Cow::Owned(Value::Int(time.as_micros()));
        let key = row.key.iter().map(Cow::Borrowed);
        Self {
            table: row.table,
            deletes: true,
            values: [time].into_iter().chain(key).collect(),
        }
    }

    /// Writes the row's key, its cells (unset where nothing is said) and `row_seq`, then the time.
    pub(super) fn upsert(row: &MergedRow<'a>, write: &MergedWrite<'a>, time: CellTime) -> Self {
        let cells = write.cells.iter().map(|cell| match cell {
            Some(value) => Cow::Borrowed(*value),
            None => Cow::Owned(Value::Unset),
        });
        let last = [write.seq.into(), Value::Int(time.as_micros())];
        Self {
            table: row.table,
            deletes: false,
            values: row
                .key
                .iter()
                .map(Cow::Borrowed)
                .chain(cells)
                .chain(last.map(Cow::Owned))
                .collect(),
        }
    }

    fn values(&self) -> Vec<&Value> {
        self.values.iter().map(AsRef::as_ref).collect()
    }

    /// About.
    fn bytes(&self) -> usize {
        let bytes = |value: &Cow<'_, Value>| match value.as_ref() {
            Value::Text(text) => text.len(),
            Value::Json(json) => json_bytes(json),
            Value::Unset | Value::Int(_) | Value::Bool(_) | Value::Time(_) => 8,
        };
        self.values.iter().map(bytes).sum()
    }
}

/// Bytes of the text that it is written as, about.
fn json_bytes(json: &serde_json::Value) -> usize {
    use serde_json::Value as Json;
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
        Json::String(text) => text.len() + 2,
        Json::Array(items) => items.iter().map(|item| json_bytes(item) + 1).sum(),
        Json::Object(fields) => fields
            .iter()
            .map(|(name, field)| name.len() + json_bytes(field) + 4)
            .sum(),
    }
}

/// `writes`, which are of one partition, in the pieces that are batches. A write that is too large by
/// itself is a piece.
pub(super) fn pieces<'w, 'a>(writes: &'w [Write<'a>]) -> impl Iterator<Item = &'w [Write<'a>]> {
    let mut rest = writes;
    std::iter::from_fn(move || {
        let count = match rest.len() {
            0 => return None,
            1 => 1,
            _ => fitting(rest).max(1),
        };
        let (piece, left) = rest.split_at(count);
        rest = left;
        Some(piece)
    })
}

/// How many of the first of `writes` a batch holds.
fn fitting(writes: &[Write<'_>]) -> usize {
    let mut bytes = 0;
    let first = writes.iter().take(MOST_IN_A_BATCH);
    let fit = first.take_while(|write| {
        bytes += write.bytes();
        bytes <= MOST_BYTES_IN_A_BATCH
    });
    fit.count()
}

impl Statements {
    pub(super) async fn prepare(
        session: &Session,
        keyspace: &str,
        projection: &'static Projection,
        version: u32,
    ) -> Result<Self, SinkError> {
        let control = CONTROL_TABLES.map(|table| (table, CONTROL_VERSION));
        let own = projection.tables.iter().map(|table| (*table, version));
        let mut statements = HashMap::new();
        for (table, version) in own.chain(control) {
            let name = format!("{keyspace}.{}", table.physical_name(version));
            let prepared = TableStatements {
                insert: prepare_one(session, insert_cql(table, &name)).await?,
                delete: prepare_one(session, delete_cql(table.key(), &name)).await?,
            };
            statements.insert(table.name, prepared);
        }
        let parked = format!("{keyspace}.{}", PARKED.physical_name(CONTROL_VERSION));
        let of_partition = PARKED.key().take(PositionKey::COLUMNS);
        Ok(Self {
            of_tables: statements,
            forget_parked: prepare_one(session, delete_cql(of_partition, &parked)).await?,
        })
    }

    /// Removes what was parked of a partition before `time`.
    pub(super) async fn forget_parked(
        &self,
        session: &Session,
        of: &PositionKey,
        time: CellTime,
    ) -> Result<(), SinkError> {
        let time = [Value::Int(time.as_micros())];
        let values: Vec<Value> = time.into_iter().chain(of.values()).collect();
        let result = session.execute_unpaged(&self.forget_parked, values).await;
        result.map(drop).map_err(from_execution)
    }

    /// Writes `writes`, which are of one partition of one table.
    pub(super) async fn write(
        &self,
        session: &Session,
        writes: &[Write<'_>],
    ) -> Result<(), SinkError> {
        if let [write] = writes {
            let statement = self.statement(write)?;
            let result = session.execute_unpaged(statement, write.values()).await;
            return result.map(drop).map_err(from_execution);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        for write in writes {
            batch.append_statement(self.statement(write)?.clone());
        }
        let values: Vec<Vec<&Value>> = writes.iter().map(Write::values).collect();
        let result = session.batch(&batch, values).await;
        result.map(drop).map_err(from_execution)
    }

    fn statement(&self, write: &Write<'_>) -> Result<&PreparedStatement, SinkError> {
        let name = write.table.name;
        let foreign = || SinkError::fatal(format!("{name} is not a table of this projection"));
        let of_table = self.of_tables.get(name).ok_or_else(foreign)?;
        Ok(match write.deletes {
            true => &of_table.delete,
            false => &of_table.insert,
        })
    }
}

async fn prepare_one(session: &Session, cql: String) -> Result<PreparedStatement, SinkError> {
    let mut statement = session.prepare(cql).await.map_err(from_prepare)?;
    statement.set_is_idempotent(true);
    Ok(statement)
}

/// INSERT rather than UPDATE: it makes the row also where no cell is written.
fn insert_cql(table: &Table, name: &str) -> String {
    let columns: Vec<&str> = table.columns().map(|column| column.name).collect();
    let markers = vec!["?"; columns.len()];
    format!(
        "INSERT INTO {name} ({}) VALUES ({}) USING TIMESTAMP ?",
        columns.join(", "),
        markers.join(", "),
    )
}

/// Deletes the rows of which the key, or its beginning, is given.
fn delete_cql(key: impl Iterator<Item = Column>, name: &str) -> String {
    let key: Vec<String> = key.map(|column| format!("{} = ?", column.name)).collect();
    format!(
        "DELETE FROM {name} USING TIMESTAMP ? WHERE {}",
        key.join(" AND ")
    )
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::RowOp;
    use cartwright_read_model::tables::{CART_LINES, ORDER_RETURNS};
    use serde_json::json;

    use super::*;
    use crate::merge::merge;
    use crate::sink::SeqOp;

    #[test]
    fn every_write_says_its_time() {
        assert_eq!(
            insert_cql(&CART_LINES, "k.cart_lines_v1"),
            "INSERT INTO k.cart_lines_v1 (cart_id, line, sku, name, quantity, unit_price_minor, \
             price_source, line_total_minor, row_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
             USING TIMESTAMP ?"
        );
        assert_eq!(
            delete_cql(CART_LINES.key(), "k.cart_lines_v1"),
            "DELETE FROM k.cart_lines_v1 USING TIMESTAMP ? WHERE cart_id = ? AND line = ?"
        );
    }

    /// How many returns of one order are written together, by the bytes of their lines.
    fn together(lines_bytes: &[usize]) -> Vec<usize> {
        let ops = lines_bytes.iter().enumerate().map(|(number, bytes)| {
            let key = ["order".into(), format!("return-{number:04}").into()];
            let lines = json!([{ "sku": "x".repeat(*bytes) }]);
            let op = RowOp::upsert(&ORDER_RETURNS, key, [("lines", lines.into())]);
            SeqOp { seq: 7, op }
        });
        let ops: Vec<SeqOp> = ops.collect();
        let rows = merge(&ops).unwrap();
        let time = CellTime::write(1, 7).unwrap();
        let writes: Vec<Write<'_>> = rows
            .iter()
            .map(|row| Write::upsert(row, row.write.as_ref().unwrap(), time))
            .collect();
        let mut rest = writes.as_slice();
        for piece in pieces(&writes) {
            // In their order, and each of them once.
            assert!(std::ptr::eq(piece, &rest[..piece.len()]));
            rest = &rest[piece.len()..];
        }
        assert!(rest.is_empty());
        pieces(&writes).map(<[_]>::len).collect()
    }

    #[test]
    fn a_batch_is_bounded_by_statements_and_by_bytes() {
        assert_eq!(together(&[]), [0; 0]);
        assert_eq!(together(&[10; 120]), [50, 50, 20]);
        assert_eq!(together(&[84_000; 7]), [3, 3, 1]);
        let too_large = MOST_BYTES_IN_A_BATCH;
        assert_eq!(together(&[10, too_large, 10, 10]), [1, 1, 2]);
        assert_eq!(together(&[too_large, too_large]), [1, 1]);
    }
}
