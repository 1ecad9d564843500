//! What was decided for a command: what is answered now, and to every repeat.

use cartwright_domain::{Accepted, Rejection};
use cartwright_events::PositionToken;
use serde::{Deserialize, Serialize};

/// An accepted command's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The aggregate's id.
    pub aggregate_id: String,
    /// The aggregate's version after the command.
    pub version: u64,
    /// Where its events stand: what a reader can wait for.
    pub position: PositionToken,
    /// More for the caller.
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// What was decided. Stored in the journal under the idempotency key or command id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The command took effect, now or earlier.
    Accepted(Answer),
    /// The command was refused and had no effect.
    Rejected(Rejection),
}

impl Outcome {
    /// The answer to `accepted`, whose events stand at `position`.
    pub(crate) fn accepted(accepted: Accepted, position: PositionToken) -> Self {
        Outcome::Accepted(Answer {
            aggregate_id: accepted.aggregate_id,
            version: accepted.version,
            position,
            data: accepted.data,
        })
    }
}
