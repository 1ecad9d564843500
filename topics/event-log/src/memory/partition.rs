//! One partition as its leader keeps it.

use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// Nothing any more: compaction has taken it.
    Gone,
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
    /// over everything passed. Control records that follow are passed at once, as
    /// by a client that gets them in the same fetch; a gap is passed only with what
    /// stands behind it.
    pub(super) fn read(&self, position: &mut u64, max: usize) -> Vec<Record> {
        let mut records = Vec::new();
        for offset in *position..self.last_stable() {
            match &self.entries[(offset - self.low) as usize].1 {
                Entry::Gone => continue,
                Entry::Data { record, aborted } if !aborted => {
                    if records.len() >= max {
                        break;
                    }
                    records.push(record.clone());
                }
                Entry::Data { .. } | Entry::Control => {}
            }
            *position = offset + 1;
        }
        records
    }

    /// Deletes everything before `offset`, at most up to the last stable offset.
    pub(super) fn delete_before(&mut self, offset: u64) {
        let offset = offset.clamp(self.low, self.last_stable());
        self.entries.drain(..(offset - self.low) as usize);
        self.low = offset;
    }

    /// Compacts what stands before `offset`; see [`MemoryLog::compact`](super::MemoryLog::compact).
    pub(super) fn compact(&mut self, offset: u64) -> Vec<Record> {
        let last = self.high().saturating_sub(1);
        let end = offset.min(self.last_stable()).min(last).max(self.low);
        let cleaned = &mut self.entries[..(end - self.low) as usize];
        let newest: HashSet<u64> = cleaned
            .iter()
            .filter_map(|(_, entry)| match entry {
                Entry::Data {
                    record,
                    aborted: false,
                } => Some((&record.key, record)),
                _ => None,
            })
            .collect::<HashMap<_, _>>()
            .into_values()
            .filter(|record| record.value.is_some())
            .map(|record| record.offset)
            .collect();
        let mut gone = Vec::new();
        for (_, entry) in cleaned {
            let stays =
                matches!(entry, Entry::Data { record, .. } if newest.contains(&record.offset));
            if !stays
                && let Entry::Data {
                    record,
                    aborted: false,
                } = std::mem::replace(entry, Entry::Gone)
            {
                gone.push(record);
            }
        }
        gone
    }
}
