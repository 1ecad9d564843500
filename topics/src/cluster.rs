//! The cluster: what topics there are, and making and configuring them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic,
    OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use thiserror::Error;

use crate::plan::TopicState;
use crate::topology::Topic;

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest that the first answer of the brokers may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest that a new topic may take to get its leaders.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(50);

/// The cluster did not do what it was asked.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// Not reached, or it refused the whole request.
    #[error("Kafka at {bootstrap}: {source}")]
    Request {
        /// Where.
        bootstrap: String,
        /// Why.
        source: KafkaError,
    },
    /// It refused one topic.
    #[error("topic {topic}: {code}")]
    Topic {
        /// The topic.
        topic: String,
        /// Why.
        code: RDKafkaErrorCode,
    },
    /// New topics have no leaders yet.
    #[error("topics {topics} got no leaders within {} s", READY_TIMEOUT.as_secs())]
    NotReady {
        /// Which.
        topics: String,
    },
}

/// A connection to a Kafka cluster.
pub struct Cluster {
    admin: AdminClient<DefaultClientContext>,
    bootstrap: String,
}

impl Cluster {
    /// Connects to the brokers at `bootstrap` (`host:port,…`). Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClusterError::Request`] when the client cannot be made.
    pub fn connect(bootstrap: &str) -> Result<Self, ClusterError> {
        let admin = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("client.id", "cartwright-topics")
            .set("log_level", "2")
            .set("socket.connection.setup.timeout.ms", "5000")
            .create()
            .map_err(|source| ClusterError::Request {
                bootstrap: bootstrap.to_owned(),
                source,
            })?;
        Ok(Self {
            admin,
            bootstrap: bootstrap.to_owned(),
        })
    }

    /// What there is of `topics`.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn topics(&self, topics: &[Topic]) -> Result<BTreeMap<String, TopicState>, ClusterError> {
        let metadata = self
            .admin
            .inner()
            .fetch_metadata(None, CONNECT_TIMEOUT)
            .map_err(|source| self.failed(source))?;
        let mut found: BTreeMap<String, TopicState> = metadata
            .topics()
            .iter()
            .filter(|topic| topics.iter().any(|declared| declared.name == topic.name()))
            .map(|topic| {
                let copies = topic.partitions().iter().map(|p| p.replicas().len());
                let state = TopicState {
                    partitions: topic.partitions().len() as u32,
                    replication_factor: copies.min().unwrap_or_default() as u32,
                    ..TopicState::default()
                };
                (topic.name().to_owned(), state)
            })
            .collect();
        let names: Vec<_> = found.keys().cloned().collect();
        for resource in self.describe(&names)? {
            let OwnedResourceSpecifier::Topic(name) = &resource.specifier else {
                continue;
            };
            if let Some(state) = found.get_mut(name) {
                take_config(&resource, state);
            }
        }
        Ok(found)
    }

    fn describe(&self, names: &[String]) -> Result<Vec<ConfigResource>, ClusterError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let specifiers: Vec<_> = names
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let answers = block_on(self.admin.describe_configs(&specifiers, &options()))
            .map_err(|source| self.failed(source))?;
        // Answers come in the order of the question.
        answers
            .into_iter()
            .zip(names)
            .map(|(answer, name)| answer.map_err(|code| refused(name, code)))
            .collect()
    }

    /// Makes `topics` and waits until their partitions have leaders.
    ///
    /// # Errors
    /// [`ClusterError`]; a topic that exists by now is none.
    pub fn create(&self, topics: &[&Topic]) -> Result<(), ClusterError> {
        if topics.is_empty() {
            return Ok(());
        }
        let new: Vec<_> = topics.iter().map(|topic| new_topic(topic)).collect();
        let answers = block_on(self.admin.create_topics(&new, &options()))
            .map_err(|source| self.failed(source))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(refused(&topic, code)),
            }
        }
        self.await_leaders(topics)
    }

    fn await_leaders(&self, topics: &[&Topic]) -> Result<(), ClusterError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let metadata = self
                .admin
                .inner()
                .fetch_metadata(None, REQUEST_TIMEOUT)
                .map_err(|source| self.failed(source))?;
            let is_ready = |wanted: &&&Topic| {
                metadata.topics().iter().any(|topic| {
                    topic.name() == wanted.name
                        && topic.partitions().len() == wanted.partitions as usize
                        && topic.partitions().iter().all(|p| p.leader() >= 0)
                })
            };
            let missing: Vec<_> = topics.iter().filter(|topic| !is_ready(topic)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let names: Vec<_> = missing.iter().map(|topic| topic.name.as_str()).collect();
                return Err(ClusterError::NotReady {
                    topics: names.join(", "),
                });
            }
            std::thread::sleep(READY_POLL);
        }
    }

    /// Sets the configuration of a topic that is now as `state` says. What an operator has set
    /// beside the declaration is kept.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn configure(&self, topic: &Topic, state: &TopicState) -> Result<(), ClusterError> {
        // The request replaces all of the topic's own settings, so those that there are go along.
        let mut config = state.overrides.clone();
        config.extend(topic.config.clone());
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(&topic.name));
        for (key, value) in &config {
            alter = alter.set(key, value);
        }
        let answers = block_on(self.admin.alter_configs([&alter], &options()))
            .map_err(|source| self.failed(source))?;
        for answer in answers {
            answer.map_err(|(_, code)| refused(&topic.name, code))?;
        }
        Ok(())
    }

    fn failed(&self, source: KafkaError) -> ClusterError {
        ClusterError::Request {
            bootstrap: self.bootstrap.clone(),
            source,
        }
    }
}

fn refused(topic: &str, code: RDKafkaErrorCode) -> ClusterError {
    ClusterError::Topic {
        topic: topic.to_owned(),
        code,
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT))
}

fn new_topic(topic: &Topic) -> NewTopic<'_> {
    let replication = TopicReplication::Fixed(topic.replication_factor as i32);
    topic.config.iter().fold(
        NewTopic::new(&topic.name, topic.partitions as i32, replication),
        |new, (key, value)| new.set(key, value),
    )
}

fn take_config(resource: &ConfigResource, state: &mut TopicState) {
    for entry in &resource.entries {
        let Some(value) = entry.value.clone() else {
            continue;
        };
        if entry.source == ConfigSource::DynamicTopic {
            state.overrides.insert(entry.name.clone(), value.clone());
        }
        state.config.insert(entry.name.clone(), value);
    }
}
