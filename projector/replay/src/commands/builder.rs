//! What a build says of itself in its version's store, and who is known by it to build.

use std::time::{Duration, Instant};

use cartwright_event_log::TopicPartition;
use cartwright_events::Timestamp;
use cartwright_read_model::Value;
use cartwright_read_model::builds::{BUILDER_LIFE, BUILDER_ROW, Builder, BuiltPartition};
use cartwright_read_model::tables::BUILDS;
use serde_json::json;

use crate::build::{Board, PartitionProgress};
use crate::registry::Home;

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

pub(super) fn say(home: &Home<'_>, number: u32, me: &Builder, board: &Board) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let put = |topic: &str, partition: u32, progress: serde_json::Value| {
        let key = [
            home.projection.name.into(),
            number.into(),
            topic.into(),
            partition.into(),
        ];
        let cells = [("progress", Value::Json(progress)), ("seen_at", now.into())];
        home.ask(home.control.put(&BUILDS, &key, &cells))
    };
    // A version that was cancelled meanwhile leaves no row behind.
    let versions = home.versions()?;
    if versions.get(number).is_none() {
        return Ok(());
    }
    put(BUILDER_ROW, 0, json!(me))?;
    for (at, progress) in board.partitions() {
        put(&at.topic, at.partition, json!(progress))?;
    }
    Ok(())
}

/// Nobody builds it any more. Of a build that is `done` nothing is kept: what it did is not what becomes of
/// the version.
pub(super) fn forget(home: &Home<'_>, number: u32, done: bool) -> anyhow::Result<()> {
    let version = [home.projection.name.into(), number.into()];
    let builder = [BUILDER_ROW.into(), 0_u32.into()];
    let key = version.into_iter().chain(builder);
    let key: Vec<Value> = key.take(if done { 2 } else { 4 }).collect();
    home.ask(home.control.delete(&BUILDS, &key))
}

/// What the builds of a version have said.
///
/// # Errors
/// What the store said.
pub fn said(home: &Home<'_>, number: u32) -> anyhow::Result<Said> {
    let building = home.control.building(home.projection.name, number);
    let building = home.ask(building)?;
    Ok(Said {
        builder: building.living_builder(Timestamp::now()).cloned(),
        seen_at: building.builder.map(|(_, seen_at)| seen_at),
        partitions: building
            .partitions
            .into_iter()
            .filter_map(progress)
            .collect(),
    })
}

fn progress(of: BuiltPartition) -> Option<(TopicPartition, PartitionProgress)> {
    let at = TopicPartition::new(of.topic, of.partition);
    Some((at, serde_json::from_value(of.progress.into()).ok()?))
}

/// Who builds a version: a process that says so again while we watch. One that was killed a moment
/// ago does not.
///
/// # Errors
/// What the store said.
pub fn living_builder(home: &Home<'_>, number: u32) -> anyhow::Result<Option<Builder>> {
    let first = said(home, number)?.seen_at;
    let deadline = Instant::now() + BUILDER_LIFE;
    loop {
        let now = said(home, number)?;
        if now.builder.is_none() || (now.seen_at != first) {
            return Ok(now.builder);
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
