//! Which rows a sink has written itself: for versions that are built from nothing.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use cartwright_read_model::PositionKey;
use foldhash::quality::FixedState;

use crate::merge::MergedRow;

/// Keys remembered of one partition, 8 bytes each; with more, everything is upserted.
const MOST_KEYS: usize = 4_000_000;

/// Which rows a sink has written. Known only of partitions that it began itself: what an earlier
/// process wrote it cannot tell from new rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    rows: HashMap<PositionKey, HashSet<u64>>,
    /// Tables that have their key, as far as it is known.
    pub(crate) keyed: HashSet<&'static str>,
}

impl Written {
    /// The partition was loaded; `fresh`: nothing of it is stored.
    pub(crate) fn loaded(&mut self, key: &PositionKey, fresh: bool) {
        match fresh {
            true => self.rows.insert(key.clone(), HashSet::new()),
            false => self.rows.remove(key),
        };
    }

    /// Takes the rows out of `rows` that are written for the first time.
    pub(crate) fn take_new<'a>(
        &self,
        key: &PositionKey,
        rows: &mut Vec<MergedRow<'a>>,
    ) -> Vec<MergedRow<'a>> {
        let Some(written) = self.rows.get(key) else {
            return Vec::new();
        };
        let is_new = |row: &mut MergedRow<'_>| {
            row.deleted.is_none() && row.write.is_some() && !written.contains(&hash(row))
        };
        rows.extract_if(.., is_new).collect()
    }

    /// These rows are in the store now.
    pub(crate) fn remember(&mut self, key: &PositionKey, hashes: &[u64]) {
        let full = self.rows.get_mut(key).is_some_and(|written| {
            written.extend(hashes);
            written.len() > MOST_KEYS
        });
        if full {
            self.forget(key);
        }
    }

    /// Rows of this partition turn out to be of others too.
    pub(crate) fn forget(&mut self, key: &PositionKey) {
        self.rows.remove(key);
    }
}

/// A row's hash; that of another row at worst makes a new row an upsert.
pub(crate) fn hash(row: &MergedRow<'_>) -> u64 {
    FixedState::default().hash_one((row.table.name, row.key))
}

#[cfg(test)]
mod tests {
    use cartwright_events::Stream;
    use cartwright_read_model::tables::PRODUCTS;
    use cartwright_read_model::{RowOp, Value};

    use super::*;
    use crate::merge::merge;
    use crate::sink::SeqOp;

    fn key() -> PositionKey {
        PositionKey {
            projection: "products",
            version: 2,
            stream: Stream::Product,
            partition: 0,
        }
    }

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
        let new = |written: &Written| {
            let mut rows = merge(&ops).unwrap();
            let new = written.take_new(&key(), &mut rows);
            assert_eq!(new.len() + rows.len(), 3);
            new.iter().map(|row| row.key[0].clone()).collect::<Vec<_>>()
        };
        assert!(
            new(&written).is_empty(),
            "not loaded: what is there is not known"
        );
        written.loaded(&key(), true);
        assert_eq!(new(&written), ["cup".into(), "mug".into()]);
        let rows = merge(&ops).unwrap();
        written.remember(&key(), &[hash(&rows[0])]);
        assert_eq!(new(&written), ["mug".into()]);
        written.loaded(&key(), false);
        assert!(new(&written).is_empty(), "begun by somebody else");
    }
}
