//! Finished aggregates that have left memory, and their way back.
//!
//! An aggregate leaves with its last snapshot; what stays is where that record is: a hash of the
//! id, and an offset. A command for it waits until the record was fetched. After a take-over the
//! aggregates in memory are served at once. Where the others are, the index, a shard that stood by has
//! read before; otherwise it is read in the background, from its [pages], and until then a command for an
//! id that is not in memory waits, because it can't be told whether the id was ever used. A shard that
//! reads its own log back after a doubt keeps its index.

mod asks;
mod pages;
mod reader;
mod scan;

use std::collections::{HashMap, HashSet, VecDeque};

use cartwright_events::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::snapshots::format::{Unreadable, Whole};
pub use asks::{ArchiveAnswer, ArchiveAsk};
use asks::{Ask, Found};
use pages::{Departure, Pages};
pub(crate) use pages::{NextPage, Paged};
pub(crate) use reader::ArchiveReader;
pub(crate) use scan::{Scan, Scanned};

/// 128 bits of an id's SHA-256: two ids that share them are not to be expected (one chance in 10^24 among
/// ten million), nor can be made, and would be noticed, since the record names the id. It is kept in
/// pages: another hash is another format.
type IdHash = (u64, u64);

fn hash(id: &str) -> IdHash {
    let digest = Sha256::digest(id);
    let (halves, _) = digest.as_chunks();
    (u64::from_be_bytes(halves[0]), u64::from_be_bytes(halves[1]))
}

/// Where the last snapshots are of aggregates that have left memory.
pub(crate) type Index = HashMap<IdHash, u64>;

/// What an entry of the index takes in memory, about: its 24 bytes, in a table that is never full and
/// twice as large for a while when it grows (measured: docs/measurements.md).
const ENTRY_BYTES: usize = 66;

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

/// What is known of the aggregates that left memory before the records that a take-over has read.
pub(crate) enum Earlier {
    /// Where all of them are.
    Known(Scanned),
    /// Nothing: they are to be looked for in these pages, and behind them before this offset.
    Unread { paged: Paged, to: u64 },
}

/// The archive of one shard: only what is committed is ever in it.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// The take-over since which it is kept.
    take_over: u64,
    index: Index,
    pages: Pages,
    /// Records before this offset have still to be read.
    scan_to: Option<u64>,
    /// All that was written before this offset, and from `scan_to` on, is in the index or in memory.
    known_to: u64,
    /// Aggregates that came back and have not changed since, and where their records are.
    unchanged: HashMap<String, u64>,
    /// Aggregates in memory that may leave, by when they were last changed.
    leaving: VecDeque<(Timestamp, String)>,
    /// What was asked for and has not come.
    awaited: HashSet<String>,
    asks: Vec<ArchiveAsk>,
}

impl Archive {
    /// After take-over number `take_over`, which has read the records from `read_from` on and has
    /// `earlier` of those before.
    pub(crate) fn after(take_over: u64, earlier: Earlier, read_from: u64) -> Self {
        let mut archive = Self {
            take_over,
            known_to: read_from,
            ..Self::default()
        };
        match earlier {
            Earlier::Known(Scanned { index, pages }) => {
                archive.index = index;
                archive.pages = pages;
            }
            Earlier::Unread { paged, to } => archive.scan(paged, to),
        }
        archive
    }

    /// Whether a take-over that reads the records from `read_from` on need not look for what was
    /// before. If not, another process has written a round meanwhile.
    pub(crate) fn reaches(&self, read_from: u64) -> bool {
        self.known_to >= read_from
    }

    /// What had left memory as of the last commit that is certain, after a doubt: nothing is in memory
    /// any more. What a transaction of unknown outcome did is in the records that the take-over reads.
    pub(crate) fn without_memory(mut self) -> Self {
        for (id, offset) in self.unchanged.drain() {
            self.index.insert(hash(&id), offset);
        }
        self.leaving.clear();
        self
    }

