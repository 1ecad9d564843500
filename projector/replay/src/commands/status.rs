//! `status`: how versions stand, partition by partition.

use std::collections::BTreeMap;
use std::time::Duration;

use cartwright_event_log::TopicPartition;
use cartwright_events::Timestamp;
use cartwright_read_model::feeders::{Feeder, owner};
use cartwright_read_model::versions::{State, Version, Versions};
use cartwright_read_model::{Position, PositionKey, Projection};
use serde::Serialize;

use super::builder::said;
use crate::build::{PartitionProgress, Phase};
use crate::context::{Context, known};
use crate::exit::Exit;
use crate::output::table;
use crate::reading;
use crate::registry::Home;

/// Between two looks at the positions, from which the rate is taken.
const BETWEEN: Duration = Duration::from_secs(1);
/// The phase of a projector that has nothing to complain of.
const FOLLOWING: &str = cartwright_projector::board::Phase::Following.word();

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection. Default: all.
    projection: Option<String>,
}

#[derive(Debug, Serialize)]
struct Standing {
    projection: &'static str,
    version: u32,
    state: &'static str,
    current: bool,
    paused: bool,
    builder_pid: Option<u32>,
    /// What projectors say that they are doing with it, and why they are not following; of several
    /// that which is worst.
    phase: Option<String>,
    reason: Option<String>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Partition {
    topic: String,
    partition: u32,
    next_offset: u64,
    seq: u64,
    end: u64,
    behind: u64,
    records_per_s: f64,
    eta_s: Option<u64>,
    outcomes: Option<Outcomes>,
    error: Option<String>,
    /// The process that feeds it, by its own account, and how it stands there.
    owner: Option<Owner>,
    /// Age of the oldest record that is not applied.
    lag_s: Option<f64>,
    stuck: Option<String>,
}

#[derive(Debug, Serialize)]
struct Owner {
    instance: String,
    address: String,
    /// When it said so.
    seen_at: Timestamp,
}

#[derive(Debug, Serialize)]
struct Outcomes {
    records: u64,
    dropped: u64,
    parked: u64,
    rows: u64,
}

type Positions = Vec<(PositionKey, Position)>;

/// Tells how every version that is built or fed stands.
///
/// # Errors
/// An unknown projection, or a store or a log that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let wanted: Vec<&'static Projection> = match &arguments.projection {
        Some(name) => vec![known(name)?],
        None => cartwright_read_model::PROJECTIONS.to_vec(),
    };
    let mut looked = Vec::new();
    for projection in wanted {
        let home = Home::open(context, projection.name)?;
        let Some(versions) = home.find()? else {
            continue;
        };
        for version in versions.versions.clone() {
            if matches!(version.state, State::Retired | State::Retiring) {
                continue;
            }
            let before = home.positions(version.number)?;
            looked.push((projection, versions.clone(), version, before));
        }
    }
    std::thread::sleep(BETWEEN);
    let log = context.log()?;
    let mut standings = Vec::new();
    for (projection, versions, version, before) in looked {
        let home = Home::open(context, projection.name)?;
        let ends = reading::ends(&log, projection)?;
        let mut standing = standing(context, &home, &versions, &version, &before, &ends)?;
        let feeders = home.control.feeders(projection.name, version.number);
        standing.add(&context.wait(feeders)?, Timestamp::now());
        standings.push(standing);
    }
    context
        .output
        .result(&standings, |standings| text(standings));
    Ok(Exit::Done)
}

impl Standing {
    /// Adds what the processes say that feed it.
    fn add(&mut self, feeders: &[Feeder], now: Timestamp) {
        let alive = feeders.iter().filter(|each| each.is_alive(now));
        let follows = |each: &&Feeder| each.feeds.phase == FOLLOWING && each.feeds.reason.is_none();
        if let Some(worst) = alive.min_by_key(follows) {
            self.phase = Some(worst.feeds.phase.clone());
            self.reason.clone_from(&worst.feeds.reason);
        }
        for partition in &mut self.partitions {
            let owner = owner(feeders, &partition.topic, partition.partition, now);
            let Some((feeder, own)) = owner else {
                continue;
            };
            partition.owner = Some(Owner {
                instance: feeder.instance.clone(),
                address: feeder.address.clone(),
                seen_at: feeder.seen_at,
            });
            partition.lag_s = own.lag_seconds;
            partition.stuck.clone_from(&own.stuck);
        }
    }
}

