//! What the archive asks of whoever drives the shard, and the answers.

use std::time::Duration;

use cartwright_event_log::{EventLog, LogError, LogReader, ReaderPurpose, Start, TopicPartition};

use super::{Paged, Scan, Scanned};
use crate::snapshots::format::{Assembler, Unreadable, Whole};

/// The longest that a fetch may stand still before it is given up for now: others wait behind it.
const FETCH_STALL: Duration = Duration::from_secs(5);
/// After so many of them what was to be fetched can't be read.
const STALLS: u32 = 5;

/// Something that the archive asks of whoever drives the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveAsk {
    /// Since which take-over the archive that asks is kept; the answer to an earlier one is ignored.
    pub(super) take_over: u64,
    pub(super) what: Ask,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Where are all that left memory before this offset? There are these pages.
    Scan { paged: Paged, to: u64 },
    /// The last snapshot of this aggregate, which is at this offset.
    Fetch { aggregate_id: String, offset: u64 },
}

/// The answer to an [`ArchiveAsk`].
#[derive(Debug)]
pub struct ArchiveAnswer {
    pub(super) take_over: u64,
    pub(super) what: Found,
}

#[derive(Debug)]
pub(super) enum Found {
    Index(Scanned),
    Snapshot {
        aggregate_id: String,
        /// Where it was asked for.
        offset: u64,
        whole: Result<Whole, Unreadable>,
    },
}

impl ArchiveAsk {
    /// Reads the answer from the partition of the snapshots topic. Blocks, for a scan as long as it
    /// takes to read all pages of the index, or without them the whole partition.
    ///
    /// # Errors
    /// The log's; ask again after a pause.
    pub fn answer<L: EventLog>(
        &self,
        log: &L,
        snapshots: &TopicPartition,
        stall: Duration,
    ) -> Result<ArchiveAnswer, LogError> {
        let mut errand = Errand::<L>::new(self.clone());
        loop {
            if let Some(answer) = errand.go_on(log, snapshots, stall)? {
                return Ok(answer);
            }
        }
    }
}

/// An ask on its way to the answer, which for a scan takes many steps.
pub(super) struct Errand<L: EventLog> {
    ask: ArchiveAsk,
    scan: Option<Scan<L::Reader>>,
    stalls: u32,
}

impl<L: EventLog> Errand<L> {
    pub(super) fn new(ask: ArchiveAsk) -> Self {
        Self {
            ask,
            scan: None,
            stalls: 0,
        }
    }

    /// One step. `None`: go on.
    ///
    /// # Errors
    /// The log's: go on after a pause. A record that does not come time after time is answered as one
    /// that can't be read, so that the shard makes its state from the events.
    pub(super) fn go_on(
        &mut self,
        log: &L,
        snapshots: &TopicPartition,
        stall: Duration,
    ) -> Result<Option<ArchiveAnswer>, LogError> {
        let what = match &self.ask.what {
            Ask::Scan { paged, to } => {
                let scan = match &mut self.scan {
                    Some(scan) => scan,
                    none => {
                        let reader = log.reader(ReaderPurpose::Recovery)?;
                        none.insert(Scan::new(reader, snapshots.clone(), paged.clone(), *to))
                    }
                };
                match scan.read_on(stall)? {
                    Some(found) => Found::Index(found),
                    None => return Ok(None),
                }
            }
            Ask::Fetch {
                aggregate_id,
                offset,
            } => {
                let mut reader = log.reader(ReaderPurpose::Recovery)?;
                let stall = stall.min(FETCH_STALL);
                let unreadable = |problem| {
                    Err(Unreadable {
                        offset: *offset,
                        problem,
                    })
                };
                let whole = match whole_at(&mut reader, snapshots, *offset, stall) {
                    Ok(Ok(whole)) if whole.name != *aggregate_id => {
                        unreadable(format!("it is not {aggregate_id} but {}", whole.name))
                    }
                    Err(LogError::Stalled { .. }) if self.stalls + 1 >= STALLS => {
                        unreadable(format!("it did not come in {STALLS} times {stall:?}"))
                    }
                    Err(error @ LogError::OutOfRange { .. }) => unreadable(error.to_string()),
                    fetched => {
                        self.stalls += u32::from(matches!(fetched, Err(LogError::Stalled { .. })));
                        fetched?
                    }
                };
                Found::Snapshot {
                    aggregate_id: aggregate_id.clone(),
                    offset: *offset,
                    whole,
                }
            }
        };
        Ok(Some(ArchiveAnswer {
            take_over: self.ask.take_over,
            what,
        }))
    }
}

/// The value whose first record is at `offset`.
pub(super) fn whole_at<R: LogReader>(
    reader: &mut R,
    snapshots: &TopicPartition,
    offset: u64,
    stall: Duration,
) -> Result<Result<Whole, Unreadable>, LogError> {
    const RECORDS: usize = 64;
    const POLL: Duration = Duration::from_millis(50);
    let unreadable = |problem: String| Err(Unreadable { offset, problem });
    reader.assign(&[(snapshots.clone(), Start::Offset(offset))])?;
    let mut assembler = Assembler::default();
    let mut idle = 0;
    while u128::from(idle) * POLL.as_millis() <= stall.as_millis() {
        let records = reader.poll(RECORDS, POLL)?;
        idle += u32::from(records.is_empty());
        for record in records {
            match assembler.take(&record) {
                Ok(None) => {}
                Ok(Some(whole)) if whole.offset == offset => return Ok(Ok(whole)),
                Ok(Some(whole)) => {
                    let problem = format!("{} at offset {} is next", whole.name, whole.offset);
                    return Ok(unreadable(problem));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    Err(LogError::Stalled {
        at: snapshots.clone(),
        position: offset,
        end: offset + 1,
        waited_ms: u64::try_from(stall.as_millis()).unwrap_or(u64::MAX),
    })
}
