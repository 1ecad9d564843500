//! A log in memory whose readers for one purpose panic when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cartwright_event_log::memory::{MemoryGroupReader, MemoryLog, MemoryReader, MemoryWriter};
use cartwright_event_log::{
    EventLog, LogError, LogReader, OpenTransaction, ReaderPurpose, Record, Start, TopicPartition,
};

#[derive(Clone)]
pub(crate) struct BentLog {
    pub(crate) log: MemoryLog,
    pub(crate) purpose: ReaderPurpose,
    pub(crate) breaks: Arc<AtomicBool>,
}

pub(crate) struct BentReader {
    reader: MemoryReader,
    breaks: Option<Arc<AtomicBool>>,
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
            breaks: (purpose == self.purpose).then(|| Arc::clone(&self.breaks)),
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
        self.reader.assign(partitions)
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        let breaks = self.breaks.as_ref();
        let breaks = breaks.is_some_and(|breaks| breaks.load(Ordering::Relaxed));
        assert!(!breaks, "a bent reader");
        self.reader.poll(max, timeout)
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
