//! The operations of a batch, put together row by row.
//!
//! A row that ten events of a batch write to is written once. That is sound because a batch holds
//! *all* records between two positions, and every cell belongs to one key and so to one partition:
//! no other write to the row lies between the first and the last seq that are put together.

use std::collections::HashMap;

use cartwright_read_model::{RowOp, Table, Value};

use crate::sink::{SeqOp, SinkError};

/// What a batch does to one row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MergedRow<'a> {
    pub(crate) table: &'static Table,
    pub(crate) key: &'a [Value],
    /// The seq of the last delete, which comes before `write`.
    pub(crate) deleted: Option<u64>,
    /// What is written after the last delete.
    pub(crate) write: Option<MergedWrite<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MergedWrite<'a> {
    /// The largest seq that wrote.
    pub(crate) seq: u64,
    /// By the table's cells; `None` where nothing was said.
    pub(crate) cells: Vec<Option<&'a Value>>,
}

/// Puts the operations together, rows in the order of their first operation.
pub(crate) fn merge(ops: &[SeqOp]) -> Result<Vec<MergedRow<'_>>, SinkError> {
    let mut rows: Vec<MergedRow<'_>> = Vec::new();
    // Where a rebuild spends its time, with the default hasher.
    let hasher = foldhash::fast::RandomState::default();
    let mut index_of: HashMap<(&str, &[Value]), usize, _> =
        HashMap::with_capacity_and_hasher(ops.len(), hasher);
    for SeqOp { seq, op } in ops {
        let table = op.table();
        let index = *index_of.entry((table.name, op.key())).or_insert_with(|| {
            rows.push(MergedRow {
                table,
                key: op.key(),
                deleted: None,
                write: None,
            });
            rows.len() - 1
        });
        let row = &mut rows[index];
        match op {
            RowOp::Delete { .. } => {
                row.deleted = Some(*seq);
                row.write = None;
            }
            RowOp::Upsert { cells, .. } => row.write(*seq, cells)?,
        }
    }
    Ok(rows)
}

impl<'a> MergedRow<'a> {
    fn write(&mut self, seq: u64, cells: &'a [(&'static str, Value)]) -> Result<(), SinkError> {
        let table = self.table;
        let write = self.write.get_or_insert_with(|| MergedWrite {
            seq,
            cells: vec![None; table.cells.len()],
        });
        write.seq = write.seq.max(seq);
        for (name, value) in cells {
            let index = table.cells.iter().position(|cell| cell.name == *name);
            let cell = index.and_then(|index| write.cells.get_mut(index));
            let unknown = || SinkError::fatal(format!("{} has no cell {name}", table.name));
            *cell.ok_or_else(unknown)? = Some(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::{CART_LINES, PRODUCTS};

    use super::*;

    fn upsert(seq: u64, cells: &[(&'static str, Value)]) -> SeqOp {
        let op = RowOp::upsert(&PRODUCTS, ["cup".into()], cells.to_vec());
        SeqOp { seq, op }
    }

    #[test]
    fn the_last_word_about_each_cell_is_kept() {
        let ops = [
            upsert(3, &[("name", "Cup".into()), ("price_minor", Value::Int(1))]),
            upsert(5, &[("price_minor", Value::Int(2))]),
        ];
        let rows = merge(&ops).unwrap();
        assert_eq!(rows.len(), 1);
        let write = rows[0].write.as_ref().unwrap();
        assert_eq!(write.seq, 5);
        assert_eq!(write.cells[0], Some(&"Cup".into()));
        assert_eq!(write.cells[1], None);
        assert_eq!(write.cells[2], Some(&Value::Int(2)));
    }

    #[test]
    fn a_delete_forgets_what_was_written_before_it_and_not_what_comes_after() {
        let line = |seq, cells: Option<i64>| {
            let key = ["c1".into(), Value::Int(1)];
            let op = match cells {
                Some(quantity) => RowOp::upsert(&CART_LINES, key, [("quantity", quantity.into())]),
                None => RowOp::delete(&CART_LINES, key),
            };
            SeqOp { seq, op }
        };
        let gone = [line(1, Some(4)), line(2, None)];
        let rows = merge(&gone).unwrap();
        assert_eq!((rows[0].deleted, &rows[0].write), (Some(2), &None));
        let back = [line(1, Some(4)), line(2, None), line(3, Some(9))];
        let rows = merge(&back).unwrap();
        assert_eq!(rows[0].deleted, Some(2));
        assert_eq!(rows[0].write.as_ref().unwrap().seq, 3);
    }
}
