//! What keeps a worker from going on.

use cartwright_event_log::{LogError, TopicPartition};
use cartwright_sinks::SinkError;

/// Why no more records can be taken now, the worst last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Halt {
    /// Too much is put aside: take no more until somebody has done something about it.
    Hold(String),
    /// Something outside does not answer: try again later.
    Wait(String),
    /// The log's client is broken: begin anew with another.
    Fail(String),
    /// Going on would lose or invent something: the projection stops until somebody has looked.
    Stop(String),
}

/// A partition of a topic that the projection doesn't consume was assigned.
pub(crate) fn not_consumed(at: &TopicPartition) -> Halt {
    Halt::Stop(format!("{at} is not a partition of this projection"))
}

pub(crate) fn halt_of(error: SinkError) -> Halt {
    match error {
        SinkError::Retry { reason } => Halt::Wait(reason),
        SinkError::PositionMoved => Halt::Wait(error.to_string()),
        SinkError::Fatal { reason } => Halt::Stop(reason),
    }
}

pub(crate) fn halt_of_log(error: LogError) -> Halt {
    match error {
        LogError::Unavailable { .. }
        | LogError::UnknownTopic { .. }
        | LogError::UnknownPartition(_)
        | LogError::NotAssigned(_)
        | LogError::Stalled { .. } => Halt::Wait(error.to_string()),
        // Deleted, or another log than the position is from: needs somebody who knows which.
        LogError::OutOfRange { .. } => Halt::Stop(error.to_string()),
        LogError::Fenced { .. } | LogError::Configuration { .. } | LogError::Fatal { .. } => {
            Halt::Fail(error.to_string())
        }
    }
}
