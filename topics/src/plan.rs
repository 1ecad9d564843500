//! The difference between what is declared and what there is, as data.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::topology::{Topic, Topology};

/// The compatibility that every subject has: any version reads any other.
pub const COMPATIBILITY: &str = "FULL_TRANSITIVE";

/// What there is of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicState {
    /// Its partitions.
    pub partitions: u32,
    /// Copies of every partition (the fewest of any).
    pub replication_factor: u32,
    /// Its configuration as it takes effect, by Kafka's names.
    pub config: BTreeMap<String, String>,
    /// Of these, what is set on the topic itself.
    pub overrides: BTreeMap<String, String>,
}

/// What there is of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubjectState {
    /// The compatibility set for it.
    pub compatibility: Option<String>,
    /// The id of the declared schema, when it is registered.
    pub schema_id: Option<u32>,
}

/// What there is of everything that is declared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// By topic; one that does not exist is not in it.
    pub topics: BTreeMap<String, TopicState>,
    /// By subject.
    pub subjects: BTreeMap<String, SubjectState>,
}

/// One thing that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum Difference {
    /// The topic does not exist.
    MissingTopic {
        /// The topic.
        topic: String,
        /// Declared partitions.
        partitions: u32,
        /// Declared copies.
        replication_factor: u32,
    },
    /// The topic has another number of partitions. Never changed: keys would move.
    Partitions {
        /// The topic.
        topic: String,
        /// What there is.
        is: u32,
        /// What is declared.
        declared: u32,
    },
    /// The topic has another number of copies. Not changed here: that moves data.
    ReplicationFactor {
        /// The topic.
        topic: String,
        /// What there is.
        is: u32,
        /// What is declared.
        declared: u32,
    },
    /// A setting has another value.
    Config {
        /// The topic.
        topic: String,
        /// The setting.
        key: String,
        /// What takes effect now.
        is: Option<String>,
        /// What is declared.
        declared: String,
    },
    /// The subject's compatibility is another one.
    Compatibility {
        /// The subject.
        subject: String,
        /// What it is.
        is: Option<String>,
        /// What is declared.
        declared: String,
    },
    /// The declared schema is not registered.
    UnregisteredSchema {
        /// The subject.
        subject: String,
    },
}

impl Difference {
    /// Whether `apply` must not make it so.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(
            self,
            Difference::Partitions { .. } | Difference::ReplicationFactor { .. }
        )
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        match self {
            Difference::MissingTopic {
                topic,
                partitions,
                replication_factor,
            } => write!(
                f,
                "topic {topic}: is missing ({partitions} partitions × {replication_factor})"
            ),
            Difference::Partitions {
                topic,
                is,
                declared,
            } => write!(
                f,
                "topic {topic}: has {is} partitions, declared are {declared}; the count is fixed \
                 at a context's birth, keys would move to other shards"
            ),
            Difference::ReplicationFactor {
                topic,
                is,
                declared,
            } => write!(
                f,
                "topic {topic}: has {is} copies, declared are {declared}; reassign its partitions \
                 with Kafka's own tool"
            ),
            Difference::Config {
                topic,
                key,
                is,
                declared,
            } => write!(
                f,
                "topic {topic}: {key} is {}, declared is {declared}",
                shown(is)
            ),
            Difference::Compatibility {
                subject,
                is,
                declared,
            } => write!(
                f,
                "subject {subject}: compatibility is {}, declared is {declared}",
                shown(is)
            ),
            Difference::UnregisteredSchema { subject } => {
                write!(f, "subject {subject}: the schema is not registered")
            }
        }
    }
}

/// What is not as declared, in the order in which it can be made so.
#[must_use]
pub fn differences(topology: &Topology, state: &State) -> Vec<Difference> {
    let mut found = Vec::new();
    for topic in &topology.topics {
        match state.topics.get(&topic.name) {
            None => found.push(Difference::MissingTopic {
                topic: topic.name.clone(),
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
            }),
            Some(is) => compare_topic(topic, is, &mut found),
        }
    }
    for schema in topology.topics.iter().filter_map(|t| t.schema.as_ref()) {
        let unknown = SubjectState::default();
        let is = state.subjects.get(&schema.subject).unwrap_or(&unknown);
        if is.compatibility.as_deref() != Some(COMPATIBILITY) {
            found.push(Difference::Compatibility {
                subject: schema.subject.clone(),
                is: is.compatibility.clone(),
                declared: COMPATIBILITY.to_owned(),
            });
        }
        if is.schema_id.is_none() {
            found.push(Difference::UnregisteredSchema {
                subject: schema.subject.clone(),
            });
        }
    }
    found
}

fn compare_topic(topic: &Topic, is: &TopicState, found: &mut Vec<Difference>) {
    if is.partitions != topic.partitions {
        found.push(Difference::Partitions {
            topic: topic.name.clone(),
            is: is.partitions,
            declared: topic.partitions,
        });
    }
    if is.replication_factor != topic.replication_factor {
        found.push(Difference::ReplicationFactor {
            topic: topic.name.clone(),
            is: is.replication_factor,
            declared: topic.replication_factor,
        });
    }
    for (key, declared) in &topic.config {
        let now = is.config.get(key);
        if now != Some(declared) {
            found.push(Difference::Config {
                topic: topic.name.clone(),
                key: key.clone(),
                is: now.cloned(),
                declared: declared.clone(),
            });
        }
    }
}
