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
pub(super) const MOST_IN_A_BATCH: usize = 50;

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
    use cartwright_read_model::tables::CART_LINES;

    use super::*;

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
}
