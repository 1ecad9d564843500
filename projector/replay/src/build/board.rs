//! What those who build tell of it, and what they are told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cartwright_event_log::TopicPartition;
use cartwright_projector::{Applied, PartitionReport};
use serde::{Deserialize, Serialize};

use super::source::End;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Go on.
    Go = 0,
    /// Hold still until told otherwise.
    Hold = 1,
    /// End after the batch in hand.
    Stop = 2,
}

/// Where a partition is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not begun.
    #[default]
    Waiting,
    /// Being read.
    Reading,
    /// Holding still.
    Paused,
    /// Read to its end.
    Done,
    /// It cannot go on; the error says why.
    Stopped,
}

/// What is known of one partition's build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionProgress {
    /// Where it is.
    pub phase: Phase,
    /// The next offset to be applied.
    pub next_offset: u64,
    /// Offsets left.
    pub behind: u64,
    /// The first offset that is not read.
    pub end: u64,
    /// Records read by this process.
    pub records: u64,
    /// Of these, records that the projection has no use for.
    pub dropped: u64,
    /// Of these, records that were put aside.
    pub parked: u64,
    /// Row operations.
    pub rows: u64,
    /// Records a second, over the whole time.
    pub records_per_s: f64,
    /// What went wrong last.
    pub error: Option<String>,
    #[serde(skip)]
    pub(crate) begun: Option<Instant>,
    /// The end of a point in time, as far as it is known before it is reached.
    #[serde(skip)]
    pub(crate) expected_end: Option<u64>,
}

/// Shared by the threads of a build. Cheap to look at.
#[derive(Debug, Default)]
pub struct Board {
    signal: AtomicU8,
    was_held: AtomicBool,
    partitions: Mutex<BTreeMap<TopicPartition, PartitionProgress>>,
}

impl Board {
    /// Tells everybody what to do from now on.
    pub fn tell(&self, signal: Signal) {
        if signal == Signal::Hold {
            self.was_held.store(true, Ordering::Release);
        }
        self.signal.store(signal as u8, Ordering::Release);
    }

    /// What to do.
    pub fn signal(&self) -> Signal {
        match self.signal.load(Ordering::Acquire) {
            0 => Signal::Go,
            1 => Signal::Hold,
            _ => Signal::Stop,
        }
    }

    /// Whether it was ever told to hold still.
    pub fn was_held(&self) -> bool {
        self.was_held.load(Ordering::Acquire)
    }

    /// How every partition stands.
    pub fn partitions(&self) -> BTreeMap<TopicPartition, PartitionProgress> {
        let held = self.partitions.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every partition has been read to its end.
    pub fn is_done(&self) -> bool {
        let partitions = self.partitions();
        partitions.values().all(|each| each.phase == Phase::Done)
    }

    /// What is going to be built: without a partition nothing is done.
    pub fn begin(&self, partitions: &[(TopicPartition, End)]) {
        for (at, end) in partitions {
            self.with(at, |progress| {
                progress.end = progress.expected_end.unwrap_or(end.offset);
                progress.behind = progress.end;
            });
        }
    }

    /// Where a partition is expected to end that is read up to a point in time: for those who watch.
    pub fn expect(&self, at: &TopicPartition, end: u64) {
        self.with(at, |progress| {
            progress.expected_end = Some(end);
            progress.end = end;
        });
    }

    pub(super) fn phase(&self, at: &TopicPartition, phase: Phase) {
        self.with(at, |progress| progress.phase = phase);
    }

    pub(super) fn error(&self, at: &TopicPartition, error: String) {
        self.with(at, |progress| progress.error = Some(error));
    }

    pub(super) fn count(&self, at: &TopicPartition, applied: &Applied) {
        self.with(at, |progress| {
            if progress.phase != Phase::Reading {
                progress.phase = Phase::Reading;
            }
            let begun = *progress.begun.get_or_insert_with(Instant::now);
            progress.records += applied.records as u64;
            progress.dropped += applied.dropped as u64;
            progress.parked += applied.parked as u64;
            progress.rows += applied.rows as u64;
            let seconds = begun.elapsed().as_secs_f64().max(0.001);
            progress.records_per_s = (progress.records as f64 / seconds).round();
        });
    }

    pub(super) fn report(&self, report: &PartitionReport) {
        self.with(&report.at, |progress| {
            if let Some(position) = report.position {
                progress.next_offset = position.next_offset;
            }
            if let Some(behind) = report.behind {
                let left = progress.end.saturating_sub(progress.next_offset);
                progress.behind = behind.min(left);
                progress.error = None;
            }
        });
    }

    fn with(&self, at: &TopicPartition, change: impl FnOnce(&mut PartitionProgress)) {
        let held = self.partitions.lock();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        change(held.entry(at.clone()).or_default());
    }
}
