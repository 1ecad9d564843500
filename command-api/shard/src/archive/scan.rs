//! Reading where everything is that has left memory: the pages of the index, and the snapshots since.

use std::time::Duration;

use cartwright_event_log::{LogError, LogReader, Start, TopicPartition, read_to};

use super::asks::whole_at;
use super::pages::{self, Departure, Paged, Pages};
use super::{Index, hash};
use crate::snapshots::format::{Unreadable, aggregate_at};

/// Offsets read at a time.
const OFFSETS: u64 = 20_000;

/// Finds where all are that left memory before an offset, a little at a time, so that whoever reads
/// can do something else in between.
pub(crate) struct Scan<R> {
    reader: R,
    snapshots: TopicPartition,
    paged: Paged,
    to: u64,
    pages_read: usize,
    /// Where a reader of the snapshots behind the pages has stood still, if one has.
    stood_at: Option<u64>,
    /// Whether the reader has been sent there, or behind the pages.
    follows: bool,
    index: Index,
    since: Vec<Departure>,
}

/// What a scan has found.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(super) index: Index,
    pub(super) pages: Pages,
}

impl Scanned {
    /// Of a log where nobody has left before this offset.
    pub(crate) fn nobody(to: u64) -> Self {
        let nowhere = Paged {
            to,
            ..Paged::default()
        };
        Self {
            index: Index::new(),
            pages: Pages::new(nowhere, Vec::new()),
        }
    }
}

impl<R: LogReader> Scan<R> {
    pub(crate) fn new(reader: R, snapshots: TopicPartition, paged: Paged, to: u64) -> Self {
        Self {
            reader,
            snapshots,
            paged,
            to,
            pages_read: 0,
            stood_at: None,
            follows: false,
            index: Index::new(),
            since: Vec::new(),
        }
    }

    /// Where the pages are, and the offset before which everything is read in the end.
    pub(crate) fn goal(self) -> (Paged, u64) {
        (self.paged, self.to)
    }

    /// Reads on. Gives what it has found when it has read all; nothing is to be read afterwards.
    ///
    /// # Errors
    /// The log's. What was read is kept: read on after a pause.
    pub(crate) fn read_on(&mut self, stall: Duration) -> Result<Option<Scanned>, LogError> {
        if let Some(&offset) = self.paged.at.get(self.pages_read) {
            self.page(offset, stall)?;
            return Ok(None);
        }
        if !self.follows {
            let start = match self.stood_at.unwrap_or(self.paged.to) {
                0 => Start::Beginning,
                to => Start::Offset(to.max(self.reader.watermarks(&self.snapshots)?.0)),
            };
            self.reader.assign(&[(self.snapshots.clone(), start)])?;
            self.follows = true;
        }
        let (index, since, to) = (&mut self.index, &mut self.since, self.to);
        let position = self.reader.position(&self.snapshots)?;
        let target = to.min(position.saturating_add(OFFSETS));
        let targets = [(self.snapshots.clone(), target)];
        let read = read_to(&mut self.reader, &targets, stall, |record| {
            if let Some((id, finished)) = aggregate_at(&record)
                && record.offset < to
            {
                let id = hash(id);
                if finished {
                    index.insert(id, record.offset);
                    since.push((id, record.offset));
                } else {
                    index.remove(&id);
                }
            }
            Ok::<(), LogError>(())
        });
        if let Err(LogError::Stalled { position, .. }) = read {
            // It can have missed that there is more: it is sent there anew.
            (self.stood_at, self.follows) = (Some(position), false);
        }
        read?;
        if target < to {
            return Ok(None);
        }
        let mut index = std::mem::take(index);
        index.shrink_to_fit();
        let since = std::mem::take(since).into_iter();
        let since = since.filter(|(id, offset)| index.get(id) == Some(offset));
        let pages = Pages::new(self.paged.clone(), since.collect());
        Ok(Some(Scanned { index, pages }))
    }

    /// Reads a page. Without it the others are of no use: every snapshot is read instead, and new pages
    /// are written of what that finds.
    fn page(&mut self, offset: u64, stall: Duration) -> Result<(), LogError> {
        let found = match whole_at(&mut self.reader, &self.snapshots, offset, stall) {
            Err(error @ LogError::OutOfRange { .. }) => Err(Unreadable {
                offset,
                problem: error.to_string(),
            }),
            found => found?,
        };
        match found.and_then(|page| pages::read(&page)) {
            Ok(departures) => {
                // Pages are of one size, and a table that grows is there twice for a while.
                let left = self.paged.at.len() - self.pages_read;
                self.index.reserve(departures.len() * left);
                self.index.extend(departures);
                self.pages_read += 1;
            }
            Err(unreadable) => {
                tracing::warn!(%unreadable, "a page of the archive's index; reading all snapshots");
                self.paged = Paged::default();
                self.pages_read = 0;
                self.index.clear();
            }
        }
        Ok(())
    }
}
