//! Finished aggregates that have left memory, and their way back.
//!
//! An aggregate leaves with its last snapshot; what stays is where that record is: a hash of the
//! id, and an offset. A command for it waits until the record was fetched. After a take-over the
//! aggregates in memory are served at once; where the others are is read in the background, and
//! until then a command for an id that is not in memory waits, because it can't be told whether
//! the id was ever used.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cartwright_event_log::{
    EventLog, LogError, LogReader, ReaderPurpose, Start, TopicPartition, read_to,
};
use cartwright_events::Timestamp;

use crate::snapshots::format::{Assembler, Unreadable, Whole, aggregate_at};

/// 128 bits of an id: two ids that share them are not to be expected (one chance in 10^24 among
/// ten million), and would be noticed, since the record names the id.
type IdHash = (u64, u64);

fn hash(id: &str) -> IdHash {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, id).hash(&mut hasher);
        hasher.finish()
    };
    (half(0), half(1))
}

/// Something that the archive asks of whoever drives the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveAsk {
    /// Which take-over asks; the answer to an earlier one is ignored.
    take_over: u64,
    what: Ask,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ask {
    /// Where are all that left memory before this offset?
    Scan { to: u64 },
    /// The last snapshot of this aggregate, which is at this offset.
    Fetch { aggregate_id: String, offset: u64 },
}

/// The answer to an [`ArchiveAsk`].
#[derive(Debug)]
pub struct ArchiveAnswer {
    take_over: u64,
    what: Found,
}

#[derive(Debug)]
enum Found {
    Index(HashMap<IdHash, u64>),
    Snapshot {
        aggregate_id: String,
        whole: Result<Whole, Unreadable>,
    },
}

impl ArchiveAsk {
    /// Reads the answer from the partition of the snapshots topic. Blocks, for a scan as long as it
    /// takes to read the whole partition.
    ///
    /// # Errors
    /// The log's; ask again after a pause.
    pub fn answer<L: EventLog>(
        &self,
        log: &L,
        snapshots: &TopicPartition,
        stall: Duration,
    ) -> Result<ArchiveAnswer, LogError> {
        let stopped = AtomicBool::new(false);
        let answer = self.answer_unless(&stopped, log, snapshots, stall)?;
        // Nobody can stop it.
        answer.ok_or_else(|| LogError::Unavailable {
            reason: "the scan was stopped".to_owned(),
        })
    }

    /// As [`answer`](Self::answer); `None` soon after `stopped` was set.
    pub(crate) fn answer_unless<L: EventLog>(
        &self,
        stopped: &AtomicBool,
        log: &L,
        snapshots: &TopicPartition,
        stall: Duration,
    ) -> Result<Option<ArchiveAnswer>, LogError> {
        let mut reader = log.reader(ReaderPurpose::Recovery)?;
        let what = match &self.what {
            Ask::Scan { to } => match scan(&mut reader, snapshots, *to, stall, stopped) {
                Ok(index) => Found::Index(index),
                Err(ScanEnd::Stopped) => return Ok(None),
                Err(ScanEnd::Log(error)) => return Err(error),
            },
            Ask::Fetch {
                aggregate_id,
                offset,
            } => Found::Snapshot {
                aggregate_id: aggregate_id.clone(),
                whole: fetch(&mut reader, snapshots, aggregate_id, *offset, stall)?,
            },
        };
        Ok(Some(ArchiveAnswer {
            take_over: self.take_over,
            what,
        }))
    }
}

/// Why a scan ended before it was done.
#[derive(Debug, PartialEq)]
enum ScanEnd {
    /// Nobody wants it any more.
    Stopped,
    Log(LogError),
}

impl From<LogError> for ScanEnd {
    fn from(error: LogError) -> Self {
        ScanEnd::Log(error)
    }
}

fn scan<R: LogReader>(
    reader: &mut R,
    snapshots: &TopicPartition,
    to: u64,
    stall: Duration,
    stopped: &AtomicBool,
) -> Result<HashMap<IdHash, u64>, ScanEnd> {
    let mut index = HashMap::new();
    reader.assign(&[(snapshots.clone(), Start::Beginning)])?;
    read_to(reader, &[(snapshots.clone(), to)], stall, |record| {
        if stopped.load(Ordering::Relaxed) {
            return Err(ScanEnd::Stopped);
        }
        if let Some((id, finished)) = aggregate_at(&record)
            && record.offset < to
        {
            if finished {
                index.insert(hash(id), record.offset);
            } else {
                index.remove(&hash(id));
            }
        }
        Ok(())
    })?;
    index.shrink_to_fit();
    Ok(index)
}

fn fetch<R: LogReader>(
    reader: &mut R,
    snapshots: &TopicPartition,
    aggregate_id: &str,
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
                Ok(Some(whole)) if whole.offset == offset && whole.name == aggregate_id => {
                    return Ok(Ok(whole));
                }
                Ok(Some(whole)) => {
                    let problem = format!("it is not {aggregate_id} but {}", whole.name);
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

/// Where an aggregate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// Where commands are decided.
    InMemory,
    /// It has left memory.
    Archived,
    /// There is none of that id.
    Nowhere,
    /// Not known yet: the index is being read.
    NotKnownYet,
}

/// The archive of one shard, as of one take-over.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    take_over: u64,
    index: HashMap<IdHash, u64>,
    /// Records before this offset have still to be read.
    scan_to: Option<u64>,
    /// Aggregates that came back and have not changed since, and where their records are.
    unchanged: HashMap<String, u64>,
    /// Aggregates in memory that may leave, by when they were last changed.
    leaving: VecDeque<(Timestamp, String)>,
    /// What was asked for and has not come.
    awaited: HashSet<String>,
    asks: Vec<ArchiveAsk>,
}

