//! Whether positions hold everything that the log held at a moment.

use std::collections::BTreeMap;

use cartwright_event_log::{EventLog, Start, TopicPartition};
use cartwright_read_model::{Position, PositionKey};
use serde::Serialize;

use crate::reading::read_once;

/// A position at most so many offsets before the end is looked past for records: what lies there may
/// be nothing but the marks of commits, which no position counts.
const LOOKED_THROUGH: u64 = 1_000;

/// A partition of which something is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that is not applied.
    pub next_offset: u64,
    /// The first offset that need not be.
    pub end: u64,
}

/// The partitions of which `positions`, of the log's `generation`, do not hold every record before
/// the end.
///
/// # Errors
/// When the log does not answer.
pub fn missing(
    log: &impl EventLog,
    positions: &[(PositionKey, Position)],
    generation: u32,
    ends: &BTreeMap<TopicPartition, u64>,
) -> anyhow::Result<Vec<Missing>> {
    let mut missing = Vec::new();
    for (at, end) in ends {
        let position = position(positions, generation, at);
        let next_offset = position.map_or(0, |position| position.next_offset);
        if next_offset < *end && holds_records(log, at, next_offset, *end)? {
            missing.push(Missing {
                topic: at.topic.to_string(),
                partition: at.partition,
                next_offset,
                end: *end,
            });
        }
    }
    Ok(missing)
}

/// The one of a partition, where it is of the log's `generation`: another one says nothing of this log.
pub(crate) fn position(
    positions: &[(PositionKey, Position)],
    generation: u32,
    at: &TopicPartition,
) -> Option<Position> {
    let found = positions.iter().find(|(key, position)| {
        (key.stream.topic(), key.partition) == (at.topic.as_ref(), at.partition)
            && position.generation == generation
    });
    found.map(|(_, position)| *position)
}

fn holds_records(
    log: &impl EventLog,
    at: &TopicPartition,
    from: u64,
    end: u64,
) -> anyhow::Result<bool> {
    if end - from > LOOKED_THROUGH {
        return Ok(true);
    }
    let start = match from {
        0 => Start::Beginning,
        from => Start::Offset(from),
    };
    let mut found = false;
    read_once(log, &[(at.clone(), start)], |record| {
        found |= record.offset < end;
        Ok(())
    })?;
    Ok(found)
}
