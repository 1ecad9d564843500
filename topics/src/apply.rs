//! Making the cluster and the registry as declared.

use std::fmt;

use cartwright_events::registry::{RegistryClient, RegistryError};
use serde::Serialize;
use thiserror::Error;

use crate::cluster::{Cluster, ClusterError};
use crate::plan::{COMPATIBILITY, Difference, State, differences};
use crate::subjects;
use crate::topology::{Topic, TopicSchema, Topology};

/// Why the declaration was not applied.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Something is declared that must not be made so; nothing was changed.
    #[error("refused, nothing was changed:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// The cluster failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "did", rename_all = "snake_case")]
pub enum Done {
    /// A topic was made.
    CreatedTopic {
        /// The topic.
        topic: String,
        /// Its partitions.
        partitions: u32,
    },
    /// A topic got other settings.
    Configured {
        /// The topic.
        topic: String,
        /// The settings that changed.
        keys: Vec<String>,
    },
    /// A subject got the declared compatibility.
    SetCompatibility {
        /// The subject.
        subject: String,
    },
    /// A schema was registered.
    RegisteredSchema {
        /// The subject.
        subject: String,
        /// Its id.
        id: u32,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done::CreatedTopic { topic, partitions } => {
                write!(f, "created topic {topic} ({partitions} partitions)")
            }
            Done::Configured { topic, keys } => {
                write!(f, "configured topic {topic}: {}", keys.join(", "))
            }
            Done::SetCompatibility { subject } => {
                write!(f, "set subject {subject} to {COMPATIBILITY}")
            }
            Done::RegisteredSchema { subject, id } => {
                write!(f, "registered the schema of subject {subject} as {id}")
            }
        }
    }
}

/// What there is of everything that is declared.
///
/// # Errors
/// [`ApplyError`].
pub fn state(
    topology: &Topology,
    cluster: &Cluster,
    registry: &RegistryClient,
) -> Result<State, ApplyError> {
    // The two are asked at once: each takes its time to connect.
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| subjects::subjects(registry, topology));
        let topics = cluster.topics(&topology.topics)?;
        let subjects = asked
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(State { topics, subjects })
    })
}

/// Makes the cluster and the registry as declared, and says what it did. Running it again does
/// nothing. A change of partitions or copies is refused before anything is done.
///
/// # Errors
/// [`ApplyError`]; what was done before it stays, and the next run goes on from there.
pub fn apply(
    topology: &Topology,
    cluster: &Cluster,
    registry: &RegistryClient,
    mut done: impl FnMut(Done),
) -> Result<(), ApplyError> {
    let state = state(topology, cluster, registry)?;
    let differences = differences(topology, &state);
    let refused: Vec<_> = differences
        .iter()
        .filter(|difference| difference.is_refused())
        .map(ToString::to_string)
        .collect();
    if !refused.is_empty() {
        return Err(ApplyError::Refused(refused));
    }
    create_topics(topology, cluster, &differences, &mut done)?;
    configure_topics(topology, cluster, &state, &differences, &mut done)?;
    for schema in topology.topics.iter().filter_map(|t| t.schema.as_ref()) {
        register(schema, registry, &differences, &mut done)?;
    }
    Ok(())
}

fn create_topics(
    topology: &Topology,
    cluster: &Cluster,
    differences: &[Difference],
    done: &mut impl FnMut(Done),
) -> Result<(), ApplyError> {
    let is_missing = |wanted: &&Topic| {
        differences.iter().any(
            |found| matches!(found, Difference::MissingTopic { topic, .. } if *topic == wanted.name),
        )
    };
    let missing: Vec<_> = topology.topics.iter().filter(is_missing).collect();
    cluster.create(&missing)?;
    for topic in missing {
        done(Done::CreatedTopic {
            topic: topic.name.clone(),
            partitions: topic.partitions,
        });
    }
    Ok(())
}

fn configure_topics(
    topology: &Topology,
    cluster: &Cluster,
    state: &State,
    differences: &[Difference],
    done: &mut impl FnMut(Done),
) -> Result<(), ApplyError> {
    for declared in &topology.topics {
        let keys: Vec<_> = differences
            .iter()
            .filter_map(|found| match found {
                Difference::Config { topic, key, .. } if *topic == declared.name => {
                    Some(key.clone())
                }
                _ => None,
            })
            .collect();
        if let Some(is) = state.topics.get(&declared.name)
            && !keys.is_empty()
        {
            cluster.configure(declared, is)?;
            done(Done::Configured {
                topic: declared.name.clone(),
                keys,
            });
        }
    }
    Ok(())
}

/// The rule first: a schema that is registered before its subject has the rule is never checked.
fn register(
    schema: &TopicSchema,
    registry: &RegistryClient,
    differences: &[Difference],
    done: &mut impl FnMut(Done),
) -> Result<(), ApplyError> {
    let has = |wanted: fn(&Difference) -> Option<&String>| {
        differences
            .iter()
            .any(|found| wanted(found) == Some(&schema.subject))
    };
    if has(|found| match found {
        Difference::Compatibility { subject, .. } => Some(subject),
        _ => None,
    }) {
        subjects::set_compatibility(registry, &schema.subject)?;
        done(Done::SetCompatibility {
            subject: schema.subject.clone(),
        });
    }
    if has(|found| match found {
        Difference::UnregisteredSchema { subject } => Some(subject),
        _ => None,
    }) {
        let id = registry.register(&schema.subject, &schema.text)?;
        done(Done::RegisteredSchema {
            subject: schema.subject.clone(),
            id,
        });
    }
    Ok(())
}
