//! Kafka through librdkafka.

mod cluster;
mod commit;
mod context;
mod coordinator_log;
mod deliveries;
mod failure;
#[cfg(test)]
mod fake_broker;
mod fetcher;
mod group;
mod hanging;
mod options;
mod reader;
mod transactions;
mod wire;
mod writer;

use std::sync::Arc;

use crate::{EventLog, LogError, OpenTransaction, ReaderPurpose, TopicPartition};

use cluster::Cluster;
pub use group::KafkaGroupReader;
pub use options::KafkaOptions;
pub use reader::KafkaReader;
use wire::Wire;
pub use writer::KafkaWriter;

/// A handle to a Kafka cluster; clones share one client for metadata.
#[derive(Clone)]
pub struct KafkaLog {
    options: Arc<KafkaOptions>,
    cluster: Arc<Cluster>,
}

impl KafkaLog {
    /// Makes the client. Connects in the background: a broker that is down shows
    /// in the first call that needs it.
    pub fn new(options: KafkaOptions) -> Result<Self, LogError> {
        let cluster = Arc::new(Cluster::new(&options)?);
        Ok(Self {
            options: Arc::new(options),
            cluster,
        })
    }

    /// The options it was made with.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// The consumer groups of the cluster that have members now, and how many each has. For
    /// operators' tools: nothing that is decided by a group may rest on it.
    ///
    /// # Errors
    /// When a broker does not answer in time.
    pub fn groups(&self) -> Result<Vec<(String, usize)>, LogError> {
        self.cluster.groups()
    }
}

impl EventLog for KafkaLog {
    type Writer = KafkaWriter;
    type Reader = KafkaReader;
    type GroupReader = KafkaGroupReader;

    fn writer(&self, transactional_id: &str) -> Result<KafkaWriter, LogError> {
        let (options, cluster) = (Arc::clone(&self.options), Arc::clone(&self.cluster));
        KafkaWriter::new(options, cluster, transactional_id)
    }

    fn reader(&self, purpose: ReaderPurpose) -> Result<KafkaReader, LogError> {
        Ok(KafkaReader::new(
            Arc::clone(&self.options),
            Arc::clone(&self.cluster),
            purpose,
        ))
    }

    fn group_reader(&self, group: &str, topics: &[&str]) -> Result<KafkaGroupReader, LogError> {
        KafkaGroupReader::join(&self.options, &self.cluster, group, topics)
    }

    fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        self.cluster.partition_count(topic)
    }

    /// Over plain connections only: brokers that want TLS or a login are not asked.
    fn open_transactions(&self, at: &TopicPartition) -> Result<Vec<OpenTransaction>, LogError> {
        if self.options.is_secured() {
            return Err(LogError::Configuration {
                reason: "open transactions are asked for over plain connections only".to_owned(),
            });
        }
        let topics = [&*at.topic];
        if at.partition >= self.cluster.partition_count(topics[0])? {
            return Err(LogError::UnknownPartition(at.clone()));
        }
        let wire = Wire {
            timeout: self.options.request_timeout,
        };
        transactions::open_transactions(at, &self.cluster.placement(&topics)?, &wire)
    }
}
