//! Versions that go: everything that is stored of one is removed at once, as in the real stores.

use cartwright_read_model::tables::{CONTROL_VERSION, tables_about_versions};
use cartwright_read_model::{Projection, Row, Value};

use super::{MemoryStore, State, is_control};
use crate::merge::MergedRow;
use crate::sink::SinkError;

impl MemoryStore {
    /// Removes every trace of a version, as whoever retires or cancels it does. Its number is not
    /// used again.
    pub fn remove_version(&self, projection: &'static Projection, version: u32) {
        let mut state = self.lock();
        for table in projection.tables {
            state.tables.remove(&(table.name, version));
            state.dropped.insert((table.name, version));
        }
        let of = key_of(projection, version);
        for table in tables_about_versions() {
            if let Some(stored) = state.tables.get_mut(&(table.name, CONTROL_VERSION)) {
                stored.remove(&of);
            }
        }
        state.removed.insert((projection.name, version));
    }

    /// Makes the tables of a version again that were dropped.
    pub fn make_tables(&self, projection: &'static Projection, version: u32) {
        let mut state = self.lock();
        for table in projection.tables {
            state.dropped.remove(&(table.name, version));
        }
    }

    /// Everything that is stored of a version, control tables included.
    #[must_use]
    pub fn traces(&self, projection: &'static Projection, version: u32) -> Vec<Row> {
        let mut traces = self.projection_rows(projection, version);
        let of = key_of(projection, version);
        let state = self.lock();
        for table in tables_about_versions() {
            traces.extend(state.rows(table, CONTROL_VERSION, &of));
        }
        traces
    }
}

fn key_of(projection: &Projection, version: u32) -> [Value; 2] {
    [projection.name.into(), version.into()]
}

impl State {
    pub(super) fn is_there(&self, row: &MergedRow<'_>, version: u32) -> Result<(), SinkError> {
        let name = row.table.name;
        match self.dropped.contains(&(name, version)) {
            true => Err(SinkError::fatal(format!(
                "memory: no table {name}_v{version}"
            ))),
            false => Ok(()),
        }
    }

    /// Whether it is a row of a control table that is about a version which was removed. The time of
    /// that is the present, which no cell of a projection reaches.
    pub(super) fn was_removed(&self, row: &MergedRow<'_>) -> bool {
        let of = |(name, version): &(&'static str, u32)| {
            row.key.starts_with(&[(*name).into(), (*version).into()])
        };
        is_control(row.table) && self.removed.iter().any(of)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwright_events::Stream;
    use cartwright_read_model::tables::{POSITIONS, PRODUCTS, projections};
    use cartwright_read_model::{PositionKey, RowOp};

    use super::*;
    use crate::contract;
    use crate::memory::{MemorySink, Semantics};
    use crate::sink::{Batch, SeqOp, Sink};

    fn key() -> PositionKey {
        PositionKey {
            projection: "products",
            version: 2,
            stream: Stream::Product,
            partition: 0,
        }
    }

    fn batch(from: u64, sku: &str) -> Arc<Batch> {
        let op = RowOp::upsert(&PRODUCTS, [sku.into()], [("name", sku.into())]);
        let seq = from + 1;
        contract::batch(key(), from, seq, vec![SeqOp { seq, op }])
    }

    #[test]
    fn a_late_write_does_not_bring_back_a_version_that_was_removed() {
        for semantics in [Semantics::Transactional, Semantics::CellTimes] {
            let store = MemoryStore::new(semantics);
            let mut sink = MemorySink::new(store.clone(), 2);
            sink.apply(&batch(0, "cup")).unwrap();
            assert_eq!(store.traces(&projections::PRODUCTS, 2).len(), 2);
            store.remove_version(&projections::PRODUCTS, 2);
            assert_eq!(store.traces(&projections::PRODUCTS, 2), []);
            assert!(sink.apply(&batch(1, "mug")).is_err(), "{semantics:?}");
            assert_eq!(store.traces(&projections::PRODUCTS, 2), []);
        }
    }

    #[test]
    fn a_position_that_lands_late_loses_where_each_cell_has_a_time() {
        let store = MemoryStore::new(Semantics::CellTimes);
        store.remove_version(&projections::PRODUCTS, 2);
        store.make_tables(&projections::PRODUCTS, 2);
        MemorySink::new(store.clone(), 2)
            .apply(&batch(0, "cup"))
            .unwrap();
        let traces = store.traces(&projections::PRODUCTS, 2);
        assert_eq!(traces.len(), 1, "only the row, whose table is there again");
    }

    #[test]
    fn a_row_that_is_there_is_not_copied_over() {
        let store = MemoryStore::new(Semantics::Transactional);
        let bulk = || MemorySink::new(store.clone(), 2).in_bulk(&projections::PRODUCTS);
        let mut first = bulk();
        first.load(&key(), 1).unwrap();
        first.apply(&batch(0, "cup")).unwrap();
        first.apply(&batch(1, "cup")).unwrap();
        // One that has not begun the partition itself takes no row for new.
        let mut second = bulk();
        second.load(&key(), 1).unwrap();
        second.apply(&batch(2, "cup")).unwrap();
        // Rows without a position, as no write leaves them.
        store
            .lock()
            .tables
            .remove(&(POSITIONS.name, CONTROL_VERSION));
        let mut third = bulk();
        third.load(&key(), 1).unwrap();
        let refused = third.apply(&batch(0, "cup"));
        assert!(
            matches!(refused, Err(SinkError::Fatal { .. })),
            "{refused:?}"
        );
    }
}
