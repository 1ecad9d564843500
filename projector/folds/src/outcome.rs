//! How folding an event ends.

use cartwright_read_model::{InvalidOp, RowOp};
use serde::Serialize;

/// What a fold made of an event. (The fourth outcome of a stage, a failure that is retried, belongs
/// to the sinks: a fold asks nobody and so cannot fail.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Apply these; at most one per cell.
    Emit(Vec<RowOp>),
    /// A known event that this projection has no use for.
    Drop(&'static str),
    /// The event can't be folded: it is parked, and what follows for its key with it.
    Reject(String),
}

impl Outcome {
    /// Emits `ops` if every one of them fits its table and can be stored, and rejects them as a
    /// whole otherwise.
    #[must_use]
    pub fn emit(ops: Vec<RowOp>) -> Self {
        match ops.iter().try_for_each(RowOp::check) {
            Ok(()) => Outcome::Emit(ops),
            Err(invalid) => invalid.into(),
        }
    }

    /// The event is of a stream that the projection doesn't consume.
    #[must_use]
    pub fn wrong_stream(type_name: &str) -> Self {
        Outcome::Reject(format!("{type_name} is of another stream"))
    }
}

impl From<InvalidOp> for Outcome {
    fn from(invalid: InvalidOp) -> Self {
        Outcome::Reject(invalid.to_string())
    }
}
