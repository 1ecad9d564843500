//! Rows in bulk: one statement per table and set of columns, with an array per column.

use std::collections::BTreeMap;

use cartwright_read_model::postgres::Micros;
use cartwright_read_model::{Column, ColumnType, ROW_SEQ, Table, Value};
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::merge::MergedRow;
use crate::sink::SinkError;

/// The position of a partition that nobody has begun.
pub(super) const FIRST_POSITION: &str = "INSERT INTO positions_v1 \
    (projection, projection_version, topic, log_partition, generation, next_offset, seq, \
     recorded_at, updated_at, row_seq) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $7) ON CONFLICT DO NOTHING RETURNING updated_at";

/// The position of a partition that was at `$10`, `$11` and, unless that is null, written at `$12`.
/// Its time grows with every write, whatever clocks say.
pub(super) const NEXT_POSITION: &str = "UPDATE positions_v1 SET generation = $5, \
    next_offset = $6, seq = $7, recorded_at = $8, row_seq = $7, \
    updated_at = greatest($9, updated_at + interval '1 microsecond') \
    WHERE projection = $1 AND projection_version = $2 AND topic = $3 AND log_partition = $4 \
    AND generation = $10 AND next_offset = $11 \
    AND ($12::timestamptz IS NULL OR updated_at = $12) RETURNING updated_at";

/// When a partition's position was last written.
pub(super) const WRITTEN_AT: &str = "SELECT updated_at FROM positions_v1 \
    WHERE projection = $1 AND projection_version = $2 AND topic = $3 AND log_partition = $4";

/// What was parked of a partition of the logs before a generation.
pub(super) const PARKED_BEFORE: &str = "DELETE FROM parked_records_v1 WHERE projection = $1 \
    AND projection_version = $2 AND topic = $3 AND log_partition = $4 AND generation < $5";

const fn array_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text => "text[]",
        ColumnType::Int => "bigint[]",
        ColumnType::Bool => "boolean[]",
        ColumnType::Time => "timestamptz[]",
        ColumnType::Json => "jsonb[]",
    }
}

/// The values of one column, a row each.
enum ColumnArray<'a> {
    Text(Vec<&'a str>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Time(Vec<Micros>),
    Json(Vec<&'a serde_json::Value>),
}

impl<'a> ColumnArray<'a> {
    fn new(kind: ColumnType, rows: usize) -> Self {
        match kind {
            ColumnType::Text => ColumnArray::Text(Vec::with_capacity(rows)),
            ColumnType::Int => ColumnArray::Int(Vec::with_capacity(rows)),
            ColumnType::Bool => ColumnArray::Bool(Vec::with_capacity(rows)),
            ColumnType::Time => ColumnArray::Time(Vec::with_capacity(rows)),
            ColumnType::Json => ColumnArray::Json(Vec::with_capacity(rows)),
        }
    }

    fn push(&mut self, value: &'a Value) -> Result<(), SinkError> {
        match (self, value) {
            (ColumnArray::Text(texts), Value::Text(text)) => texts.push(text),
            (ColumnArray::Int(numbers), Value::Int(number)) => numbers.push(*number),
            (ColumnArray::Bool(flags), Value::Bool(flag)) => flags.push(*flag),
            (ColumnArray::Time(times), Value::Time(time)) => times.push(Micros(*time)),
            (ColumnArray::Json(items), Value::Json(json)) => items.push(json),
            _ => return Err(SinkError::fatal("a value is not of its column's type")),
        }
        Ok(())
    }

    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            ColumnArray::Text(values) => values,
            ColumnArray::Int(values) => values,
            ColumnArray::Bool(values) => values,
            ColumnArray::Time(values) => values,
            ColumnArray::Json(values) => values,
        }
    }
}

/// Rows of one table that write the same cells, column by column.
struct Group<'a> {
    table: &'static Table,
    columns: Vec<Column>,
    arrays: Vec<ColumnArray<'a>>,
}

