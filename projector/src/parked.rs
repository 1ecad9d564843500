//! The records of one partition that were put aside, by key.

use std::collections::BTreeMap;

use cartwright_read_model::ParkedRow;

use crate::plan::Limits;

/// Pointers to parked records: for each key those that wait, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    keys: BTreeMap<String, BTreeMap<u64, ParkedRow>>,
    records: usize,
    /// Pointers to records that the position is not past: a batch left them that failed half way.
    /// Whether these records are to be put aside is not decided yet.
    ahead: BTreeMap<u64, ParkedRow>,
}

impl Parked {
    /// What a store holds whose position is at the offset `next`.
    pub(crate) fn loaded(rows: Vec<ParkedRow>, next: u64) -> Self {
        let mut parked = Self::default();
        for row in rows {
            match row.offset < next {
                true => parked.put(row),
                false => drop(parked.ahead.insert(row.offset, row)),
            }
        }
        parked
    }

    /// Pointers of a half failed batch to records that were taken in, up to the offset `next`, and
    /// not put aside this time.
    pub(crate) fn passed(&mut self, next: u64) -> Vec<ParkedRow> {
        let later = self.ahead.split_off(&next);
        std::mem::replace(&mut self.ahead, later)
            .into_values()
            .collect()
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Keys that are parked, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.keys()
    }

    /// What waits under `key`, in order.
    pub(crate) fn queue(&self, key: &str) -> impl Iterator<Item = &ParkedRow> {
        self.keys.get(key).into_iter().flat_map(BTreeMap::values)
    }

    /// The record that keeps `key` parked.
    pub(crate) fn head(&self, key: &str) -> Option<&ParkedRow> {
        self.queue(key).next()
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Adds a record, or says something new of it.
    pub(crate) fn put(&mut self, row: ParkedRow) {
        self.ahead.remove(&row.offset);
        let queue = self.keys.entry(row.key.clone()).or_default();
        if queue.insert(row.offset, row).is_none() {
            self.records += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: &str, offset: u64) -> Option<ParkedRow> {
        let queue = self.keys.get_mut(key)?;
        let row = queue.remove(&offset)?;
        self.records -= 1;
        if queue.is_empty() {
            self.keys.remove(key);
        }
        Some(row)
    }

    /// Why no more may be parked, if that is so.
    pub(crate) fn excess(&self, limits: &Limits) -> Option<String> {
        let (keys, records) = (limits.max_parked_keys, limits.max_parked_records);
        if self.key_count() > keys {
            return Some(format!("more than {keys} keys are parked"));
        }
        (self.records() > records).then(|| format!("more than {records} records are parked"))
    }
}
