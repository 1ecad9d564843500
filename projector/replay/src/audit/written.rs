//! Which rows events have written to: what a whole table is held against, for rows that no event made.

use std::collections::HashMap;

use cartwright_read_model::{Row, RowOp, Value, fnv64};

/// The rows that were written to, by a hash of table and key, with the seq of the last event. Two numbers of 64
/// bits a row, whatever it holds; of two rows with one hash, which are not to be expected, the wrong one may
/// be taken for the right one.
#[derive(Debug, Default)]
pub struct Written(HashMap<u64, u64>);

/// A row that is not as any event left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// No event has written to it.
    Unwritten,
    /// It says that an event has written to it which is none of those that have.
    Newer {
        /// The seq that it says.
        seq: u64,
        /// The seq of the last one that has.
        last: u64,
    },
}

impl Written {
    /// Takes what the next event of a partition makes of the rows. One that it deletes stays known: the view may
    /// not have read so far.
    pub fn take(&mut self, seq: u64, ops: &[RowOp]) {
        let hashes = ops.iter().map(|op| hash(op.table().name, op.key()));
        self.0.extend(hashes.map(|hash| (hash, seq)));
    }

    /// What is wrong with a row that its store holds.
    #[must_use]
    pub fn stray(&self, row: &Row) -> Option<Stray> {
        let key = &row.values[..row.table.key_len()];
        let Some(last) = self.0.get(&hash(row.table.name, key)).copied() else {
            return Some(Stray::Unwritten);
        };
        let seq = super::made::seq(row);
        (seq > last).then_some(Stray::Newer { seq, last })
    }
}

fn hash(table: &str, key: &[Value]) -> u64 {
    fnv64(&serde_json::to_vec(&(table, key)).unwrap_or_default())
}
