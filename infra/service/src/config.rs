//! Settings from a TOML file and the environment, read once at boot.
//!
//! A service composes its settings from the sections here ([`Http`], [`Kafka`], …) and its own,
//! each a struct with `#[serde(deny_unknown_fields)]`, so that a misspelt key is an error that names it
//! rather than a default in disguise. (`deny_unknown_fields` does not work together with
//! `#[serde(flatten)]`: nest the sections instead.)
//!
//! An environment variable overrides one key of the file: `CARTWRIGHT__HTTP__LISTEN=0.0.0.0:8080`
//! sets `http.listen`. The rest of the name after the prefix is split at `__` and lowercased. The
//! value is read as a TOML scalar or array where the setting takes one
//! (`CARTWRIGHT__CASSANDRA__NODES='["db-1:9042", "db-2:9042"]'`), and as a plain string otherwise.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::extract::field_path;

pub use crate::settings::{Cassandra, Http, Kafka, Log, LogFormat, Postgres, Registry};

/// The prefix of every environment variable that sets a key.
pub const ENV_PREFIX: &str = "CARTWRIGHT__";

/// Why the settings could not be read. The value of a [`Secret`] is in none of these.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or may not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file asked for.
        path: PathBuf,
        /// Line of the first error, from 1.
        line: usize,
        /// The parser's message, without the line's text.
        reason: String,
    },
    /// A variable with the prefix cannot name a key, or contradicts another setting.
    #[error("environment variable {name}: {reason}")]
    Environment {
        /// The variable's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is unknown, missing, or its value is not allowed.
    #[error("configuration key `{key}` ({origin}): {reason}")]
    Key {
        /// The dotted key, such as `http.max_body_bytes`.
        key: String,
        /// The file or the environment variable that set it.
        origin: String,
        /// The rule that it breaks.
        reason: String,
    },
}

/// Reads the settings from `path` (if given) and from the environment variables that begin with
/// `env_prefix`, which win.
///
/// # Errors
///
/// A file that cannot be read or parsed, a variable that names no key, and any key that is
/// unknown, missing or of the wrong type; the error names it and where it was set.
pub fn load<T: DeserializeOwned>(path: Option<&Path>, env_prefix: &str) -> Result<T, ConfigError> {
    let text = match path {
        Some(path) => Some((
            path,
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?,
        )),
        None => None,
    };
    load_from(
        text.as_ref().map(|(path, text)| (*path, text.as_str())),
        env_prefix,
        std::env::vars_os(),
    )
}

/// [`load`] with the file's text and the environment given: `file` is the path to name in errors
/// and the text.
///
/// # Errors
///
/// As [`load`], except for reading the file.
pub fn load_from<T: DeserializeOwned>(
    file: Option<(&Path, &str)>,
    env_prefix: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let mut table = match file {
        Some((path, text)) => parse_file(path, text)?,
        None => Table::new(),
    };
    let overrides = overrides(env_prefix, environment)?;
    for over in overrides.values() {
        set(&mut table, over, over.parsed())?;
    }
    let file_name = file.map(|(path, _)| path.display().to_string());
    resolve(table, &overrides, file_name)
}

/// Deserializes, and gives each override that its setting refuses as TOML a second chance as a
/// plain string: a password of digits is a string, although it reads as a number.
fn resolve<T: DeserializeOwned>(
    mut table: Table,
    overrides: &BTreeMap<String, Override>,
    file_name: Option<String>,
) -> Result<T, ConfigError> {
    let mut retried = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(settings) => return Ok(settings),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let reason = error.into_inner().message().trim().to_owned();
        let key = field_path(&path, &reason);
        // An element's error (`nodes[0]`) belongs to the variable that set the whole array.
        let setting = key.split('[').next().unwrap_or_default().to_owned();
        let over = overrides.get(&setting);
        if let Some(over) = over
            && !retried.contains(&setting)
            && !over.parsed().is_str()
        {
            set(&mut table, over, Value::String(over.raw.clone()))?;
            retried.push(setting);
            continue;
        }
        let origin = match (over, file_name) {
            (Some(over), _) => format!("from {}", over.name),
            (None, Some(file)) => format!("in {file}"),
            (None, None) => "no configuration file given".to_owned(),
        };
        return Err(ConfigError::Key {
            key,
            origin,
            reason,
        });
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.as_bytes()[..offset].iter();
        ConfigError::Syntax {
            path: path.to_owned(),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
            // Not the error's Display: that prints the line, and the line may hold a password.
            reason: error.message().to_owned(),
        }
    })
}

/// One environment variable that sets a key.
struct Override {
    name: String,
    segments: Vec<String>,
    raw: String,
}

impl Override {
    /// The value as a TOML scalar or array, or else as the string that it is.
    fn parsed(&self) -> Value {
        let as_string = || Value::String(self.raw.clone());
        let Ok(mut document) = format!("value = {}", self.raw).parse::<Table>() else {
            return as_string();
        };
        match (document.len(), document.remove("value")) {
            (1, Some(value)) if !value.is_table() => value,
            _ => as_string(),
        }
    }
}

/// The variables with the prefix, by dotted key.
fn overrides(
    prefix: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, Override>, ConfigError> {
    let mut overrides = BTreeMap::new();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        let refused = |reason: &str| ConfigError::Environment {
            name: name.clone(),
            reason: reason.to_owned(),
        };
        let segments: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if segments.iter().any(String::is_empty) {
            return Err(refused("names no key: use PREFIX__SECTION__KEY"));
        }
        let Ok(raw) = value.into_string() else {
            return Err(refused("the value is not valid UTF-8"));
        };
        let key = segments.join(".");
        if overrides.contains_key(&key) {
            return Err(refused("another variable sets the same key"));
        }
        let over = Override {
            name,
            segments,
            raw,
        };
        overrides.insert(key, over);
    }
    Ok(overrides)
}

fn set(table: &mut Table, over: &Override, value: Value) -> Result<(), ConfigError> {
    let Some((last, sections)) = over.segments.split_last() else {
        return Ok(());
    };
    let mut current = table;
    for section in sections {
        let entry = current
            .entry(section.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        current = entry
            .as_table_mut()
            .ok_or_else(|| ConfigError::Environment {
                name: over.name.clone(),
                reason: format!("`{section}` is a value, not a section"),
            })?;
    }
    current.insert(last.clone(), value);
    Ok(())
}

/// A setting that must not be seen: neither `Debug` nor `Display` prints it, and it has no
/// `Serialize`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value that is known already.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; hand it to the client that needs it and to nothing that prints.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The deserializer's own error would quote the value.
        String::deserialize(deserializer)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("must be a string"))
    }
}
