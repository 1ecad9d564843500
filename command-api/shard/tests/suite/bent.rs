//! A log in memory whose readers of one topic misbehave when told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cartwright_event_log::memory::{MemoryGroupReader, MemoryLog, MemoryReader, MemoryWriter};
use cartwright_event_log::{
    EventLog, LogError, LogReader, OpenTransaction, ReaderPurpose, Record, Start, TopicPartition,
};

/// What a reader does that reads the topic, and nothing else, from its beginning.
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
    /// It panics.
    Broken,
}

#[derive(Clone)]
pub(crate) struct BentLog {
    pub(crate) log: MemoryLog,
    topic: &'static str,
    bent: Arc<Mutex<Bent>>,
}

impl BentLog {
    /// All is as it should be, until a reader of `topic` is bent.
    pub(crate) fn new(log: MemoryLog, topic: &'static str) -> Self {
        Self {
            log,
            topic,
            bent: Arc::default(),
        }
    }

    pub(crate) fn bend(&self, bent: Bent) {
        *self.bent.lock().unwrap_or_else(PoisonError::into_inner) = bent;
    }
}

pub(crate) struct BentReader {
    reader: MemoryReader,
    log: BentLog,
    reads_it: bool,
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
            reads_it: false,
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

impl LogReader for BentReader {
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        let is_it = |(at, start): &(TopicPartition, Start)| {
            *at.topic == *self.log.topic && *start == Start::Beginning
        };
        self.reads_it = partitions.iter().all(is_it);
        self.reader.assign(partitions)
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        let bent = *self.log.bent.lock().unwrap_or_else(PoisonError::into_inner);
        match bent {
            Bent::Silent if self.reads_it => Ok(Vec::new()),
            Bent::Broken if self.reads_it => panic!("a broken reader"),
            _ => self.reader.poll(max, timeout),
        }
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.reader.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.reader.watermarks(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader.resume(partitions)
    }
}
