//! Applying a batch, in either way.

use cartwright_read_model::Position;
use cartwright_read_model::tables::{CONTROL_VERSION, PARKED};

use super::table::StoredTable;
use super::{MemoryFault, State};
use crate::control::{final_ops, log_begins, parked_ops, settled_ops};
use crate::merge::{MergedRow, merge, merge_timed};
use crate::sink::{Batch, SinkError};

impl State {
    /// Whether the batch follows what is stored, and nobody else has written since the sink knew it.
    pub(super) fn check_position(
        &self,
        batch: &Batch,
        known: Option<u64>,
    ) -> Result<(), SinkError> {
        let writes = self.writes.get(&batch.key).copied().unwrap_or_default();
        let stored = self.position(&batch.key);
        let same = |a: Position, b: Position| {
            (a.generation, a.next_offset) == (b.generation, b.next_offset)
        };
        let as_expected = match (stored, batch.expected) {
            (None, None) => true,
            (Some(stored), Some(expected)) => same(stored, expected),
            _ => false,
        };
        match as_expected && known.is_none_or(|known| known == writes) {
            true => Ok(()),
            false => Err(SinkError::PositionMoved),
        }
    }

    /// What is parked, where a batch is the first of a log.
    fn parked_before(&mut self, batch: &Batch) -> Option<&mut StoredTable> {
        let parked = self.tables.get_mut(&(PARKED.name, CONTROL_VERSION));
        parked.filter(|_| batch.begins_log())
    }

    /// Answers whether it was applied.
    pub(super) fn apply_as_one(
        &mut self,
        batch: &Batch,
        version: u32,
        fault: Option<MemoryFault>,
    ) -> Result<bool, SinkError> {
        if matches!(fault, Some(MemoryFault::AfterRows(_))) {
            return Ok(false);
        }
        let rows = merge(&batch.ops)?;
        rows.iter()
            .try_for_each(|row| self.is_there(row, version))?;
        if let Some(parked) = self.parked_before(batch) {
            parked.remove(&batch.key.values());
        }
        let control = [parked_ops(batch), settled_ops(batch), final_ops(batch)].concat();
        for row in rows.into_iter().chain(merge(&control)?) {
            self.table(&row, version).put(&row);
        }
        Ok(true)
    }

    /// Answers whether everything was applied.
    pub(super) fn apply_by_cell(
        &mut self,
        batch: &Batch,
        version: u32,
        fault: Option<MemoryFault>,
    ) -> Result<bool, SinkError> {
        let generation = batch.next.generation;
        if let Some(parked) = self.parked_before(batch) {
            parked.delete(&batch.key.values(), log_begins(generation)?);
        }
        let (parked, settled, last) = (parked_ops(batch), settled_ops(batch), final_ops(batch));
        let mut rows = merge_timed(batch)?;
        rows.extend(merge(&parked)?);
        let settled = merge(&settled)?;
        if let Some(MemoryFault::AfterRows(most)) = fault {
            // Rows are written in no particular order: which ones stay is any part of them. What leaves
            // the list does so in order.
            rotate(&mut rows, most);
            rows.extend(settled);
            rows.truncate(most);
            return self.write_rows(&rows, version, generation).map(|()| false);
        }
        rows.extend(settled);
        rows.extend(merge(&last)?);
        self.write_rows(&rows, version, generation).map(|()| true)
    }

    fn write_rows(
        &mut self,
        rows: &[MergedRow<'_>],
        version: u32,
        generation: u32,
    ) -> Result<(), SinkError> {
        for row in rows {
            self.is_there(row, version)?;
            if !self.was_removed(row) {
                self.table(row, version).write(row, generation)?;
            }
        }
        Ok(())
    }
}

fn rotate<T>(rows: &mut [T], by: usize) {
    if !rows.is_empty() {
        rows.rotate_left(by % rows.len());
    }
}
