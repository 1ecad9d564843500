//! The operations of a batch, put together row by row.
//!
//! A row that ten events of a batch write to is written once. That is sound because a batch holds
//! *all* records between two positions, and every cell belongs to one key and so to one partition:
//! no other write to the row lies between the first and the last seq that are put together.

use std::hash::{BuildHasher, Hasher};

use cartwright_read_model::{RowOp, Table, Value};
use foldhash::quality::FixedState;
use hashbrown::HashTable;

use crate::sink::{Batch, SeqOp, SinkError};

/// What a batch does to one row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MergedRow<'a> {
    pub(crate) table: &'static Table,
    pub(crate) key: &'a [Value],
    /// Of table and key, the same in every batch of this process.
    pub(crate) hash: u64,
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

/// The rows of a batch for a store with a time per cell. What was parked is written event by event:
/// such a batch does not hold all records between its first and its last. Where another projector,
/// late, has parked a record that is applied already, what is put together with it would carry an
/// older value past a newer one.
pub(crate) fn merge_timed(batch: &Batch) -> Result<Vec<MergedRow<'_>>, SinkError> {
    if batch.moves() {
        return merge(&batch.ops);
    }
    let events = batch.ops.chunk_by(|one, next| one.seq == next.seq);
    let rows: Result<Vec<_>, _> = events.map(merge).collect();
    Ok(rows?.into_iter().flatten().collect())
}

/// Puts the operations together, rows in the order of their first operation.
pub(crate) fn merge(ops: &[SeqOp]) -> Result<Vec<MergedRow<'_>>, SinkError> {
    let mut rows: Vec<MergedRow<'_>> = Vec::new();
    let hasher = FixedState::default();
    // Of indices, and not of rows: a rebuild spends its time here, and so little of it stays at hand.
    let mut index_of: HashTable<usize> = HashTable::with_capacity(ops.len());
    for SeqOp { seq, op } in ops {
        let (table, key) = (op.table(), op.key());
        let hash = hash_of(&hasher, table, key);
        let is_same = |index: &usize| {
            let row: &MergedRow<'_> = &rows[*index];
            row.hash == hash && row.table.name == table.name && row.key == key
        };
        let index = match index_of.find(hash, is_same) {
            Some(index) => *index,
            None => {
                index_of.insert_unique(hash, rows.len(), |index| rows[*index].hash);
                rows.push(MergedRow {
                    table,
                    key,
                    hash,
                    deleted: None,
                    write: None,
                });
                rows.len() - 1
            }
        };
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

/// Rows whose keys differ in a flag alone share one; no table has such a key.
fn hash_of(hasher: &FixedState, table: &Table, key: &[Value]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(table.name.as_bytes());
    for value in key {
        match value {
            Value::Text(text) => state.write(text.as_bytes()),
            Value::Int(number) => state.write_i64(*number),
            Value::Time(time) => state.write_i64(time.as_micros()),
            Value::Unset | Value::Bool(_) | Value::Json(_) => {}
        }
    }
    state.finish()
}

impl<'a> MergedRow<'a> {
    fn write(&mut self, seq: u64, cells: &'a [(&'static str, Value)]) -> Result<(), SinkError> {
        let table = self.table;
        let write = self.write.get_or_insert_with(|| MergedWrite {
            seq,
            cells: vec![None; table.cells.len()],
        });
        write.seq = write.seq.max(seq);
        // Folds name cells in the table's order, mostly: the next one is where the last was left.
        let mut next = 0;
        for (name, value) in cells {
            let is_it = |index: &usize| table.cells[*index].name == *name;
            let index = (next..table.cells.len()).chain(0..next).find(is_it);
            let unknown = || SinkError::fatal(format!("{} has no cell {name}", table.name));
            let index = index.ok_or_else(unknown)?;
            write.cells[index] = Some(value);
            next = index + 1;
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
