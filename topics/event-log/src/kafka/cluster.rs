//! Metadata and watermarks, through one client that all readers share.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;

use super::context::ConsumerCallbacks;
use super::failure::{configuration, is_transient, unavailable};
use super::options::KafkaOptions;
use crate::{LogError, Start, TopicPartition};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Who leads the partitions of some topics; brokers as `host:port`.
pub(super) struct Placement {
    partitions: Vec<(TopicPartition, Option<String>)>,
    pub(super) brokers: Vec<String>,
}

impl Placement {
    pub(super) fn new(
        partitions: impl IntoIterator<Item = (TopicPartition, Option<String>)>,
        brokers: Vec<String>,
    ) -> Self {
        Self {
            partitions: partitions.into_iter().collect(),
            brokers,
        }
    }

    /// Who leads `at`.
    pub(super) fn leader(&self, at: &TopicPartition) -> Result<&str, LogError> {
        let found = self.partitions.iter().find(|(known, _)| known == at);
        let (_, leader) = found.ok_or_else(|| LogError::UnknownPartition(at.clone()))?;
        leader.as_deref().ok_or_else(|| LogError::Unavailable {
            reason: format!("{at} has no leader"),
        })
    }

    /// The partitions that each broker leads, and under `None` those that nobody leads now.
    pub(super) fn led(&self) -> BTreeMap<Option<&str>, Vec<&TopicPartition>> {
        let mut led: BTreeMap<Option<&str>, Vec<&TopicPartition>> = BTreeMap::new();
        for (at, leader) in &self.partitions {
            led.entry(leader.as_deref()).or_default().push(at);
        }
        led
    }

    /// Whether it tells any partition of these topics.
    pub(super) const fn tells_of_any(&self) -> bool {
        !self.partitions.is_empty()
    }
}

type Client = BaseConsumer<ConsumerCallbacks>;

/// A broker that has lost sight of the others, as one that has just started, may answer that there is no
/// broker at all. librdkafka (2.12) then lets go of all that it knows, those that it was configured with
/// too, and never asks anybody again (<https://github.com/confluentinc/librdkafka/issues/5301>). So a
/// client that does not get an answer is replaced.
pub(super) struct Cluster {
    config: ClientConfig,
    client: RwLock<Arc<Client>>,
    timeout: Duration,
}

impl Cluster {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, LogError> {
        let config = options.cluster();
        let client = connect(&config).map_err(|error| configuration(&error))?;
        Ok(Self {
            config,
            client: RwLock::new(client),
            timeout: options.request_timeout,
        })
    }

    /// How long a question may take.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The client that asks now.
    fn client(&self) -> Arc<Client> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
        let client = Arc::clone(&client);
        // Hands its log lines on; nothing else ever waits in its queue.
        for _ in 0..16 {
            if client.poll(Duration::ZERO).is_none() {
                break;
            }
        }
        client
    }

    /// What an error of `asked` means. Whoever asks next asks by another client, if nobody has answered
    /// this one.
    fn failed(&self, asked: &Arc<Client>, error: &KafkaError) -> LogError {
        let unanswered = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::OperationTimedOut
            )
        );
        if unanswered {
            let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&client, asked)
                && let Ok(fresh) = connect(&self.config)
            {
                let old = std::mem::replace(&mut *client, fresh);
                // Destroying it can take a while.
                thread::spawn(move || drop(old));
            }
        }
        unavailable(error)
    }

    pub(super) fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        let client = self.client();
        let unknown = || LogError::UnknownTopic {
            topic: topic.to_owned(),
        };
        let metadata = client
            .fetch_metadata(Some(topic), self.timeout)
            .map_err(|error| self.failed(&client, &error))?;
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

    /// Who leads the partitions of `topics`, and every broker.
    pub(super) fn placement<T: AsRef<str>>(&self, topics: &[T]) -> Result<Placement, LogError> {
        let client = self.client();
        let only = match topics {
            [topic] => Some(topic.as_ref()),
            _ => None,
        };
        let metadata = client
            .fetch_metadata(only, self.timeout)
            .map_err(|error| self.failed(&client, &error))?;
        let address = |broker: &MetadataBroker| format!("{}:{}", broker.host(), broker.port());
        let mut partitions = Vec::new();
        for topic in metadata.topics() {
            if !topics.iter().any(|wanted| wanted.as_ref() == topic.name()) {
                continue;
            }
            for partition in topic.partitions() {
                let mut brokers = metadata.brokers().iter();
                let leader = brokers.find(|broker| broker.id() == partition.leader());
                let index = u32::try_from(partition.id()).unwrap_or(u32::MAX);
                let at = TopicPartition::new(topic.name(), index);
                partitions.push((at, leader.map(address)));
            }
        }
        let brokers = metadata.brokers().iter().map(address).collect();
        Ok(Placement::new(partitions, brokers))
    }

    /// Asks again while the cluster has yet to settle who leads the partition,
    /// as it has after the topic's creation or a broker's start.
    pub(super) fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        let client = self.client();
        let deadline = Instant::now() + self.timeout;
        loop {
            let asked = client.fetch_watermarks(&at.topic, number(at), self.timeout);
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
                return Err(self.failed(&client, &error));
            }
            thread::sleep(PAUSE);
        }
    }

    /// The consumer groups that have members now, and how many.
    pub(super) fn groups(&self) -> Result<Vec<(String, usize)>, LogError> {
        let client = self.client();
        let found = client
            .fetch_group_list(None, self.timeout)
            .map_err(|error| self.failed(&client, &error))?;
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
}

fn connect(config: &ClientConfig) -> Result<Arc<Client>, KafkaError> {
    let client = config.create_with_context(ConsumerCallbacks::default())?;
    Ok(Arc::new(client))
}

/// The partition number as librdkafka wants it.
pub(super) fn number(at: &TopicPartition) -> i32 {
    i32::try_from(at.partition).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::fake_broker::FakeBroker;

    #[test]
    fn a_client_that_was_told_of_no_broker_is_replaced() {
        let broker = FakeBroker::start();
        let cluster = Cluster::new(&broker.options()).expect("a client");
        assert_eq!(cluster.partition_count(FakeBroker::TOPIC), Ok(1));
        broker.mislead(&cluster.client());
        let answered = (0..3).any(|_| cluster.partition_count(FakeBroker::TOPIC) == Ok(1));
        assert!(answered, "another client asks");
    }
}
