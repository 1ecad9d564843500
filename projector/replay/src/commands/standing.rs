//! How a version stands, partition by partition.

use std::collections::BTreeMap;
use std::time::Duration;

use cartwright_event_log::TopicPartition;
use cartwright_event_log::kafka::KafkaLog;
use cartwright_events::Timestamp;
use cartwright_read_model::feeders::{Feeder, owner};
use cartwright_read_model::versions::{State, Version, Versions};
use cartwright_read_model::{Position, PositionKey};
use serde::Serialize;

use super::builder::said;
use super::finish::holds_still;
use crate::build::{PartitionProgress, Phase};
use crate::context::Context;
use crate::parking;
use crate::reached::{missing, position};
use crate::registry::Home;

/// Between two looks at the positions, from which the rate of a version is taken that is fed.
pub(super) const BETWEEN: Duration = Duration::from_secs(1);
/// The phase of a projector that has nothing to complain of.
const FOLLOWING: &str = cartwright_projector::board::Phase::Following.word();

#[derive(Debug, Serialize)]
pub(super) struct Standing {
    pub(super) projection: &'static str,
    pub(super) version: u32,
    pub(super) state: &'static str,
    pub(super) current: bool,
    pub(super) paused: bool,
    pub(super) builder_pid: Option<u32>,
    /// What projectors say that they are doing with it, and why they are not following; of several
    /// that which is worst.
    pub(super) phase: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) next_offset: u64,
    pub(super) seq: u64,
    /// The first offset that need not be read: of a build where it ends, otherwise where the log does.
    pub(super) end: u64,
    /// Offsets to the end, control records included; 0 when no record is among them.
    pub(super) behind: u64,
    /// Of a build since it began to read, otherwise of a second.
    pub(super) records_per_s: f64,
    /// At this rate, at most: control records take no time.
    pub(super) eta_s: Option<u64>,
    /// Records that are put aside now.
    pub(super) parked: u64,
    /// What its build has done so far.
    pub(super) outcomes: Option<Outcomes>,
    pub(super) error: Option<String>,
    /// The process that feeds it, by its own account, and how it stands there.
    pub(super) owner: Option<Owner>,
    /// Age of the oldest record that is not applied: by the account of the process that feeds it, or else
    /// at most, from the log's time of the last one that is. None for a point in time.
    pub(super) lag_s: Option<f64>,
    pub(super) stuck: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Owner {
    pub(super) instance: String,
    pub(super) address: String,
    /// When it said so.
    pub(super) seen_at: Timestamp,
}

#[derive(Debug, Serialize)]
pub(super) struct Outcomes {
    records: u64,
    dropped: u64,
    parked: u64,
    rows: u64,
}

pub(super) type Positions = Vec<(PositionKey, Position)>;

impl Standing {
    /// Adds what the processes say that feed it.
    pub(super) fn add(&mut self, feeders: &[Feeder], now: Timestamp) {
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
            partition.lag_s = own.lag_seconds.or(partition.lag_s);
            partition.stuck.clone_from(&own.stuck);
        }
    }
}

/// What a version is held against.
pub(super) struct Look<'a> {
    pub(super) log: &'a KafkaLog,
    pub(super) ends: &'a BTreeMap<TopicPartition, u64>,
    pub(super) before: &'a Positions,
    pub(super) feeders: &'a [Feeder],
    pub(super) now: Timestamp,
}

pub(super) fn standing(
    context: &Context,
    home: &Home<'_>,
    versions: &Versions,
    version: &Version,
    look: &Look<'_>,
) -> anyhow::Result<Standing> {
    let number = version.number;
    let after = home.positions(number)?;
    let said = said(home, number)?;
    let of = parking::Version {
        projection: home.projection,
        version: number,
    };
    let waiting = match version.state {
        State::Frozen => Vec::new(),
        _ => parking::waiting(context, of)?,
    };
    let is_building = version.state == State::Building;
    // What was said of a build is of no interest when it is over.
    let progress: BTreeMap<_, _> = match is_building {
        true => said.partitions.into_iter().collect(),
        false => BTreeMap::new(),
    };
    let mut unfed = look.ends.clone();
    unfed.retain(|at, _| owner(look.feeders, &at.topic, at.partition, look.now).is_none());
    let missing = match version.state {
        State::Live => missing(look.log, &after, context.generation(), &unfed)?,
        _ => Vec::new(),
    };
    let generation = context.generation();
    let partitions = look.ends.iter().map(|(at, end)| {
        let at_place = |topic: &str, partition| (topic, partition) == (&*at.topic, at.partition);
        let find = |positions: &Positions| position(positions, generation, at);
        let parked = waiting.iter();
        let parked = parked.filter(|each| at_place(each.topic, each.partition));
        let seen = Seen {
            end: *end,
            before: find(look.before),
            after: find(&after),
            is_whole: version.state == State::Live
                && unfed.contains_key(at)
                && !missing
                    .iter()
                    .any(|each| at_place(&each.topic, each.partition)),
            progress: progress.get(at),
            is_read: said.builder.is_some(),
            parked: parked.count() as u64,
            now: look.now,
        };
        partition(at, &seen)
    });
    let mut partitions: Vec<Partition> = match version.state {
        // Its end is not the log's.
        State::Frozen => Vec::new(),
        _ => partitions.collect(),
    };
    if version.is_partial() {
        for partition in &mut partitions {
            partition.lag_s = None;
        }
    }
    Ok(Standing {
        projection: home.projection.name,
        version: number,
        state: version.state.word(),
        current: versions.current == number,
        paused: holds_still(version),
        builder_pid: said.builder.map(|builder| builder.pid),
        phase: None,
        reason: None,
        partitions,
    })
}

