//! The envelope: where a record stands in the log and what its headers say of it.

use thiserror::Error;

use crate::streams::Stream;
use crate::types::Timestamp;

/// Names of record headers: CloudEvents in binary mode, and Cartwright's own.
pub mod header {
    /// Unique id of the event: `<topic>/<partition>/<seq>`.
    pub const CE_ID: &str = "ce_id";
    /// Type of the event, for example `OrderCreated`.
    pub const CE_TYPE: &str = "ce_type";
    /// Who wrote it: `/cartwright/<context>/<partition>`.
    pub const CE_SOURCE: &str = "ce_source";
    /// Business time, RFC 3339.
    pub const CE_TIME: &str = "ce_time";
    /// `1.0`.
    pub const CE_SPECVERSION: &str = "ce_specversion";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Dense number per topic-partition from 1, in decimal.
    pub const SEQ: &str = "seq";
    /// The writer's epoch, in decimal.
    pub const WRITER_EPOCH: &str = "writer_epoch";
    /// The command that caused it, or [`TIMER`](super::TIMER) with the aggregate's id.
    pub const COMMAND_ID: &str = "command_id";
    /// The request that everything in the chain goes back to.
    pub const CORRELATION_ID: &str = "correlation_id";
    /// Of a command in an inbox: the position token that prices must hold before it is decided.
    pub const AFTER_POSITION: &str = "after_position";
}

/// What the header `command_id` begins with where a timer of the shard itself was the cause.
pub const TIMER: &str = "timer:";

/// Where an event stands in the log, and what it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The stream.
    pub stream: Stream,
    /// The partition.
    pub partition: u32,
    /// The broker's offset.
    pub offset: u64,
    /// Dense number in the topic-partition, from 1.
    pub seq: u64,
    /// The writer's epoch.
    pub writer_epoch: u64,
    /// The broker's time of the record.
    pub recorded_at: Timestamp,
    /// The command that caused it.
    pub command_id: String,
    /// The request that everything in the chain goes back to.
    pub correlation_id: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A header is missing or unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("header {name}: {problem}")]
pub struct HeaderError {
    /// The header.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Envelope {
    /// Reads the envelope of a record from its place and its headers, which `header` finds by name.
    ///
    /// # Errors
    /// [`HeaderError`] when `seq` or `writer_epoch` is missing or not a number.
    pub fn read<'a>(
        stream: Stream,
        partition: u32,
        offset: u64,
        recorded_at: Timestamp,
        header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, HeaderError> {
        let text = |name: &str| header(name).and_then(|value| std::str::from_utf8(value).ok());
        let number = |name: &'static str| {
            text(name)
                .ok_or(HeaderError {
                    name,
                    problem: "is missing",
                })?
                .parse::<u64>()
                .map_err(|_| HeaderError {
                    name,
                    problem: "is not a number",
                })
        };
        Ok(Self {
            stream,
            partition,
            offset,
            seq: number(header::SEQ)?,
            writer_epoch: number(header::WRITER_EPOCH)?,
            recorded_at,
            command_id: text(header::COMMAND_ID).unwrap_or_default().to_owned(),
            correlation_id: text(header::CORRELATION_ID).unwrap_or_default().to_owned(),
            traceparent: text(header::TRACEPARENT).map(str::to_owned),
        })
    }
}
