//! What a build says of itself in its version's store, and who is known by it to build.

use std::time::{Duration, Instant};

use cartwright_event_log::TopicPartition;
use cartwright_events::Timestamp;
use cartwright_read_model::tables::BUILDS;
use cartwright_read_model::{FromCell, Row, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::build::{Board, PartitionProgress};
use crate::context::Context;
use crate::registry::Home;

/// A build that has said nothing for that long is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(8);
/// In place of a topic, in the row that says who builds.
const BUILDER: &str = "-";

/// Who builds a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// Its process.
    pub pid: u32,
    /// Tells two processes of one number apart.
    pub began_at: Timestamp,
}

/// What builds have said.
#[derive(Debug, Default)]
pub struct Said {
    /// Who builds, if somebody does.
    pub builder: Option<Builder>,
    /// When it last said so.
    pub seen_at: Option<Timestamp>,
    /// How each partition stands, and when that was said.
    pub partitions: Vec<(TopicPartition, PartitionProgress)>,
}

pub(super) fn say(
    context: &Context,
    home: &Home<'_>,
    number: u32,
    me: &Builder,
    board: &Board,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let put = |topic: &str, partition: u32, progress: serde_json::Value| {
        let key = [
            home.projection.name.into(),
            number.into(),
            topic.into(),
            partition.into(),
        ];
        let cells = [("progress", Value::Json(progress)), ("seen_at", now.into())];
        context.wait(home.control.put(&BUILDS, &key, &cells))
    };
    // A version that was cancelled meanwhile leaves no row behind.
    let versions = home.versions()?;
    if versions.get(number).is_none() {
        return Ok(());
    }
    put(BUILDER, 0, json!(me))?;
    for (at, progress) in board.partitions() {
        put(&at.topic, at.partition, json!(progress))?;
    }
    Ok(())
}

/// Nobody builds it any more. Of a build that is `done` nothing is kept: what it did is not what becomes of
/// the version.
pub(super) fn forget(
    context: &Context,
    home: &Home<'_>,
    number: u32,
    done: bool,
) -> anyhow::Result<()> {
    let version = [home.projection.name.into(), number.into()];
    let builder = [BUILDER.into(), 0_u32.into()];
    let key = version.into_iter().chain(builder);
    let key: Vec<Value> = key.take(if done { 2 } else { 4 }).collect();
    Ok(context.wait(home.control.delete(&BUILDS, &key))?)
}

/// What the builds of a version have said.
///
/// # Errors
/// What the store said.
pub fn said(context: &Context, home: &Home<'_>, number: u32) -> anyhow::Result<Said> {
    let key = [home.projection.name.into(), number.into()];
    let rows = context.wait(home.control.rows(&BUILDS, &key))?;
    let mut said = Said::default();
    for row in &rows {
        take_in(&mut said, row);
    }
    Ok(said)
}

/// Who builds a version: a process that says so again while we watch. One that was killed a moment
/// ago does not.
///
/// # Errors
/// What the store said.
pub fn living_builder(
    context: &Context,
    home: &Home<'_>,
    number: u32,
) -> anyhow::Result<Option<Builder>> {
    let first = said(context, home, number)?.seen_at;
    let deadline = Instant::now() + DEAD_AFTER;
    loop {
        let now = said(context, home, number)?;
        if now.builder.is_none() || (now.seen_at != first) {
            return Ok(now.builder);
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn take_in(said: &mut Said, row: &Row) -> Option<()> {
    let topic = String::from_cell(row.value("topic"))?;
    let partition = u32::from_cell(row.value("log_partition"))?;
    let seen_at = Timestamp::from_cell(row.value("seen_at"))?;
    let Value::Json(progress) = row.value("progress").clone() else {
        return None;
    };
    if topic == BUILDER {
        let age_us = Timestamp::now().as_micros() - seen_at.as_micros();
        let alive = i128::from(age_us) < DEAD_AFTER.as_micros() as i128;
        said.seen_at = Some(seen_at);
        said.builder = serde_json::from_value(progress).ok().filter(|_| alive);
        return Some(());
    }
    let at = TopicPartition::new(topic, partition);
    said.partitions
        .push((at, serde_json::from_value(progress).ok()?));
    Some(())
}
