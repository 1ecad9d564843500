//! Rows that are written for the first time, by COPY: for versions that nobody reads yet.

use std::collections::BTreeMap;
use std::error::Error;
use std::pin::pin;

use bytes::BytesMut;
use cartwright_read_model::postgres::{self, Micros};
use cartwright_read_model::{Column, ColumnType, ReadModelError, Table, Value};
use deadpool_postgres::{Pool, Transaction};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::merge::MergedRow;
use crate::sink::SinkError;
use crate::written::Written;

impl Written {
    /// Gives the tables of `rows`, which may be there, their keys. Without one nothing is found, and
    /// rows are copied in half the time.
    pub(super) async fn add_keys(
        &mut self,
        pool: &Pool,
        rows: &[MergedRow<'_>],
        version: u32,
    ) -> Result<(), SinkError> {
        for row in rows {
            if !self.keyed.contains(row.table.name) {
                let mut client = pool.get().await.map_err(ReadModelError::from)?;
                postgres::add_key(&mut client, row.table, version).await?;
                self.keyed.insert(row.table.name);
            }
        }
        Ok(())
    }
}

/// Copies `rows`, none of which is there.
pub(super) async fn copy_rows(
    transaction: &Transaction<'_>,
    rows: &[MergedRow<'_>],
    version: u32,
) -> Result<(), SinkError> {
    let mut by_table: BTreeMap<&str, Vec<&MergedRow<'_>>> = BTreeMap::new();
    for row in rows {
        by_table.entry(row.table.name).or_default().push(row);
    }
    for rows in by_table.into_values() {
        let Some(first) = rows.first() else { continue };
        let (sql, types) = copy_sql(first.table, version);
        let sink = transaction.copy_in(&sql).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for row in rows {
            let cells = cells(row);
            let values: Vec<&(dyn ToSql + Sync)> = as_sql(&cells);
            writer.as_mut().write(&values).await?;
        }
        writer.finish().await?;
    }
    Ok(())
}

/// The values of a row in the order of its table's columns.
fn cells<'a>(row: &MergedRow<'a>) -> Vec<Cell<'a>> {
    let Some(write) = &row.write else {
        return Vec::new();
    };
    let key = row.key.iter().map(|value| Cell::Value(Some(value)));
    let cells = write.cells.iter().map(|cell| Cell::Value(*cell));
    let seq = i64::try_from(write.seq).unwrap_or(i64::MAX);
    key.chain(cells).chain([Cell::Seq(seq)]).collect()
}

fn as_sql<'a>(cells: &'a [Cell<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    cells
        .iter()
        .map(|cell| cell as &(dyn ToSql + Sync))
        .collect()
}

fn copy_sql(table: &Table, version: u32) -> (String, Vec<Type>) {
    let columns: Vec<Column> = table.columns().collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let types = columns.iter().map(|column| match column.kind {
        ColumnType::Text => Type::TEXT,
        ColumnType::Int => Type::INT8,
        ColumnType::Bool => Type::BOOL,
        ColumnType::Time => Type::TIMESTAMPTZ,
        ColumnType::Json => Type::JSONB,
    });
    let name = table.physical_name(version);
    let sql = format!("COPY {name} ({}) FROM STDIN BINARY", names.join(", "));
    (sql, types.collect())
}

/// What is copied into a column.
#[derive(Debug)]
enum Cell<'a> {
    /// `None` was never written.
    Value(Option<&'a Value>),
    /// The row's seq.
    Seq(i64),
}

impl ToSql for Cell<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let value = match self {
            Cell::Seq(seq) => return seq.to_sql(kind, out),
            Cell::Value(value) => value,
        };
        match value {
            None | Some(Value::Unset) => Ok(IsNull::Yes),
            Some(Value::Text(text)) => text.to_sql(kind, out),
            Some(Value::Int(number)) => number.to_sql(kind, out),
            Some(Value::Bool(flag)) => flag.to_sql(kind, out),
            Some(Value::Time(time)) => Micros(*time).to_sql(kind, out),
            Some(Value::Json(json)) => json.to_sql(kind, out),
        }
    }

    /// Rows were held against their tables by the fold.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::CART_LINES;

    use super::*;

    #[test]
    fn a_copy_names_every_column() {
        let (sql, types) = copy_sql(&CART_LINES, 2);
        assert_eq!(
            sql,
            "COPY cart_lines_v2 (cart_id, line, sku, name, quantity, unit_price_minor, \
             price_source, line_total_minor, row_seq) FROM STDIN BINARY"
        );
        assert_eq!((types.len(), &types[1]), (9, &Type::INT8));
    }
}