impl Archive {
    /// After take-over number `take_over`, with what it saw; records before `scan_to` it did not
    /// read.
    pub(crate) fn after(
        take_over: u64,
        seen: impl IntoIterator<Item = (String, u64)>,
        scan_to: Option<u64>,
    ) -> Self {
        let index = seen.into_iter().map(|(id, offset)| (hash(&id), offset));
        let mut archive = Self {
            take_over,
            index: index.collect(),
            scan_to,
            ..Self::default()
        };
        if let Some(to) = scan_to {
            archive.ask(Ask::Scan { to });
        }
        archive
    }

    fn ask(&mut self, what: Ask) {
        self.asks.push(ArchiveAsk {
            take_over: self.take_over,
            what,
        });
    }

    /// What the driver has to find out.
    pub(crate) fn take_asks(&mut self) -> Vec<ArchiveAsk> {
        std::mem::take(&mut self.asks)
    }

    /// Whether no aggregate is known to have left, nor can have.
    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty() && self.unchanged.is_empty() && self.scan_to.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes that it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        32 * self.index.len() + 96 * self.unchanged.len() + 64 * self.leaving.len()
    }

    /// Whether it is known what has left memory.
    pub(crate) fn knows_all(&self) -> bool {
        self.scan_to.is_none()
    }

    /// Where an aggregate that is not in memory is. One that has left is asked for.
    pub(crate) fn look_for(&mut self, aggregate_id: &str) -> Whereabouts {
        match self.index.get(&hash(aggregate_id)) {
            Some(&offset) => {
                if self.awaited.insert(aggregate_id.to_owned()) {
                    self.ask(Ask::Fetch {
                        aggregate_id: aggregate_id.to_owned(),
                        offset,
                    });
                }
                Whereabouts::Archived
            }
            None if self.scan_to.is_some() => Whereabouts::NotKnownYet,
            None => Whereabouts::Nowhere,
        }
    }

    /// Takes an answer in. Gives the aggregate that it brings; `in_memory` are the ids that the scan
    /// may have found although they came back since.
    pub(crate) fn take<'a>(
        &mut self,
        answer: ArchiveAnswer,
        in_memory: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Whole>, Unreadable> {
        if answer.take_over != self.take_over {
            return Ok(None);
        }
        match answer.what {
            Found::Index(mut found) => {
                for id in in_memory {
                    found.remove(&hash(id));
                }
                found.extend(std::mem::take(&mut self.index));
                self.index = found;
                self.scan_to = None;
                Ok(None)
            }
            Found::Snapshot {
                aggregate_id,
                whole,
            } => {
                let whole = whole?;
                self.awaited.remove(&aggregate_id);
                self.index.remove(&hash(&aggregate_id));
                self.unchanged.insert(aggregate_id, whole.offset);
                Ok(Some(whole))
            }
        }
    }

    /// The aggregate has events in this transaction. Answers whether its snapshot has to go with
    /// them: without it, a take-over would not have what they apply to.
    pub(crate) fn changed(&mut self, aggregate_id: &str) -> bool {
        self.unchanged.remove(aggregate_id).is_some()
    }

    /// The aggregate may leave once it has been left alone for long enough.
    pub(crate) fn may_leave(&mut self, since: Timestamp, aggregate_id: String) {
        self.leaving.push_back((since, aggregate_id));
    }

    /// When the next one may leave.
    pub(crate) fn next_leaving(&self, after_ms: i64, most: usize) -> Option<Timestamp> {
        let (since, _) = self.leaving.front()?;
        let crowded = self.leaving.len() > most;
        Some(if crowded {
            *since
        } else {
            since.plus_millis(after_ms)
        })
    }

    /// The next one that may leave at `now`.
    pub(crate) fn pop_leaving(
        &mut self,
        now: Timestamp,
        after_ms: i64,
        most: usize,
    ) -> Option<String> {
        let due = self.next_leaving(after_ms, most)?;
        if due > now {
            return None;
        }
        self.leaving.pop_front().map(|(_, id)| id)
    }

    /// Where the unchanged record of an aggregate that came back is.
    pub(crate) fn unchanged_at(&self, aggregate_id: &str) -> Option<u64> {
        self.unchanged.get(aggregate_id).copied()
    }

    /// The aggregate has left; its last snapshot is at `offset`.
    pub(crate) fn left(&mut self, aggregate_id: &str, offset: u64) {
        self.unchanged.remove(aggregate_id);
        self.index.insert(hash(aggregate_id), offset);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwright_event_log::memory::MemoryLog;
    use cartwright_event_log::{LogWriter, NewRecord};

    use super::*;

    /// A shard that lets go of its partition in the middle of a scan does not wait for its end.
    #[test]
    fn a_scan_ends_when_nobody_wants_it_any_more() {
        let (log, at) = (MemoryLog::new(), TopicPartition::new("snapshots", 0));
        log.create_topic("snapshots", 1);
        let mut writer = log.writer("shard").expect("a writer");
        writer.take_over().expect("a take-over");
        let record = NewRecord {
            topic: Arc::from("snapshots"),
            partition: 0,
            key: b"aggregate/0/a".to_vec(),
            value: Some(Vec::new()),
            headers: vec![("kind", b"finished".to_vec())],
        };
        writer.commit(vec![record; 3]).expect("a commit");
        let scan = |stopped: bool| {
            let mut reader = log.reader(ReaderPurpose::Recovery).expect("a reader");
            let stopped = AtomicBool::new(stopped);
            scan(&mut reader, &at, 4, Duration::from_millis(50), &stopped)
        };
        assert_eq!(scan(true), Err(ScanEnd::Stopped));
        assert_eq!(scan(false).map(|index| index.len()), Ok(1));
    }
}
