//! One partition as its leader keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{NewRecord, Record};

/// Number that the coordinator gave to a transactional id.
pub(super) type ProducerId = u64;

/// What an offset holds.
#[derive(Debug)]
enum Entry {
    /// A record; `aborted` once its transaction was.
    Data { record: Record, aborted: bool },
    /// The end of a transaction in this partition.
    Control,
}

/// An append-only sequence; the index plus `low` is the offset.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Offset of the first entry, raised when records are deleted.
    low: u64,
    entries: Vec<(ProducerId, Entry)>,
    /// First offset of every transaction that is open here.
    open: BTreeMap<ProducerId, u64>,
}

impl Partition {
    pub(super) fn low(&self) -> u64 {
        self.low
    }

    /// The high watermark: the offset that the next entry will get.
    pub(super) fn high(&self) -> u64 {
        self.low + self.entries.len() as u64
    }

    /// The last stable offset: where read_committed readers have to stop.
    pub(super) fn last_stable(&self) -> u64 {
        self.open.values().copied().min().unwrap_or(self.high())
    }

    /// Producers with an open transaction, and its first offset.
    pub(super) fn open_since(&self) -> impl Iterator<Item = (ProducerId, u64)> {
        self.open
            .iter()
            .map(|(&producer, &first)| (producer, first))
    }

    /// Appends a record of an open transaction and returns its offset.
    pub(super) fn append(&mut self, by: ProducerId, new: &NewRecord, timestamp_us: i64) -> u64 {
        let offset = self.high();
        self.open.entry(by).or_insert(offset);
        let record = Record {
            topic: Arc::clone(&new.topic),
            partition: new.partition,
            offset,
            timestamp_us,
            key: Some(new.key.clone()),
            value: new.value.clone(),
            headers: new.read_headers(),
        };
        let aborted = false;
        self.entries.push((by, Entry::Data { record, aborted }));
        offset
    }

    /// Writes the control record that ends the transaction of `by` here.
    pub(super) fn end(&mut self, by: ProducerId, committed: bool) {
        let Some(first) = self.open.remove(&by) else {
            return;
        };
        if !committed {
            let from = first.saturating_sub(self.low) as usize;
            for (producer, entry) in &mut self.entries[from..] {
                if let (true, Entry::Data { aborted, .. }) = (*producer == by, entry) {
                    *aborted = true;
                }
            }
        }
        self.entries.push((by, Entry::Control));
    }

    /// Committed records from `*position` on, up to `max`; moves the position
    /// over everything passed.
    pub(super) fn read(&self, position: &mut u64, max: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while *position < self.last_stable() && records.len() < max {
            let entry = &self.entries[(*position - self.low) as usize].1;
            if let Entry::Data {
                record,
                aborted: false,
            } = entry
            {
                records.push(record.clone());
            }
            *position += 1;
        }
        // Control records that follow are passed at once, as a client does
        // that gets them in the same fetch.
        while *position < self.last_stable()
            && !matches!(
                self.entries[(*position - self.low) as usize].1,
                Entry::Data { aborted: false, .. }
            )
        {
            *position += 1;
        }
        records
    }

    /// Deletes everything before `offset`, at most up to the last stable offset.
    pub(super) fn delete_before(&mut self, offset: u64) {
        let offset = offset.clamp(self.low, self.last_stable());
        self.entries.drain(..(offset - self.low) as usize);
        self.low = offset;
    }
}
