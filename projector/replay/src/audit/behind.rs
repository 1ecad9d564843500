//! Views that are behind the log.

use std::time::Duration;

use cartwright_event_log::{EventLog, ReaderPurpose, TopicPartition};
use cartwright_events::Timestamp;
use cartwright_read_model::Position;

use super::findings::{Evidence, Finding, Severity};
use super::watch::Seen;
use crate::reading::record_from;

/// What is wrong with a view, `label`, that has applied a partition up to `position` while the log was
/// read as far as `seen`: it lacks an event that the log has held for longer than `settle` at `now`.
///
/// That is asked of the oldest event that it lacks. The last one that was read is always young where
/// traffic flows, and the position's own time is old where nothing came for a while. So it needs no memory
/// of an audit before.
///
/// # Errors
/// When the log does not answer.
pub fn behind(
    log: &impl EventLog,
    label: &str,
    at: &TopicPartition,
    position: Option<Position>,
    seen: Seen,
    (now, settle): (Timestamp, Duration),
) -> anyhow::Result<Option<Finding>> {
    let (seq, next_offset) = position.map_or((0, 0), |each| (each.seq, each.next_offset));
    if seq >= seen.seq {
        return Ok(None);
    }
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    let oldest = record_from(&mut reader, at, next_offset, seen.next_offset)?;
    let oldest = oldest.map(|record| Timestamp::from_micros(record.timestamp_us));
    // One that was deleted meanwhile was there before the last one.
    let Some(since) = oldest.or(seen.recorded_at) else {
        return Ok(None);
    };
    let age_us = i128::from(now.as_micros()) - i128::from(since.as_micros());
    let is_late = age_us > settle.as_micros() as i128;
    Ok(is_late.then(|| Finding {
        severity: Severity::Error,
        rule: "read_model_behind",
        subject: label.to_owned(),
        detail: format!(
            "applied seq {seq} of {} in {}[{}]; what comes next is there since {since}",
            seen.seq, at.topic, at.partition
        ),
        evidence: Some(Evidence {
            topic: at.topic.to_string(),
            partition: at.partition,
            offset: next_offset,
        }),
    }))
}
