//! What can go wrong, by what the caller can do about it.

use crate::TopicPartition;

/// A call to the log failed outside of a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The log did not answer in time or the connection broke. Retry later.
    #[error("the log is not available: {reason}")]
    Unavailable {
        /// What the client said.
        reason: String,
    },
    /// No topic of that name. Create it first: nothing creates topics on use.
    #[error("no topic {topic}")]
    UnknownTopic {
        /// The name asked for.
        topic: String,
    },
    /// The topic has no such partition.
    #[error("no partition {0}")]
    UnknownPartition(TopicPartition),
    /// The position asked for is not in the log: it was deleted, or the log is
    /// another one than the position came from. Needs a decision, so no retry.
    #[error("position of {at} is out of range: {reason}")]
    OutOfRange {
        /// The partition.
        at: TopicPartition,
        /// The position and the range, as far as they are known.
        reason: String,
    },
    /// The partition is not assigned to this reader.
    #[error("{0} is not assigned to this reader")]
    NotAssigned(TopicPartition),
    /// Reading made no progress for the bounded time.
    #[error("no progress on {at} at {position}, {end} wanted, for {waited_ms} ms")]
    Stalled {
        /// The partition that did not reach its end.
        at: TopicPartition,
        /// Where it stands.
        position: u64,
        /// Where it should get to.
        end: u64,
        /// How long nothing moved.
        waited_ms: u64,
    },
    /// Another writer took the transactional id over while this one was doing so.
    #[error("fenced: another writer holds {transactional_id}")]
    Fenced {
        /// The id.
        transactional_id: String,
    },
    /// A setting is wrong. No retry.
    #[error("log configuration: {reason}")]
    Configuration {
        /// What the client said.
        reason: String,
    },
    /// The client can't be used any more: drop it and make a new one.
    #[error("the log client failed for good: {reason}")]
    Fatal {
        /// What the client said.
        reason: String,
    },
}

/// A transaction did not end well.
///
/// After `Fenced`, `NotCommitted` and `Unknown` the writer refuses to begin
/// another transaction until [`take_over`](crate::LogWriter::take_over).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another writer holds the transactional id. Usually nothing of this
    /// transaction shows, but if the commit request had arrived before the other
    /// took over, it does: the new holder's log knows. Stop, answer "unknown" to
    /// whoever waits, and take over again only on a newer assignment.
    #[error("fenced by a newer holder of the transactional id")]
    Fenced,
    /// Certainly not committed: nothing of it is visible or ever will be.
    #[error("not committed: {reason}")]
    NotCommitted {
        /// Why.
        reason: String,
    },
    /// It may or may not have been committed, now or in a moment. Take over,
    /// then read back the own log: it alone knows.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// A transaction without a record never reaches the broker and so proves
    /// nothing (not even that the writer still holds the id). Nothing was done.
    #[error("an empty transaction proves nothing and is refused")]
    Empty,
    /// The records exceed a limit of the writer. Nothing was done.
    #[error("transaction too large: {what} is {actual}, the limit is {limit}")]
    TooLarge {
        /// Which limit: `"records"`, `"record bytes"` or `"bytes"`.
        what: &'static str,
        /// What the transaction has.
        actual: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The writer has not taken over yet, or must do so again after an error or
    /// a doubtful receipt. Nothing was done.
    #[error("the writer has to take over before it may begin")]
    TakeOverFirst,
}
