//! Named reasons for which a command is refused.

use serde::{Deserialize, Serialize};

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
