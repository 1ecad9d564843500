//! Which rows a sink has written itself: for versions that are built from nothing.

use std::collections::{HashMap, HashSet};

use cartwright_read_model::PositionKey;
use foldhash::fast::RandomState;

use crate::merge::MergedRow;

/// Keys remembered of one partition, 8 bytes each; with more, everything is upserted.
const MOST_KEYS: usize = 4_000_000;

/// Which rows a sink has written. Known only of partitions that it began itself: what an earlier
/// process wrote it cannot tell from new rows.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    most_keys: usize,
    /// Hashes of table and key; that of another row at worst makes a new row an upsert.
    rows: HashMap<PositionKey, HashSet<u64, RandomState>>,
    /// Tables that have their key, as far as it is known.
    pub(crate) keyed: HashSet<&'static str>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            most_keys: MOST_KEYS,
            rows: HashMap::new(),
            keyed: HashSet::new(),
        }
    }
}

impl Written {
    /// The partition was loaded; `fresh`: nothing of it is stored.
    pub(crate) fn loaded(&mut self, key: &PositionKey, fresh: bool) {
        match fresh {
            true => self.rows.insert(key.clone(), HashSet::default()),
            false => self.rows.remove(key),
        };
    }

    /// Takes the rows out of `rows` that are written for the first time. From now on they count as
    /// written, which is right also where they were not: rows that may be there are upserted.
    pub(crate) fn take_new<'a>(
        &mut self,
        key: &PositionKey,
        rows: &mut Vec<MergedRow<'a>>,
    ) -> Vec<MergedRow<'a>> {
        let Some(written) = self.rows.get_mut(key) else {
            return Vec::new();
        };
        let is_new = |row: &mut MergedRow<'_>| {
            let is_first = written.insert(row.hash);
            is_first && row.deleted.is_none() && row.write.is_some()
        };
        let new = rows.extract_if(.., is_new).collect();
        if written.len() > self.most_keys {
            self.forget(key);
        }
        new
    }

    /// Rows of this partition turn out to be of others too.
    pub(crate) fn forget(&mut self, key: &PositionKey) {
        self.rows.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::PRODUCTS;
    use cartwright_read_model::{RowOp, Value};

    use super::*;
    use crate::contract::key;
    use crate::merge::merge;
    use crate::sink::SeqOp;

    fn op(seq: u64, sku: &str, delete: bool) -> SeqOp {
        let key = [Value::from(sku)];
        let op = match delete {
            true => RowOp::delete(&PRODUCTS, key),
            false => RowOp::upsert(&PRODUCTS, key, [("name", sku.into())]),
        };
        SeqOp { seq, op }
    }

    #[test]
    fn only_rows_that_this_sink_has_not_written_are_copied() {
        let ops = [op(1, "cup", false), op(2, "hat", true), op(3, "mug", false)];
        let mut written = Written::default();
        let new = |written: &mut Written, ops: &[SeqOp]| {
            let mut rows = merge(ops).unwrap();
            let all = rows.len();
            let new = written.take_new(&key(2, 0), &mut rows);
            assert_eq!(new.len() + rows.len(), all);
            new.iter().map(|row| row.key[0].clone()).collect::<Vec<_>>()
        };
        assert!(
            new(&mut written, &ops).is_empty(),
            "not loaded: what is there is not known"
        );
        written.loaded(&key(2, 0), true);
        assert_eq!(new(&mut written, &ops[..2]), ["cup".into()]);
        assert_eq!(new(&mut written, &ops), ["mug".into()]);
        let hat = [op(4, "hat", false)];
        assert!(new(&mut written, &hat).is_empty(), "it was there once");
        written.loaded(&key(2, 0), false);
        let pen = [op(5, "pen", false)];
        assert!(new(&mut written, &pen).is_empty(), "begun by somebody else");
    }

    #[test]
    fn of_a_partition_with_more_rows_than_are_remembered_nothing_is_held_any_more() {
        let mut written = Written {
            most_keys: 3,
            ..Written::default()
        };
        written.loaded(&key(2, 0), true);
        let copied = |sku: &str| {
            let ops = [op(1, sku, false)];
            let new = written
                .take_new(&key(2, 0), &mut merge(&ops).unwrap())
                .len();
            (new, written.rows.values().map(HashSet::len).sum::<usize>())
        };
        let skus = ["cup", "hat", "mug", "pen", "ink", "cup"];
        let held = skus.map(copied);
        assert_eq!(held, [(1, 1), (1, 2), (1, 3), (1, 0), (0, 0), (0, 0)]);
    }
}
