//! A projection as the stores describe it: its versions, who feeds each partition of them, and who
//! builds.

use std::collections::BTreeMap;

use cartwright_events::Timestamp;
use cartwright_read_model::builds::{Builder, Building, BuiltPartition};
use cartwright_read_model::feeders::{FedPartition, Feeder, owner};
use cartwright_read_model::versions::{Build, State, Switch, Verification, Version, Versions};
use cartwright_read_model::{Position, PositionKey, Projection};
use serde::Serialize;

/// A projection with every version of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// Its name.
    pub projection: &'static str,
    /// The store that holds its rows and this.
    pub store: &'static str,
    /// When the store was seen; old when it does not answer.
    pub seen_at: Timestamp,
    /// Counts changes of the versions.
    pub revision: u64,
    /// The version that reads are answered from.
    pub current: u32,
    /// By number.
    pub versions: Vec<VersionOverview>,
    /// How the current version came to be it, oldest first.
    pub switches: Vec<Switch>,
}

/// A version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionOverview {
    /// Its number.
    pub version: u32,
    /// `building`, `live`, `frozen`, `retiring` or `retired`.
    pub state: &'static str,
    /// Whether reads are answered from it.
    pub current: bool,
    /// The version of the declaration that it is built by.
    pub declared: u32,
    /// The version of its fold.
    pub fold_version: u32,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// How it is built, if not by projectors from the first record on.
    pub build: Option<Build>,
    /// How it compared with another, the last time.
    pub verification: Option<Verification>,
    /// The processes that have said of late that they feed it, those too that have no partition.
    pub feeders: Vec<FeederOverview>,
    /// How far building it is; `None` unless its state is `building`.
    pub building: Option<BuildingOverview>,
    /// The partitions that it has begun or that somebody feeds.
    pub partitions: Vec<PartitionOverview>,
}

/// A process that is to feed a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeederOverview {
    /// The process.
    pub instance: String,
    /// Where it answers over HTTP.
    pub address: String,
    /// When it said this.
    pub seen_at: Timestamp,
    /// What it is doing.
    pub phase: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why it is not following.
    pub reason: Option<String>,
    /// How many partitions are its own.
    pub partitions: usize,
}

/// How far building a version is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuildingOverview {
    /// The process that builds; `None`: none does now.
    pub builder: Option<Builder>,
    /// When a process last said that it does.
    pub seen_at: Option<Timestamp>,
    /// `stopped`, `paused`, `reading`, `waiting` or `done`: the first of these that a partition is.
    pub phase: Option<&'static str>,
    /// What the last process said of each partition, errors too.
    pub partitions: Vec<BuiltPartition>,
}

/// A partition of a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionOverview {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// What has been applied.
    pub position: Option<Position>,
    /// Who feeds it; `None`: nobody that has said so lately.
    pub owner: Option<Owner>,
}

/// The process that feeds a partition, and how the partition stands by its account.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Owner {
    /// The process.
    pub instance: String,
    /// Where it answers over HTTP.
    pub address: String,
    /// When it said this.
    pub seen_at: Timestamp,
    /// What it is doing.
    pub phase: String,
    /// How the partition stands.
    #[serde(flatten)]
    pub standing: Standing,
}

/// How a partition stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// Offsets not yet read.
    pub behind: Option<u64>,
    /// Age in seconds of the oldest record that is not applied, at most.
    pub lag_seconds: Option<f64>,
    /// Keys that are parked.
    pub parked_keys: u64,
    /// Records that are parked.
    pub parked_records: u64,
    /// Why the position has not moved for long although the log has.
    pub stuck: Option<String>,
}

/// What a store holds of a version beside its document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fed {
    pub(crate) positions: Vec<(PositionKey, Position)>,
    pub(crate) feeders: Vec<Feeder>,
    pub(crate) building: Building,
}

impl Overview {
    /// From what the store said at `now`; `fed` by the versions' numbers.
    pub(crate) fn of(
        projection: &'static Projection,
        versions: &Versions,
        fed: &BTreeMap<u32, Fed>,
        now: Timestamp,
    ) -> Self {
        let nothing = Fed::default();
        let each = versions.versions.iter().map(|version| {
            let fed = fed.get(&version.number).unwrap_or(&nothing);
            let current = version.number == versions.current;
            VersionOverview::of(version, current, fed, now)
        });
        Self {
            projection: projection.name,
            store: projection.store.name(),
            seen_at: now,
            revision: versions.revision,
            current: versions.current,
            versions: each.collect(),
            switches: versions.switches.clone(),
        }
    }
}

impl VersionOverview {
    fn of(version: &Version, current: bool, fed: &Fed, now: Timestamp) -> Self {
        let positions = fed.positions.iter().map(|(key, position)| {
            let at = (key.stream.topic().to_owned(), key.partition);
            (at, Some(*position))
        });
        let mut known: BTreeMap<(String, u32), Option<Position>> = positions.collect();
        for feeder in fed.feeders.iter().filter(|each| each.is_alive(now)) {
            for each in &feeder.feeds.partitions {
                known
                    .entry((each.topic.clone(), each.partition))
                    .or_default();
            }
        }
        let partitions = known.into_iter().map(|((topic, partition), position)| {
            let owner = owner(&fed.feeders, &topic, partition, now);
            PartitionOverview {
                owner: owner.map(|(feeder, own)| Owner::of(feeder, own)),
                topic,
                partition,
                position,
            }
        });
        Self {
            version: version.number,
            state: version.state.word(),
            current,
            declared: version.declared,
            fold_version: version.identity.fold_version,
            begun_at: version.begun_at,
            build: version.build.clone(),
            verification: version.verification.clone(),
            feeders: fed
                .feeders
                .iter()
                .filter(|each| each.is_alive(now))
                .map(FeederOverview::of)
                .collect(),
            building: (version.state == State::Building)
                .then(|| BuildingOverview::of(&fed.building, now)),
            partitions: partitions.collect(),
        }
    }
}

impl FeederOverview {
    fn of(feeder: &Feeder) -> Self {
        let Feeder {
            instance,
            address,
            seen_at,
            feeds,
        } = feeder;
        Self {
            instance: instance.clone(),
            address: address.clone(),
            seen_at: *seen_at,
            phase: feeds.phase.clone(),
            since: feeds.since,
            reason: feeds.reason.clone(),
            partitions: feeds.partitions.len(),
        }
    }
}

impl BuildingOverview {
    fn of(building: &Building, now: Timestamp) -> Self {
        let phases = ["stopped", "paused", "reading", "waiting", "done"];
        let any = |phase: &str| {
            let mut partitions = building.partitions.iter();
            partitions.any(|each| each.progress.get("phase").is_some_and(|word| word == phase))
        };
        Self {
            builder: building.living_builder(now).cloned(),
            seen_at: building.builder.as_ref().map(|(_, seen_at)| *seen_at),
            phase: phases.into_iter().find(|phase| any(phase)),
            partitions: building.partitions.clone(),
        }
    }
}

impl Owner {
    fn of(feeder: &Feeder, own: &FedPartition) -> Self {
        Self {
            instance: feeder.instance.clone(),
            address: feeder.address.clone(),
            seen_at: feeder.seen_at,
            phase: feeder.feeds.phase.clone(),
            standing: Standing {
                behind: own.behind,
                lag_seconds: own.lag_seconds,
                parked_keys: own.parked_keys,
                parked_records: own.parked_records,
                stuck: own.stuck.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