/// What is known of a partition.
struct Seen<'a> {
    /// Where the log ends.
    end: u64,
    /// The positions at two looks.
    before: Option<Position>,
    after: Option<Position>,
    /// Whether no record is missing, whatever the offsets say.
    is_whole: bool,
    /// What its build has said, while there is one.
    progress: Option<&'a PartitionProgress>,
    /// Whether somebody builds.
    is_read: bool,
    parked: u64,
    now: Timestamp,
}

fn partition(at: &TopicPartition, seen: &Seen<'_>) -> Partition {
    let seq = |position: Option<Position>| position.map_or(0, |position| position.seq);
    let Seen {
        before,
        after,
        progress,
        ..
    } = *seen;
    let next_offset = after.map_or(0, |position| position.next_offset);
    let rate = match progress {
        Some(progress) if seen.is_read && progress.phase == Phase::Reading => {
            progress.records_per_s
        }
        Some(_) => 0.0,
        None => seq(after).saturating_sub(seq(before)) as f64 / BETWEEN.as_secs_f64(),
    };
    // Positions count no control records at the end; who builds knows better.
    let is_whole = seen.is_whole || progress.is_some_and(|progress| progress.phase == Phase::Done);
    let end = progress.map_or(seen.end, |progress| progress.end);
    let behind = match is_whole {
        true => 0,
        false => end.saturating_sub(next_offset),
    };
    let age = |position: Position| {
        let age_us = seen.now.as_micros() - position.recorded_at.as_micros();
        (age_us.max(0) as f64 / 1_000_000.0 * 10.0).round() / 10.0
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
        parked: seen.parked,
        outcomes: progress.map(|progress| Outcomes {
            records: progress.records,
            dropped: progress.dropped,
            parked: progress.parked,
            rows: progress.rows,
        }),
        error: progress.and_then(|progress| progress.error.clone()),
        owner: None,
        lag_s: match behind {
            0 => Some(0.0),
            _ => after.filter(|position| position.seq > 0).map(age),
        },
        stuck: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(next_offset: u64, seq: u64) -> Option<Position> {
        Some(Position {
            generation: 1,
            next_offset,
            seq,
            recorded_at: Timestamp::from_micros(90_000_000),
        })
    }

    fn seen(progress: Option<&PartitionProgress>) -> Seen<'_> {
        Seen {
            end: 200,
            before: position(100, 60),
            after: position(100, 60),
            is_whole: false,
            progress,
            is_read: true,
            parked: 3,
            now: Timestamp::from_micros(100_000_000),
        }
    }

    fn at() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    #[test]
    fn a_build_is_told_by_what_it_says_of_its_rate_and_its_end() {
        let progress = PartitionProgress {
            phase: Phase::Reading,
            end: 150,
            records_per_s: 10.0,
            ..PartitionProgress::default()
        };
        // Between two batches nothing moves, and the build goes on all the same.
        let told = partition(&at(), &seen(Some(&progress)));
        assert_eq!((told.end, told.behind), (150, 50));
        assert_eq!((told.records_per_s, told.eta_s), (10.0, Some(5)));
        let nobody = Seen {
            is_read: false,
            ..seen(Some(&progress))
        };
        let told = partition(&at(), &nobody);
        assert_eq!((told.records_per_s, told.eta_s), (0.0, None));
        let done = PartitionProgress {
            phase: Phase::Done,
            ..progress
        };
        let told = partition(&at(), &seen(Some(&done)));
        assert_eq!((told.behind, told.lag_s), (0, Some(0.0)));
    }

    #[test]
    fn what_nobody_feeds_is_as_old_as_what_it_shows_unless_nothing_is_missing() {
        let told = partition(&at(), &seen(None));
        assert_eq!((told.behind, told.lag_s), (100, Some(10.0)));
        assert_eq!((told.parked, told.outcomes.is_none()), (3, true));
        let whole = Seen {
            is_whole: true,
            ..seen(None)
        };
        let told = partition(&at(), &whole);
        assert_eq!((told.behind, told.lag_s), (0, Some(0.0)));
        let unbegun = Seen {
            after: None,
            ..seen(None)
        };
        assert_eq!(partition(&at(), &unbegun).lag_s, None, "nothing is known");
    }
}
