//! A log in memory whose readers misbehave when told to, those of one topic above all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cartwright_event_log::memory::{MemoryGroupReader, MemoryLog, MemoryReader, MemoryWriter};
use cartwright_event_log::{
    EventLog, LogError, LogReader, OpenTransaction, ReaderPurpose, Record, Start, TopicPartition,
};

/// What a reader does that reads the topic, and nothing else: from its beginning, where nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Bent {
    /// Nothing unusual.
    #[default]
    Not,
    /// It brings nothing.
    #[allow(
        dead_code,
        reason = "two suites share this file, and one of them needs no silence"
    )]
    Silent,
    /// It brings nothing until it is sent there anew, as one that has missed that there is more.
    #[allow(
        dead_code,
        reason = "two suites share this file, and one of them has no use for it"
    )]
    Deaf,
    /// It brings nothing of any place in [`LATE_POLLS`] polls after it was sent there.
    #[allow(
        dead_code,
        reason = "two suites share this file, and one of them has no use for it"
    )]
    Late,
    /// It panics.
    Broken,
}

/// Of 50 ms each, in which a page of the archive's index is waited for.
const LATE_POLLS: u32 = 10;

#[derive(Clone)]
pub(crate) struct BentLog {
    pub(crate) log: MemoryLog,
    topic: &'static str,
    bent: Arc<Mutex<Bent>>,
    ends: Arc<Mutex<BTreeMap<TopicPartition, (u64, u64)>>>,
    deaf: Arc<Mutex<Option<(ReaderPurpose, TopicPartition)>>>,
}

impl BentLog {
    /// All is as it should be, until a reader of `topic` is bent.
    pub(crate) fn new(log: MemoryLog, topic: &'static str) -> Self {
        Self {
            log,
            topic,
            bent: Arc::default(),
            ends: Arc::default(),
            deaf: Arc::default(),
        }
    }

    /// What readers are told from now on of where partitions end, high watermark and last stable offset:
    /// the truth where nothing is said.
    #[allow(
        dead_code,
        reason = "two suites share this file, and one has no use for it"
    )]
    pub(crate) fn say_ends(&self, ends: BTreeMap<TopicPartition, (u64, u64)>) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// The next reader of the partition for this purpose brings nothing of it, as one that has missed that
    /// there is more.
    #[allow(
        dead_code,
        reason = "two suites share this file, and one has no use for it"
    )]
    pub(crate) fn deafen_next(&self, purpose: ReaderPurpose, at: TopicPartition) {
        *self.deaf.lock().unwrap_or_else(PoisonError::into_inner) = Some((purpose, at));
    }

    /// Whether the reader that was to be deaf has begun.
    #[allow(
        dead_code,
        reason = "two suites share this file, and one has no use for it"
    )]
    pub(crate) fn is_deaf(&self) -> bool {
        let deaf = self.deaf.lock().unwrap_or_else(PoisonError::into_inner);
        deaf.is_none()
    }

    fn bent(&self) -> Bent {
        *self.bent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bend(&self, bent: Bent) {
        *self.bent.lock().unwrap_or_else(PoisonError::into_inner) = bent;
    }
}

pub(crate) struct BentReader {
    reader: MemoryReader,
    log: BentLog,
    purpose: ReaderPurpose,
    reads_it: bool,
    polls: u32,
    unpaused: Vec<TopicPartition>,
    /// It brings nothing of these until it is sent there anew.
    deaf: Vec<TopicPartition>,
}

impl EventLog for BentLog {
    type Writer = MemoryWriter;
    type Reader = BentReader;
    type GroupReader = MemoryGroupReader;

    fn writer(&self, transactional_id: &str) -> Result<MemoryWriter, LogError> {
        self.log.writer(transactional_id)
    }

    fn reader(&self, purpose: ReaderPurpose) -> Result<BentReader, LogError> {
        Ok(BentReader {
            reader: self.log.reader(purpose)?,
            log: self.clone(),
            purpose,
            reads_it: false,
            polls: 0,
            unpaused: Vec::new(),
            deaf: Vec::new(),
        })
    }

    fn group_reader(&self, group: &str, topics: &[&str]) -> Result<MemoryGroupReader, LogError> {
        self.log.group_reader(group, topics)
    }

    fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partition_count(topic)
    }

    fn open_transactions(&self, at: &TopicPartition) -> Result<Vec<OpenTransaction>, LogError> {
        self.log.open_transactions(at)
    }
}

impl BentReader {
    fn reads_nothing_else(&self) -> bool {
        self.unpaused.iter().all(|at| *at.topic == *self.log.topic)
    }

    /// How many records of the topic come before the end that is said, if one is, and it alone is read.
    fn room(&self) -> Option<usize> {
        let at = self
            .unpaused
            .first()
            .filter(|at| *at.topic == *self.log.topic)?;
        let ends = self.log.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let (high, _) = *ends.get(at)?;
        let position = self.reader.position(at).ok()?;
        Some(usize::try_from(high.saturating_sub(position)).unwrap_or(usize::MAX))
    }
}

impl LogReader for BentReader {
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        let is_it = |(at, start): &(TopicPartition, Start)| {
            *at.topic == *self.log.topic && *start == Start::Beginning
        };
        self.reads_it = partitions.iter().all(is_it);
        self.polls = 0;
        self.unpaused = partitions.iter().map(|(at, _)| at.clone()).collect();
        self.reader.assign(partitions)?;
        let mut deaf = self.log.deaf.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = deaf.take_if(|(purpose, deaf)| {
            *purpose == self.purpose && partitions.iter().any(|(at, _)| at == deaf)
        });
        self.deaf = meant.map(|(_, at)| at).into_iter().collect();
        if self.reads_it && self.log.bent() == Bent::Deaf {
            self.deaf.clone_from(&self.unpaused);
        }
        self.reader.pause(&self.deaf)
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        if let Some(most) = self.room() {
            // One at a time: control records take offsets too.
            return self.reader.poll(most.min(1), timeout);
        }
        self.polls += 1;
        let is_late = self.polls <= LATE_POLLS && self.reads_nothing_else();
        match self.log.bent() {
            Bent::Late if is_late => Ok(Vec::new()),
            Bent::Silent if self.reads_it => Ok(Vec::new()),
            Bent::Broken if self.reads_it => panic!("a broken reader"),
            _ => self.reader.poll(max, timeout),
        }
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.reader.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        let (low, high) = self.reader.watermarks(at)?;
        let ends = self.log.ends.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((low, ends.get(at).map_or(high, |(high, _)| *high)))
    }

    fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        let stable = self.reader.stable_end(at)?;
        let ends = self.log.ends.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ends.get(at).map_or(stable, |(_, stable)| *stable))
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.unpaused.retain(|at| !partitions.contains(at));
        self.reader.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.unpaused.extend_from_slice(partitions);
        let heard = partitions.iter().filter(|at| !self.deaf.contains(at));
        let heard: Vec<_> = heard.cloned().collect();
        self.reader.resume(&heard)
    }
}
