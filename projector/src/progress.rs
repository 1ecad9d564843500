//! What a worker tells of its progress.

use std::time::Duration;

use cartwright_event_log::TopicPartition;
use cartwright_events::Timestamp;
use cartwright_read_model::Position;

use crate::partition::Cut;

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to do for the time of a poll.
    Idle,
    /// Partitions came or went, or one is loaded anew.
    Rebalanced,
    /// Records were applied, with their position, or are about to be.
    Applied(Applied),
    /// Something outside does not answer. Nothing is lost or skipped; the next step tries again.
    Waiting {
        /// What it waits for.
        reason: String,
    },
    /// Too much is parked: no more records are taken, but what is asked to be done about it is
    /// still carried out, and the projection goes on by itself when there is less.
    Held {
        /// What is too much.
        reason: String,
    },
    /// The projection must not go on: drop the worker. It would stop at the same place again until
    /// somebody has acted.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The log's client is of no more use: drop the worker and make another.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What was applied in a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records, whatever became of them.
    pub records: usize,
    /// Records that the projection has no use for.
    pub dropped: usize,
    /// Row operations.
    pub rows: usize,
    /// Records that were put aside.
    pub parked: usize,
    /// Records that were put aside before and have been applied, or given up.
    pub unparked: usize,
    /// Batches.
    pub batches: usize,
    /// From the beginning of each batch until its end was seen.
    pub took: Duration,
}

/// How a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReport {
    /// The partition.
    pub at: TopicPartition,
    /// What has been applied; `None` before the first batch.
    pub position: Option<Position>,
    /// Keys that are parked.
    pub parked_keys: usize,
    /// Records that are parked.
    pub parked_records: usize,
    /// Offsets between the reader's position and the end of the partition, control records
    /// included; `None` when the log could not be asked.
    pub behind: Option<u64>,
    /// When the log took the first record that was read and is not applied; `None` when there is
    /// none.
    pub oldest_waiting: Option<Timestamp>,
}

impl Applied {
    pub(crate) fn count(&mut self, cut: &Cut) {
        self.records += cut.records;
        self.dropped += cut.dropped;
        self.rows += cut.batch.ops.len();
        self.parked += cut.parked;
        self.unparked += cut.batch.unparked.settled.len();
        self.batches += 1;
    }

    /// What has been added since.
    #[must_use]
    pub fn since(&self, before: &Applied) -> Applied {
        Applied {
            records: self.records - before.records,
            dropped: self.dropped - before.dropped,
            rows: self.rows - before.rows,
            parked: self.parked - before.parked,
            unparked: self.unparked - before.unparked,
            batches: self.batches - before.batches,
            took: self.took.saturating_sub(before.took),
        }
    }
}