/// Writes every row that `rows` write, in as few statements as there are tables and sets of columns.
pub(super) async fn upsert_rows(
    transaction: &Transaction<'_>,
    rows: &[MergedRow<'_>],
    version: u32,
) -> Result<(), SinkError> {
    for group in groups(rows)?.into_values() {
        let statement = transaction
            .prepare_cached(&upsert_sql(group.table, &group.columns, version))
            .await?;
        let values: Vec<_> = group.arrays.iter().map(ColumnArray::as_sql).collect();
        transaction.execute(&statement, &values).await?;
    }
    Ok(())
}

/// By table and which of its cells are written.
fn groups<'a>(
    rows: &[MergedRow<'a>],
) -> Result<BTreeMap<(&'static str, Vec<bool>), Group<'a>>, SinkError> {
    let mut groups = BTreeMap::new();
    for row in rows {
        let Some(write) = &row.write else { continue };
        let table = row.table;
        let written: Vec<bool> = write.cells.iter().map(Option::is_some).collect();
        let group = groups.entry((table.name, written)).or_insert_with(|| {
            let cells = table.cells.iter().zip(&write.cells);
            let written = cells.filter(|(_, value)| value.is_some());
            let columns: Vec<Column> = table
                .key()
                .chain(written.map(|(column, _)| *column))
                .chain([ROW_SEQ])
                .collect();
            let array = |column: &Column| ColumnArray::new(column.kind, 16);
            Group {
                table,
                arrays: columns.iter().map(array).collect(),
                columns,
            }
        });
        let seq = i64::try_from(write.seq).map_err(SinkError::fatal)?;
        let (row_seq, arrays) = group
            .arrays
            .split_last_mut()
            .ok_or_else(|| SinkError::fatal("a table without columns"))?;
        let values = row.key.iter().chain(write.cells.iter().copied().flatten());
        for (array, value) in arrays.iter_mut().zip(values) {
            array.push(value)?;
        }
        if let ColumnArray::Int(numbers) = row_seq {
            numbers.push(seq);
        }
    }
    Ok(groups)
}

fn upsert_sql(table: &Table, columns: &[Column], version: u32) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let arrays: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("${}::{}", index + 1, array_type(column.kind)))
        .collect();
    let key: Vec<&str> = table.key().map(|column| column.name).collect();
    let changed: Vec<String> = names[key.len()..]
        .iter()
        .map(|name| format!("{name} = EXCLUDED.{name}"))
        .collect();
    format!(
        "INSERT INTO {} ({}) SELECT * FROM UNNEST({}) ON CONFLICT ({}) DO UPDATE SET {}",
        table.physical_name(version),
        names.join(", "),
        arrays.join(", "),
        key.join(", "),
        changed.join(", "),
    )
}

/// Removes every row that `rows` delete, also where something is written afterwards: that is a new
/// row, and must not keep old cells.
pub(super) async fn delete_rows(
    transaction: &Transaction<'_>,
    rows: &[MergedRow<'_>],
    version: u32,
) -> Result<(), SinkError> {
    let mut groups: BTreeMap<&'static str, (&'static Table, Vec<ColumnArray<'_>>)> =
        BTreeMap::new();
    for row in rows.iter().filter(|row| row.deleted.is_some()) {
        let (_, arrays) = groups.entry(row.table.name).or_insert_with(|| {
            let columns = row.table.key();
            let arrays = columns.map(|column| ColumnArray::new(column.kind, 16));
            (row.table, arrays.collect())
        });
        for (array, value) in arrays.iter_mut().zip(row.key) {
            array.push(value)?;
        }
    }
    for (table, arrays) in groups.into_values() {
        let statement = transaction
            .prepare_cached(&delete_sql(table, version))
            .await?;
        let values: Vec<_> = arrays.iter().map(ColumnArray::as_sql).collect();
        transaction.execute(&statement, &values).await?;
    }
    Ok(())
}

fn delete_sql(table: &Table, version: u32) -> String {
    let key: Vec<Column> = table.key().collect();
    let arrays: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(index, column)| format!("${}::{}", index + 1, array_type(column.kind)))
        .collect();
    let names: Vec<&str> = key.iter().map(|column| column.name).collect();
    let same: Vec<String> = names
        .iter()
        .map(|name| format!("t.{name} = d.{name}"))
        .collect();
    format!(
        "DELETE FROM {} t USING UNNEST({}) AS d({}) WHERE {}",
        table.physical_name(version),
        arrays.join(", "),
        names.join(", "),
        same.join(" AND "),
    )
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::{CART_LINES, SALES_ORDERS};

    use super::*;

    #[test]
    fn an_upsert_names_only_the_cells_that_are_written() {
        let columns: Vec<Column> = SALES_ORDERS
            .key()
            .chain(SALES_ORDERS.cell("paid_at"))
            .chain([ROW_SEQ])
            .collect();
        assert_eq!(
            upsert_sql(&SALES_ORDERS, &columns, 1),
            "INSERT INTO sales_orders_v1 (order_id, paid_at, row_seq) \
             SELECT * FROM UNNEST($1::text[], $2::timestamptz[], $3::bigint[]) \
             ON CONFLICT (order_id) DO UPDATE SET paid_at = EXCLUDED.paid_at, \
             row_seq = EXCLUDED.row_seq"
        );
    }

    #[test]
    fn a_delete_names_the_whole_key() {
        assert_eq!(
            delete_sql(&CART_LINES, 1),
            "DELETE FROM cart_lines_v1 t USING UNNEST($1::text[], $2::bigint[]) \
             AS d(cart_id, line) WHERE t.cart_id = d.cart_id AND t.line = d.line"
        );
    }
}
