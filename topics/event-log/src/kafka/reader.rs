//! Readers of named partitions.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;
use super::fetcher::Fetcher;
use super::options::KafkaOptions;
use crate::{LogError, LogReader, ReaderPurpose, Record, Start, TopicPartition};

/// See [`LogReader`].
pub struct KafkaReader {
    options: Arc<KafkaOptions>,
    cluster: Arc<Cluster>,
    purpose: ReaderPurpose,
    fetcher: Option<Fetcher>,
}

impl KafkaReader {
    pub(super) fn new(
        options: Arc<KafkaOptions>,
        cluster: Arc<Cluster>,
        purpose: ReaderPurpose,
    ) -> Self {
        Self {
            options,
            cluster,
            purpose,
            fetcher: None,
        }
    }

    fn assigned(&self, at: &TopicPartition) -> Result<&Fetcher, LogError> {
        self.fetcher
            .as_ref()
            .ok_or_else(|| LogError::NotAssigned(at.clone()))
    }
}

impl LogReader for KafkaReader {
    /// With a consumer of its own: the position of a partition that one consumer
    /// reads a second time is the earlier one for a while.
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        self.fetcher = None;
        let config = self.options.reader(self.purpose);
        let mut fetcher = Fetcher::new(&config, &self.cluster)?;
        fetcher.assign(partitions)?;
        self.fetcher = Some(fetcher);
        Ok(())
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        match &mut self.fetcher {
            Some(fetcher) => fetcher.poll(max, timeout),
            None => {
                thread::sleep(timeout);
                Ok(Vec::new())
            }
        }
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.assigned(at)?.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.cluster.watermarks(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        match partitions.first() {
            Some(at) => self.assigned(at)?.set_paused(partitions, true),
            None => Ok(()),
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        match partitions.first() {
            Some(at) => self.assigned(at)?.set_paused(partitions, false),
            None => Ok(()),
        }
    }
}
