//! Reading records again by the pointers that are kept of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cartwright_event_log::{LogError, LogReader, Record, Start, TopicPartition};

/// Offsets between two wanted records from which on jumping is cheaper than reading.
const MAX_GAP: u64 = 50_000;
/// Records taken from the reader at a time.
const BATCH: usize = 4_096;
/// How long one poll waits. Short: the position may move by control records alone.
const POLL: Duration = Duration::from_millis(5);

/// A pointer to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) offset: u64,
    pub(crate) key: String,
}

/// A pointer, and the record there; `None` when the log holds none.
pub(crate) type Found = (Wanted, Option<Record>);

/// Reads the wanted records of one partition, in their order.
pub(crate) struct Scan {
    reader: Box<dyn LogReader>,
    at: TopicPartition,
    /// Read up to here; `None` before anything is assigned.
    position: Option<u64>,
    wanted: VecDeque<Wanted>,
    found: Vec<Found>,
    bytes: usize,
    max_bytes: usize,
}

impl Scan {
    pub(crate) fn new(reader: Box<dyn LogReader>, at: TopicPartition, max_bytes: usize) -> Self {
        Self {
            reader,
            at,
            position: None,
            wanted: VecDeque::new(),
            found: Vec::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Whether it has nothing to read.
    pub(crate) fn is_idle(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Reads these, in the order of offset, instead of what is left from before.
    pub(crate) fn want(&mut self, wanted: VecDeque<Wanted>) {
        self.wanted = wanted;
    }

    /// Reads until everything has been found, memory is full or the time is up. Answers whether
    /// the first two: then [`Scan::take`] has all that can be had.
    pub(crate) fn advance(&mut self, until: Instant) -> Result<bool, LogError> {
        while let Some(next) = self.wanted.front().map(|wanted| wanted.offset) {
            if self.bytes >= self.max_bytes {
                self.wanted.clear();
                return Ok(true);
            }
            self.go_to(next)?;
            if self.wanted.front().is_none_or(|first| first.offset != next) {
                continue;
            }
            let records = self.reader.poll(BATCH, POLL)?;
            for record in records {
                self.offer(record);
            }
            let position = self.reader.position(&self.at)?;
            self.position = Some(position);
            self.give_up_before(position);
            if Instant::now() >= until && !self.wanted.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was found since the last time, in order.
    pub(crate) fn take(&mut self) -> Vec<Found> {
        self.bytes = 0;
        std::mem::take(&mut self.found)
    }

    fn go_to(&mut self, next: u64) -> Result<(), LogError> {
        let near = |position: u64| position <= next && next - position <= MAX_GAP;
        if self.position.is_some_and(near) {
            return Ok(());
        }
        let (low, _) = self.reader.watermarks(&self.at)?;
        if next < low {
            self.give_up_before(low);
            return Ok(());
        }
        self.reader
            .assign(&[(self.at.clone(), Start::Offset(next))])?;
        self.position = Some(next);
        Ok(())
    }

    fn offer(&mut self, record: Record) {
        self.give_up_before(record.offset);
        if self.wanted.front().map(|first| first.offset) == Some(record.offset)
            && let Some(wanted) = self.wanted.pop_front()
        {
            self.bytes += record.value.as_ref().map_or(0, Vec::len);
            self.found.push((wanted, Some(record)));
        }
    }

    /// What is wanted before `offset` is not there.
    fn give_up_before(&mut self, offset: u64) {
        while self
            .wanted
            .front()
            .is_some_and(|first| first.offset < offset)
            && let Some(missing) = self.wanted.pop_front()
        {
            self.found.push((missing, None));
        }
    }
}
