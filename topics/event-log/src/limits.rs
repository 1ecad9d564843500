//! What one transaction may hold.

use crate::{CommitError, NewRecord};

/// Limits of a transaction, checked before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records in a transaction. librdkafka's queue holds 100,000.
    pub max_records: usize,
    /// Bytes of one record: key, value and headers. Brokers refuse batches above
    /// `message.max.bytes`, 1 MiB by default.
    pub max_record_bytes: usize,
    /// Bytes of all records. Bounds memory and the time of a commit.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_records: 50_000,
            max_record_bytes: 900_000,
            max_bytes: 64 * 1_024 * 1_024,
        }
    }
}

impl Limits {
    pub(crate) fn check(&self, records: &[NewRecord]) -> Result<(), CommitError> {
        if records.is_empty() {
            return Err(CommitError::Empty);
        }
        within("records", records.len(), self.max_records)?;
        let mut total = 0;
        for record in records {
            let bytes = size(record);
            within("record bytes", bytes, self.max_record_bytes)?;
            total += bytes;
        }
        within("bytes", total, self.max_bytes)
    }
}

fn within(what: &'static str, actual: usize, limit: usize) -> Result<(), CommitError> {
    if actual <= limit {
        return Ok(());
    }
    Err(CommitError::TooLarge {
        what,
        actual,
        limit,
    })
}

fn size(record: &NewRecord) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    record.key.len() + record.value.as_ref().map_or(0, Vec::len) + headers
}
