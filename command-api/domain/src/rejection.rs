//! Named reasons for which a command is refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reason::Reason;

/// What a caller can do about a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionKind {
    /// The command breaks a rule by itself: mend it. (HTTP 422)
    Invalid,
    /// What it is about does not exist. (HTTP 404)
    NotFound,
    /// It does not fit the present state. (HTTP 409)
    Conflict,
    /// A setting forbids it. (HTTP 403)
    NotAllowed,
    /// The aggregate is not at the version that the caller named. (HTTP 412)
    Precondition,
}

/// A refusal: a named reason, in words, with what the caller needs to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// The reason's name, snake_case, for programs: part of the contract.
    pub reason: String,
    /// What a caller can do about it.
    pub kind: RejectionKind,
    /// One sentence for people.
    pub detail: String,
    /// The field of the command that is at fault.
    pub field: Option<String>,
    /// More for programs, by field name (both prices, what is left, …).
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// Holds a caller's expectation of a version against the version that there is.
///
/// # Errors
/// [`Reason::VersionMismatch`] with both when they differ.
pub fn at_version(expected: u64, actual: u64) -> Result<(), Rejection> {
    if expected == actual {
        return Ok(());
    }
    let detail = format!("The version is {actual}, expected was {expected}");
    Err(Rejection::new(Reason::VersionMismatch, detail)
        .with("version", actual)
        .with("expected_version", expected))
}

impl Rejection {
    /// A refusal for `reason`, in words.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason: reason.code().to_owned(),
            kind: reason.kind(),
            detail: detail.into(),
            field: None,
            data: serde_json::Map::new(),
        }
    }

    /// Names the field of the command that is at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Puts the field under a parent, such as `items[3]`.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.field = Some(match self.field {
            Some(field) => format!("{parent}.{field}"),
            None => parent.to_owned(),
        });
        self
    }

    /// Adds something for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }
}
