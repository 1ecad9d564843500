//! Metadata and watermarks, through one client that all readers share.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataBroker;

use super::context::ConsumerCallbacks;
use super::failure::{configuration, is_transient, unavailable};
use super::options::KafkaOptions;
use crate::{LogError, Start, TopicPartition};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Where a partition is, as `host:port`.
pub(super) struct Placement {
    pub(super) leader: String,
    pub(super) brokers: Vec<String>,
}

pub(super) struct Cluster {
    client: BaseConsumer<ConsumerCallbacks>,
    timeout: Duration,
}

impl Cluster {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, LogError> {
        let client = options
            .cluster()
            .create_with_context(ConsumerCallbacks::default())
            .map_err(|error| configuration(&error))?;
        Ok(Self {
            client,
            timeout: options.request_timeout,
        })
    }

    pub(super) fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        self.serve_events();
        let unknown = || LogError::UnknownTopic {
            topic: topic.to_owned(),
        };
        let metadata = self
            .client
            .fetch_metadata(Some(topic), self.timeout)
            .map_err(|error| unavailable(&error))?;
        let found = metadata
            .topics()
            .iter()
            .find(|candidate| candidate.name() == topic)
            .ok_or_else(unknown)?;
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX)),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::InvalidTopic,
            ) => Err(unknown()),
            Some(code) => Err(LogError::Unavailable {
                reason: format!("metadata of {topic}: {code}"),
            }),
        }
    }

    /// Where a partition is led, and every broker.
    pub(super) fn placement(&self, at: &TopicPartition) -> Result<Placement, LogError> {
        if at.partition >= self.partition_count(&at.topic)? {
            return Err(LogError::UnknownPartition(at.clone()));
        }
        let metadata = self
            .client
            .fetch_metadata(Some(&at.topic), self.timeout)
            .map_err(|error| unavailable(&error))?;
        let mut partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        let partition = partitions.find(|partition| partition.id() == number(at));
        let address = |broker: &MetadataBroker| format!("{}:{}", broker.host(), broker.port());
        let leader = metadata
            .brokers()
            .iter()
            .find(|broker| partition.is_some_and(|partition| partition.leader() == broker.id()));
        Ok(Placement {
            leader: leader.map(address).ok_or_else(|| LogError::Unavailable {
                reason: format!("{at} has no leader"),
            })?,
            brokers: metadata.brokers().iter().map(address).collect(),
        })
    }

    /// Asks again while the cluster has yet to settle who leads the partition,
    /// as it has after the topic's creation or a broker's start.
    pub(super) fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.serve_events();
        let deadline = Instant::now() + self.timeout;
        loop {
            let asked = self
                .client
                .fetch_watermarks(&at.topic, number(at), self.timeout);
            let error = match asked {
                Ok((low, high)) => {
                    let offset = |value: i64| u64::try_from(value).unwrap_or(0);
                    return Ok((offset(low), offset(high)));
                }
                Err(error) => error,
            };
            let passes = match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic,
                ) => {
                    if at.partition >= self.partition_count(&at.topic)? {
                        return Err(LogError::UnknownPartition(at.clone()));
                    }
                    true
                }
                Some(code) => is_transient(code),
                None => false,
            };
            if !passes || Instant::now() >= deadline {
                return Err(unavailable(&error));
            }
            thread::sleep(PAUSE);
        }
    }

    /// The consumer groups that have members now, and how many.
    pub(super) fn groups(&self) -> Result<Vec<(String, usize)>, LogError> {
        self.serve_events();
        let found = self
            .client
            .fetch_group_list(None, self.timeout)
            .map_err(|error| unavailable(&error))?;
        let groups = found.groups().iter();
        Ok(groups
            .map(|group| (group.name().to_owned(), group.members().len()))
            .filter(|(_, members)| *members > 0)
            .collect())
    }

    /// The offset that `start` means, checked against the watermarks.
    pub(super) fn resolve(&self, at: &TopicPartition, start: Start) -> Result<u64, LogError> {
        let (low, high) = self.watermarks(at)?;
        match start {
            Start::Beginning => Ok(low),
            Start::Offset(offset) if (low..=high).contains(&offset) => Ok(offset),
            Start::Offset(offset) => Err(LogError::OutOfRange {
                at: at.clone(),
                reason: format!("{offset} is not in {low}..={high}"),
            }),
        }
    }

    /// Hands the client's log lines on; nothing else ever waits in its queue.
    fn serve_events(&self) {
        for _ in 0..16 {
            if self.client.poll(Duration::ZERO).is_none() {
                return;
            }
        }
    }
}

/// The partition number as librdkafka wants it.
pub(super) fn number(at: &TopicPartition) -> i32 {
    i32::try_from(at.partition).unwrap_or(i32::MAX)
}
