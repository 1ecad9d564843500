//! Reading the whole snapshots topic for where everything is that has left memory.

use std::time::Duration;

use cartwright_event_log::{LogError, LogReader, Start, TopicPartition, read_to};

use super::{Index, hash};
use crate::snapshots::format::aggregate_at;

/// Offsets read at a time.
const OFFSETS: u64 = 20_000;

/// Finds where all are that left memory before an offset, a little at a time, so that whoever reads
/// can do something else in between.
pub(crate) struct Scan<R> {
    reader: R,
    snapshots: TopicPartition,
    to: u64,
    index: Index,
}

impl<R: LogReader> Scan<R> {
    pub(crate) fn begin(
        mut reader: R,
        snapshots: TopicPartition,
        to: u64,
    ) -> Result<Self, LogError> {
        reader.assign(&[(snapshots.clone(), Start::Beginning)])?;
        Ok(Self {
            reader,
            snapshots,
            to,
            index: Index::new(),
        })
    }

    /// The offset before which everything is read in the end.
    pub(crate) fn to(&self) -> u64 {
        self.to
    }

    /// Reads on. Gives the index when it has read all; nothing is to be read afterwards.
    ///
    /// # Errors
    /// The log's. What was read is kept: read on after a pause.
    pub(crate) fn read_on(&mut self, stall: Duration) -> Result<Option<Index>, LogError> {
        let (index, to) = (&mut self.index, self.to);
        let position = self.reader.position(&self.snapshots)?;
        let target = to.min(position.saturating_add(OFFSETS));
        let targets = [(self.snapshots.clone(), target)];
        read_to(&mut self.reader, &targets, stall, |record| {
            if let Some((id, finished)) = aggregate_at(&record)
                && record.offset < to
            {
                if finished {
                    index.insert(hash(id), record.offset);
                } else {
                    index.remove(&hash(id));
                }
            }
            Ok::<(), LogError>(())
        })?;
        if target < to {
            return Ok(None);
        }
        let mut index = std::mem::take(index);
        index.shrink_to_fit();
        Ok(Some(index))
    }
}
