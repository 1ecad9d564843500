//! Kept schema versions and their golden records: `versions/<schema>/<n>.avsc`, and
//! `golden/<schema>/<n>/<Type>.hex` with the record in `.json` beside it. They are made of the
//! examples: events in `examples`, internal records in `examples/<schema>`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cartwright_events::{Event, SchemaTopic};
use thiserror::Error;

use crate::compatibility;
use crate::topology::{TopicSchema, Topology, TopologyError, read};

/// Bytes on a line of a golden record.
const HEX_LINE_BYTES: usize = 32;

/// A kept version cannot be read or written.
#[derive(Debug, Error)]
pub enum VersionError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] TopologyError),
    /// A file cannot be written, or a folder not read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An example is not a record of its kind.
    #[error("{}: {source}", path.display())]
    Example {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The schema must not become a version.
    #[error("schema {name} is incompatible with version {version}: {problem}")]
    Incompatible {
        /// The schema.
        name: String,
        /// Which version it breaks with.
        version: u32,
        /// How.
        problem: String,
    },
}

/// A kept version of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// From 1.
    pub number: u32,
    /// The schema's text.
    pub text: String,
}

/// The kept versions of a schema, oldest first.
///
/// # Errors
/// [`VersionError`]; a folder that does not exist is an empty list.
pub fn kept(schemas: &Path, name: &str) -> Result<Vec<Version>, VersionError> {
    let folder = schemas.join("versions").join(name);
    let mut found = Vec::new();
    for path in entries(&folder)? {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(number) = stem.and_then(|stem| stem.parse().ok()) {
            found.push(Version {
                number,
                text: read(&path)?,
            });
        }
    }
    found.sort_by_key(|version| version.number);
    Ok(found)
}

/// The examples of events, sorted by their file's name: the event type.
///
/// # Errors
/// [`VersionError`] names the file that is no event.
pub fn examples(schemas: &Path) -> Result<Vec<(String, Event)>, VersionError> {
    let mut found = Vec::new();
    for path in files(&schemas.join("examples"))? {
        let event =
            serde_json::from_str(&read(&path)?).map_err(|source| VersionError::Example {
                path: path.clone(),
                source,
            })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        found.push((name.into_owned(), event));
    }
    found.sort_by(|one, two| one.0.cmp(&two.0));
    Ok(found)
}

/// Keeps every schema that is not its newest kept version as the next one, with golden records of
/// the examples. Gives what was kept, as `(schema, version)`.
///
/// # Errors
/// [`VersionError::Incompatible`] before anything is written; otherwise what went wrong with a file.
pub fn keep(topology: &Topology) -> Result<Vec<(String, u32)>, VersionError> {
    let mut new = Vec::new();
    for (name, schema) in topology.schemas_by_name() {
        let versions = kept(&topology.schemas, name)?;
        if versions.last().is_some_and(|v| v.text == schema.text) {
            continue;
        }
        for version in &versions {
            if let Some(problem) = compatibility::problems(&version.text, &schema.text).pop() {
                return Err(VersionError::Incompatible {
                    name: name.to_owned(),
                    version: version.number,
                    problem,
                });
            }
        }
        new.push((schema, versions.last().map_or(1, |v| v.number + 1)));
    }
    for (schema, number) in &new {
        write_version(&topology.schemas, schema, *number)?;
    }
    Ok(new
        .into_iter()
        .map(|(schema, number)| (schema.name.clone(), number))
        .collect())
}

fn write_version(schemas: &Path, schema: &TopicSchema, number: u32) -> Result<(), VersionError> {
    let versions = schemas.join("versions").join(&schema.name);
    write(&versions.join(format!("{number}.avsc")), &schema.text)?;
    let golden = schemas
        .join("golden")
        .join(&schema.name)
        .join(number.to_string());
    let mut topics = SchemaTopic::ALL.into_iter();
    let Some(topic) = topics.find(|topic| topic.schema_name() == schema.name) else {
        return Ok(());
    };
    for path in examples_of(schemas, topic)? {
        let json = read(&path)?;
        let bytes = topic.encode_json(&json);
        let bytes = bytes.map_err(|source| VersionError::Example {
            path: path.clone(),
            source,
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        write(&golden.join(format!("{name}.json")), &json)?;
        write(&golden.join(format!("{name}.hex")), &hex(&bytes))?;
    }
    Ok(())
}

fn examples_of(schemas: &Path, topic: SchemaTopic) -> Result<Vec<PathBuf>, VersionError> {
    let folder = schemas.join("examples");
    let SchemaTopic::Events(stream) = topic else {
        return files(&folder.join(topic.schema_name()));
    };
    let examples = examples(schemas)?.into_iter();
    let own = examples.filter(|(_, event)| event.body.stream() == stream);
    Ok(own
        .map(|(name, _)| folder.join(format!("{name}.json")))
        .collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(HEX_LINE_BYTES)
        .map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), VersionError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .map_err(|source| VersionError::Io {
            path: path.to_owned(),
            source,
        })
}

/// What is in a folder, without the folders in it.
fn files(folder: &Path) -> Result<Vec<PathBuf>, VersionError> {
    let mut entries = entries(folder)?;
    entries.retain(|path| !path.is_dir());
    Ok(entries)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, VersionError> {
    let failed = |source| VersionError::Io {
        path: folder.to_owned(),
        source,
    };
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}