    /// What a take-over has found: what is in memory, and what it saw leave.
    pub(crate) fn settle<'a>(
        &mut self,
        in_memory: impl Iterator<Item = &'a str>,
        left: impl IntoIterator<Item = (String, u64)>,
    ) {
        if !self.index.is_empty() {
            for id in in_memory {
                self.index.remove(&hash(id));
                self.awaited.remove(id);
            }
        }
        let left = left.into_iter().map(|(id, offset)| {
            // What was asked for may be an older record.
            self.awaited.remove(&id);
            (hash(&id), offset)
        });
        let left = left.collect();
        self.all_left(left);
    }

    /// These have left, by records that were read or committed together.
    fn all_left(&mut self, mut departures: Vec<Departure>) {
        departures.sort_by_key(|(_, offset)| *offset);
        for (id, offset) in departures {
            self.index.insert(id, offset);
            self.pages.note(id, offset);
            self.written(offset);
        }
    }

    fn scan(&mut self, paged: Paged, to: u64) {
        self.pages = Pages::new(paged.clone(), Vec::new());
        self.scan_to = Some(to);
        self.ask(Ask::Scan { paged, to });
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
        ENTRY_BYTES * self.index.len()
            + self.pages.bytes()
            + 96 * self.unchanged.len()
            + 64 * self.leaving.len()
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
            Found::Index(Scanned { mut index, pages }) => {
                for id in in_memory {
                    index.remove(&hash(id));
                }
                index.extend(std::mem::take(&mut self.index));
                self.index = index;
                self.pages = pages.followed_by(std::mem::take(&mut self.pages));
                self.scan_to = None;
                Ok(None)
            }
            Found::Snapshot {
                aggregate_id,
                offset,
                whole,
            } => {
                // Asked for before a doubt: another process may have had it back, and let it leave again
                // with another record.
                let is_last = self.index.get(&hash(&aggregate_id)) == Some(&offset);
                if !is_last || !self.awaited.remove(&aggregate_id) {
                    return Ok(None);
                }
                let whole = whole?;
                self.index.remove(&hash(&aggregate_id));
                self.unchanged.insert(aggregate_id, whole.offset);
                Ok(Some(whole))
            }
        }
    }

    /// The aggregate has events in a transaction that is committed.
    pub(crate) fn changed(&mut self, aggregate_id: &str) {
        self.unchanged.remove(aggregate_id);
    }

    /// A snapshot at `offset` is committed, and all before it are known.
    pub(crate) fn written(&mut self, offset: u64) {
        self.known_to = self.known_to.max(offset + 1);
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

    /// Where the record of an aggregate is that came back and has not changed since. With its next
    /// event its snapshot has to be written: without it, a take-over would not have what that applies
    /// to.
    pub(crate) fn unchanged_at(&self, aggregate_id: &str) -> Option<u64> {
        self.unchanged.get(aggregate_id).copied()
    }

    /// The aggregates have left with one transaction; their last snapshots are at these offsets.
    pub(crate) fn left(&mut self, aggregates: impl IntoIterator<Item = (String, u64)>) {
        let aggregates = aggregates.into_iter();
        let departures = aggregates.map(|(id, offset)| {
            self.unchanged.remove(&id);
            (hash(&id), offset)
        });
        let departures = departures.collect();
        self.all_left(departures);
    }

    /// An aggregate that came back and has not changed since has left again.
    pub(crate) fn left_unchanged(&mut self, aggregate_id: &str) {
        if let Some(offset) = self.unchanged.remove(aggregate_id) {
            self.index.insert(hash(aggregate_id), offset);
        }
    }

    /// Where the pages of the index are.
    pub(crate) fn paged(&self) -> &Paged {
        self.pages.paged()
    }

    /// The next page of the index, of `len` entries, if it is due, and what it holds.
    pub(crate) fn next_page(&self, len: usize) -> Option<(NextPage, String)> {
        // Those that the scan will find come first.
        let page = self.pages.next(len, self.known_to)?;
        self.knows_all().then(|| (page, self.pages.content(page)))
    }

    /// The page is committed, at `offset`.
    pub(crate) fn page_written(&mut self, page: NextPage, offset: u64) {
        self.pages.written(page, offset);
    }
}