fn standing(
    context: &Context,
    home: &Home<'_>,
    versions: &Versions,
    version: &Version,
    before: &Positions,
    ends: &BTreeMap<TopicPartition, u64>,
) -> anyhow::Result<Standing> {
    let number = version.number;
    let after = home.positions(number)?;
    let said = said(context, home, number)?;
    let progress: BTreeMap<_, _> = said.partitions.into_iter().collect();
    let partitions = ends.iter().map(|(at, end)| {
        let at_place = |key: &PositionKey| {
            (key.stream.topic(), key.partition) == (at.topic.as_ref(), at.partition)
        };
        let find = |positions: &Positions| {
            let found = positions.iter().find(|(key, _)| at_place(key));
            found.map(|(_, position)| *position)
        };
        partition(at, *end, find(before), find(&after), progress.get(at))
    });
    Ok(Standing {
        projection: home.projection.name,
        version: number,
        state: version.state.word(),
        current: versions.current == number,
        paused: version.build.as_ref().is_some_and(|build| build.paused),
        builder_pid: said.builder.map(|builder| builder.pid),
        phase: None,
        reason: None,
        partitions: match version.state {
            // Its end is not the log's.
            State::Frozen => Vec::new(),
            _ => partitions.collect(),
        },
    })
}

fn partition(
    at: &TopicPartition,
    end: u64,
    before: Option<Position>,
    after: Option<Position>,
    progress: Option<&PartitionProgress>,
) -> Partition {
    let seq = |position: Option<Position>| position.map_or(0, |position| position.seq);
    let next_offset = after.map_or(0, |position| position.next_offset);
    let rate = seq(after).saturating_sub(seq(before)) as f64 / BETWEEN.as_secs_f64();
    let done = progress.is_some_and(|progress| progress.phase == Phase::Done);
    let behind = match progress {
        // Positions count no control records at the end; who builds knows better.
        Some(progress) if done && progress.end >= end => 0,
        _ => end.saturating_sub(next_offset),
    };
    Partition {
        topic: at.topic.to_string(),
        partition: at.partition,
        next_offset,
        seq: seq(after),
        end,
        behind,
        records_per_s: rate,
        eta_s: (rate > 0.0 && behind > 0).then(|| (behind as f64 / rate).ceil() as u64),
        outcomes: progress.map(|progress| Outcomes {
            records: progress.records,
            dropped: progress.dropped,
            parked: progress.parked,
            rows: progress.rows,
        }),
        error: progress.and_then(|progress| progress.error.clone()),
        owner: None,
        lag_s: None,
        stuck: None,
    }
}

fn text(standings: &[Standing]) -> String {
    let mut text = String::new();
    for standing in standings {
        let current = if standing.current { ", current" } else { "" };
        let paused = if standing.paused { ", paused" } else { "" };
        let builder = match (standing.state, standing.builder_pid) {
            ("building", Some(pid)) => format!(", by process {pid}"),
            ("building", None) => ", by nobody now: `replay resume` goes on".to_owned(),
            _ => String::new(),
        };
        let doing = match (&standing.phase, &standing.reason) {
            (Some(phase), Some(reason)) => format!(", {phase}: {reason}"),
            (Some(phase), None) => format!(", {phase}"),
            (None, _) => String::new(),
        };
        let Standing {
            projection,
            version,
            state,
            ..
        } = standing;
        text.push_str(&format!(
            "{projection}@{version}: {state}{current}{paused}{builder}{doing}\n"
        ));
        let rows: Vec<Vec<String>> = standing.partitions.iter().map(cells).collect();
        if !rows.is_empty() {
            let header = [
                "",
                "partition",
                "seq",
                "behind",
                "lag",
                "records/s",
                "eta",
                "parked",
                "fed by",
                "error",
            ];
            text.push_str(&table(&header, &rows));
            text.push_str("\n\n");
        }
    }
    text
}

fn cells(partition: &Partition) -> Vec<String> {
    let outcomes = partition.outcomes.as_ref();
    vec![
        String::new(),
        format!("{}[{}]", partition.topic, partition.partition),
        partition.seq.to_string(),
        partition.behind.to_string(),
        partition
            .lag_s
            .map_or_else(String::new, |lag| format!("{lag:.1} s")),
        format!("{:.0}", partition.records_per_s),
        partition
            .eta_s
            .map_or_else(String::new, |eta| format!("{eta} s")),
        outcomes.map_or_else(String::new, |outcomes| outcomes.parked.to_string()),
        partition
            .owner
            .as_ref()
            .map_or_else(String::new, |owner| owner.address.clone()),
        match (&partition.error, &partition.stuck) {
            (Some(error), _) => error.clone(),
            (None, Some(stuck)) => format!("stuck: {stuck}"),
            (None, None) => String::new(),
        },
    ]
}
