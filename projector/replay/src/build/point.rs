//! Where a build of a point in time ends.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use cartwright_event_log::{EventLog, LogReader as _, ReaderPurpose, TopicPartition};
use cartwright_events::PositionToken;
use cartwright_projector::Plan;
use cartwright_read_model::Projection;
use cartwright_read_model::versions::{Build, Until};

use super::partitions;
use super::source::{Cut, End};
use crate::reading::{ends, record_from};

/// Every partition of the plan's topics, up to where `build` ends. Of a point in time that is not behind where
/// the log ended when it was begun: killed and gone on with later, it holds what an unbroken one would.
///
/// # Errors
/// When the log does not answer.
pub fn partitions_of<L: EventLog>(
    log: &L,
    plan: &Plan,
    build: &Build,
) -> anyhow::Result<Vec<(TopicPartition, End)>> {
    let mut partitions = partitions(log, plan, |at| cut_at(build, at))?;
    if build.until.is_some() && !build.log_ends.is_empty() {
        for (at, end) in &mut partitions {
            // One that was not there then held nothing.
            let then = build.log_ends.get(&place(&at.topic, at.partition));
            end.offset = end.offset.min(then.copied().unwrap_or(0));
        }
    }
    Ok(partitions)
}

/// The record in this partition before which a build of a point in time ends.
#[must_use]
pub fn cut_at(build: &Build, at: &TopicPartition) -> Option<Cut> {
    let until = build.until.as_ref()?;
    if let Some(time) = until.time {
        return Some(Cut::Time(time.as_micros()));
    }
    let seq = until.ends.get(&place(&at.topic, at.partition))?;
    Some(Cut::Seq(*seq))
}

/// Where the projection's partitions end now, as [`Build::log_ends`] keeps it.
///
/// # Errors
/// When the log does not answer.
pub fn log_ends(
    log: &impl EventLog,
    projection: &Projection,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let ends = ends(log, projection)?.into_iter();
    Ok(ends
        .map(|(at, end)| (place(&at.topic, at.partition), end))
        .collect())
}

/// The first offset that is not read. Times and seqs grow with offsets, so it is looked for by halves.
///
/// # Errors
/// When the log does not answer.
pub fn first_beyond(log: &impl EventLog, at: &TopicPartition, end: &End) -> anyhow::Result<u64> {
    let Some(cut) = end.cut else {
        return Ok(end.offset);
    };
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    let (low, _) = reader.watermarks(at)?;
    let (mut within, mut beyond) = (low, end.offset);
    while within < beyond {
        let middle = within + (beyond - within) / 2;
        match record_from(&mut reader, at, middle, beyond)? {
            Some(record) if !cut.excludes(&record) => within = record.offset + 1,
            _ => beyond = middle,
        }
    }
    Ok(within)
}

/// Refuses a position that would cut nothing off, since it says nothing of the projection or is to come: the
/// view would end where the log ends, and be taken for what it is not.
///
/// # Errors
/// Such a position, or when the log does not answer.
pub fn check_held(
    log: &impl EventLog,
    projection: &Projection,
    until: &Until,
) -> anyhow::Result<()> {
    if until.time.is_some() {
        return Ok(());
    }
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    let (mut named, mut held) = (until.ends.clone(), 0);
    named.retain(|name, _| {
        let mut streams = projection.streams.iter();
        streams.any(|stream| name.starts_with(&format!("{}-", stream.topic())))
    });
    for (at, end) in ends(log, projection)? {
        let Some(seq) = named.remove(&place(&at.topic, at.partition)) else {
            continue;
        };
        held += 1;
        let Some(before) = seq.checked_sub(1) else {
            continue;
        };
        let cut = Some(Cut::Seq(before));
        let from = first_beyond(log, &at, &End { offset: end, cut })?;
        ensure!(
            record_from(&mut reader, &at, from, end)?.is_some(),
            "--until is at seq {seq} of {at}, and the log does not hold it"
        );
    }
    if let Some(name) = named.keys().next() {
        bail!("--until names {name}, and the log has no such partition");
    }
    let name = projection.name;
    ensure!(held > 0, "--until names no partition that {name} reads");
    Ok(())
}

/// The seqs of a position, by partition.
#[must_use]
pub fn seqs(token: &PositionToken) -> BTreeMap<String, u64> {
    let seqs = token.seqs.iter();
    seqs.map(|(&(stream, partition), &seq)| (place(stream.topic(), partition), seq))
        .collect()
}

fn place(topic: &str, partition: u32) -> String {
    format!("{topic}-{partition}")
}
