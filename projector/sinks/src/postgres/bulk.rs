//! Rows that are written for the first time, by COPY: for versions that nobody reads yet.

use std::collections::BTreeMap;
use std::pin::pin;

use bytes::Bytes;
use cartwright_read_model::postgres;
use cartwright_read_model::{Column, ReadModelError, Table};
use deadpool_postgres::{Pool, Transaction};
use futures::SinkExt as _;

use super::binary::Rows;
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
        let copy = copy_sql(first.table, version);
        let statement = transaction.prepare_cached(&copy).await?;
        let mut sink = pin!(transaction.copy_in::<_, Bytes>(&statement).await?);
        let mut encoded = Rows::new();
        for row in rows {
            encoded.push(row)?;
            if let Some(piece) = encoded.take_piece() {
                sink.send(piece).await?;
            }
        }
        sink.send(encoded.end()).await?;
        sink.finish().await?;
    }
    Ok(())
}

fn copy_sql(table: &Table, version: u32) -> String {
    let columns: Vec<Column> = table.columns().collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let name = table.physical_name(version);
    format!("COPY {name} ({}) FROM STDIN BINARY", names.join(", "))
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::CART_LINES;

    use super::*;

    #[test]
    fn a_copy_names_every_column() {
        assert_eq!(
            copy_sql(&CART_LINES, 2),
            "COPY cart_lines_v2 (cart_id, line, sku, name, quantity, unit_price_minor, \
             price_source, line_total_minor, row_seq) FROM STDIN BINARY"
        );
    }
}
