//! The declaration: `topics.yaml` and the schemas, read and resolved for one profile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cartwright_events::{Context, schema_book};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The declaration cannot be used.
#[derive(Debug, Error)]
pub enum TopologyError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `topics.yaml` does not have the form that is expected.
    #[error("{}: {source}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_yaml_ng::Error,
    },
    /// The profile is not declared.
    #[error("profile {wanted} is not declared; there are {declared}")]
    UnknownProfile {
        /// What was asked for.
        wanted: String,
        /// What there is.
        declared: String,
    },
    /// A topic is declared twice.
    #[error("{topic} is declared twice")]
    DeclaredTwice {
        /// The topic.
        topic: String,
    },
    /// A topic's context has no partition count in the profile, or zero.
    #[error("{topic}: the profile gives no partitions for {context}")]
    NoPartitions {
        /// The topic.
        topic: String,
        /// Its context.
        context: &'static str,
    },
}

/// What a topic is for; it decides the rules that its configuration must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Public events: the truth.
    Events,
    /// Messages between shards.
    Inbox,
    /// Transactions of shards.
    Journal,
    /// Latest states.
    Snapshots,
    /// Signs of life of nodes.
    Nodes,
    /// Who owns which shard.
    Owners,
}

/// `topics.yaml` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// What differs between environments, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Settings by what a topic is for.
    pub kinds: BTreeMap<Kind, KindSettings>,
    /// The topics.
    pub topics: Vec<TopicDeclaration>,
}

/// What differs between environments.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Partitions of every topic of a context; fixed at the context's birth.
    pub partitions: BTreeMap<Context, u32>,
    /// Copies of every partition.
    pub replication_factor: u32,
    /// Topic configuration that goes with it.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

/// Settings of all topics of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindSettings {
    /// Topic configuration, in Kafka's names.
    pub config: BTreeMap<String, String>,
}

/// One topic.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicDeclaration {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Who writes it; none for a topic of the nodes, which has one partition.
    pub context: Option<Context>,
    /// What its records are keyed by, in words.
    pub key: String,
    /// File name of the schema of its values; none when they have none.
    pub schema: Option<String>,
    /// What it holds, for readers of the documentation.
    pub description: String,
    /// Settings of this topic alone.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

/// A topic as it must be in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Who writes it; none for a topic of the nodes.
    pub context: Option<Context>,
    /// What its records are keyed by, in words.
    pub key: String,
    /// What it holds.
    pub description: String,
    /// Its partitions.
    pub partitions: u32,
    /// Copies of every partition.
    pub replication_factor: u32,
    /// Its configuration; what is not named here is the cluster's business.
    pub config: BTreeMap<String, String>,
    /// The schema of its values.
    pub schema: Option<TopicSchema>,
}

/// The schema of a topic's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSchema {
    /// File name without `.avsc`: the name of its kept versions too.
    pub name: String,
    /// The registry's subject.
    pub subject: String,
    /// The schema's text.
    pub text: String,
}

/// Everything that is declared, for one profile.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The topics, in the order in which they are declared.
    pub topics: Vec<Topic>,
    /// Where the schemas are.
    pub schemas: PathBuf,
}

impl Topology {
    /// Reads the declaration in `topics_file` and the schemas in `schemas`, for `profile`.
    ///
    /// # Errors
    /// [`TopologyError`] names the file or the topic.
    pub fn load(topics_file: &Path, schemas: &Path, profile: &str) -> Result<Self, TopologyError> {
        let declaration = read_declaration(topics_file)?;
        let settings =
            declaration
                .profiles
                .get(profile)
                .ok_or_else(|| TopologyError::UnknownProfile {
                    wanted: profile.to_owned(),
                    declared: declaration
                        .profiles
                        .keys()
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(", "),
                })?;
        let mut topics: Vec<Topic> = Vec::with_capacity(declaration.topics.len());
        for declared in &declaration.topics {
            if topics.iter().any(|topic| topic.name == declared.name) {
                return Err(TopologyError::DeclaredTwice {
                    topic: declared.name.clone(),
                });
            }
            topics.push(resolve(
                declared,
                settings,
                declaration.kinds.get(&declared.kind),
                schemas,
            )?);
        }
        Ok(Self {
            topics,
            schemas: schemas.to_owned(),
        })
    }

    /// The schemas, each once, by name.
    #[must_use]
    pub fn schemas_by_name(&self) -> BTreeMap<&str, &TopicSchema> {
        self.topics
            .iter()
            .filter_map(|topic| topic.schema.as_ref())
            .map(|schema| (schema.name.as_str(), schema))
            .collect()
    }
}

/// The names of the profiles that `topics_file` declares.
///
/// # Errors
/// [`TopologyError`] when the file cannot be read.
pub fn profiles(topics_file: &Path) -> Result<Vec<String>, TopologyError> {
    Ok(read_declaration(topics_file)?
        .profiles
        .into_keys()
        .collect())
}

fn read_declaration(path: &Path) -> Result<Declaration, TopologyError> {
    serde_yaml_ng::from_str(&read(path)?).map_err(|source| TopologyError::Form {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn read(path: &Path) -> Result<String, TopologyError> {
    fs::read_to_string(path).map_err(|source| TopologyError::File {
        path: path.to_owned(),
        source,
    })
}

fn resolve(
    declared: &TopicDeclaration,
    profile: &Profile,
    kind: Option<&KindSettings>,
    schemas: &Path,
) -> Result<Topic, TopologyError> {
    let partitions = match declared.context {
        Some(context) => profile
            .partitions
            .get(&context)
            .copied()
            .filter(|&count| count > 0)
            .ok_or_else(|| TopologyError::NoPartitions {
                topic: declared.name.clone(),
                context: context.name(),
            })?,
        None => 1,
    };
    let mut config = kind.map(|kind| kind.config.clone()).unwrap_or_default();
    config.extend(profile.config.clone());
    config.extend(declared.config.clone());
    let schema = declared
        .schema
        .as_ref()
        .map(|file| {
            Ok(TopicSchema {
                name: file.trim_end_matches(".avsc").to_owned(),
                subject: schema_book::subject_of(&declared.name),
                text: read(&schemas.join(file))?,
            })
        })
        .transpose()?;
    Ok(Topic {
        name: declared.name.clone(),
        kind: declared.kind,
        context: declared.context,
        key: declared.key.clone(),
        description: declared.description.clone(),
        partitions,
        replication_factor: profile.replication_factor,
        config,
        schema,
    })
}
