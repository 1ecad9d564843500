//! A projection as the stores describe it: its versions, and who feeds each partition of them.

use std::collections::BTreeMap;

use cartwright_events::Timestamp;
use cartwright_read_model::feeders::{FedPartition, Feeder, owner};
use cartwright_read_model::versions::{Build, Switch, Verification, Version, Versions};
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
    /// The partitions that it has begun or that somebody feeds.
    pub partitions: Vec<PartitionOverview>,
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
            partitions: partitions.collect(),
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
mod tests {
    use cartwright_events::Stream;
    use cartwright_read_model::feeders::Feeds;
    use cartwright_read_model::tables::projections::CATALOG;

    use super::*;

    #[test]
    fn a_partition_that_was_begun_is_told_of_even_when_nobody_feeds_it() {
        let now = Timestamp::from_micros(100_000_000);
        let position = |partition| {
            let key = PositionKey {
                projection: CATALOG.name,
                version: 1,
                stream: Stream::Product,
                partition,
            };
            let position = Position {
                generation: 1,
                next_offset: 5,
                seq: 3,
                recorded_at: now,
            };
            (key, position)
        };
        let topic = Stream::Product.topic();
        let own = |partition| FedPartition {
            topic: topic.to_owned(),
            partition,
            behind: Some(0),
            lag_seconds: Some(0.5),
            parked_keys: 0,
            parked_records: 0,
            stuck: None,
        };
        let feeder = Feeder {
            instance: "one".to_owned(),
            address: "there:1".to_owned(),
            seen_at: now,
            feeds: Feeds {
                phase: "following".to_owned(),
                reason: None,
                partitions: vec![own(1), own(2)],
            },
        };
        let fed = Fed {
            positions: vec![position(0), position(1)],
            feeders: vec![feeder],
        };
        let versions = Versions::begin(&CATALOG, 1, now);
        let overview = Overview::of(&CATALOG, &versions, &[(1, fed)].into(), now);
        let version = &overview.versions[0];
        assert!(version.current && version.state == "live");
        let told = version.partitions.iter().map(|each| {
            let owner = each.owner.as_ref().map(|owner| owner.instance.as_str());
            (each.partition, each.position.is_some(), owner)
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (0, true, None),
                (1, true, Some("one")),
                (2, false, Some("one"))
            ]
        );
    }
}
