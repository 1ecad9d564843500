//! Who feeds a version: what each projector says of itself, where every other process can read it.
//!
//! The consumer group decides who feeds a partition, and the guard of the sinks that nobody else
//! writes; this only tells people. It is up to a few seconds old.

use std::time::Duration;

use cartwright_events::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::error::ReadModelError;
use crate::row::{FromCell, Row};
use crate::tables::WORKERS;
use crate::value::Value;

/// How long what a projector said counts; it says it anew every few seconds.
pub const FEEDER_LIFE: Duration = Duration::from_secs(10);

/// A process that feeds partitions of a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Feeder {
    /// A name of its own, made at its start.
    pub instance: String,
    /// Where it answers over HTTP.
    pub address: String,
    /// When it said this, by its clock.
    pub seen_at: Timestamp,
    /// What it is doing.
    pub feeds: Feeds,
}

/// What a process does for a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feeds {
    /// What it is doing: `following`, or a word for what keeps it from that.
    pub phase: String,
    /// Why it is not following.
    pub reason: Option<String>,
    /// Since when it is doing that; `None` where an older release says this.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The partitions that are its own.
    pub partitions: Vec<FedPartition>,
}

/// A partition, as the process that feeds it sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
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

impl Feeder {
    /// Whether what it said still counts at `now`.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let silent_us = now.as_micros() - self.seen_at.as_micros();
        i128::from(silent_us) <= FEEDER_LIFE.as_micros() as i128
    }

    /// What it says of a partition, if that is its own.
    #[must_use]
    pub fn partition(&self, topic: &str, partition: u32) -> Option<&FedPartition> {
        let mut own = self.feeds.partitions.iter();
        own.find(|each| (each.topic.as_str(), each.partition) == (topic, partition))
    }

    fn from_row(row: &Row) -> Option<Self> {
        let Value::Json(feeds) = row.value("feeds") else {
            return None;
        };
        Some(Self {
            instance: FromCell::from_cell(row.value("instance"))?,
            address: FromCell::from_cell(row.value("address"))?,
            seen_at: FromCell::from_cell(row.value("seen_at"))?,
            feeds: serde_json::from_value(feeds.clone()).ok()?,
        })
    }
}

/// Who feeds a partition at `now`: of several that say so while it changes hands, the one that said
/// it last.
#[must_use]
pub fn owner<'a>(
    feeders: &'a [Feeder],
    topic: &str,
    partition: u32,
    now: Timestamp,
) -> Option<(&'a Feeder, &'a FedPartition)> {
    let alive = feeders.iter().filter(|each| each.is_alive(now));
    let claims = alive.filter_map(|each| Some((each, each.partition(topic, partition)?)));
    claims.max_by_key(|(feeder, _)| feeder.seen_at)
}

impl Control {
    /// Who feeds a version, those that have died since included.
    ///
    /// # Errors
    /// What the store said.
    pub async fn feeders(
        &self,
        projection: &str,
        version: u32,
    ) -> Result<Vec<Feeder>, ReadModelError> {
        let key = [projection.into(), version.into()];
        let rows = self.rows(&WORKERS, &key).await?;
        Ok(rows.iter().filter_map(Feeder::from_row).collect())
    }

    /// Says what a process does for a version.
    ///
    /// # Errors
    /// What the store said.
    pub async fn say_what_is_fed(
        &self,
        projection: &str,
        version: u32,
        feeder: &Feeder,
    ) -> Result<(), ReadModelError> {
        let feeds = serde_json::to_value(&feeder.feeds).map_err(|_| ReadModelError::Type {
            table: WORKERS.name,
            column: "feeds",
        })?;
        let instance = feeder.instance.as_str();
        let key = [projection.into(), version.into(), instance.into()];
        let cells = [
            ("address", feeder.address.as_str().into()),
            ("feeds", Value::Json(feeds)),
            ("seen_at", feeder.seen_at.into()),
        ];
        self.put(&WORKERS, &key, &cells).await
    }

    /// Removes what a process said of a version.
    ///
    /// # Errors
    /// What the store said.
    pub async fn forget_feeder(
        &self,
        projection: &str,
        version: u32,
        instance: &str,
    ) -> Result<(), ReadModelError> {
        let key = [projection.into(), version.into(), instance.into()];
        self.delete(&WORKERS, &key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feeder(instance: &str, seconds: i64, partitions: &[u32]) -> Feeder {
        let partitions = partitions.iter().map(|&partition| FedPartition {
            topic: "t".to_owned(),
            partition,
            behind: None,
            lag_seconds: None,
            parked_keys: 0,
            parked_records: 0,
            stuck: None,
        });
        Feeder {
            instance: instance.to_owned(),
            address: String::new(),
            seen_at: Timestamp::from_micros(seconds * 1_000_000),
            feeds: Feeds {
                phase: "following".to_owned(),
                reason: None,
                since: None,
                partitions: partitions.collect(),
            },
        }
    }

    #[test]
    fn a_partition_is_its_whose_word_is_last_and_nobodys_when_that_is_old() {
        let feeders = [feeder("a", 100, &[0, 1]), feeder("b", 102, &[1])];
        let at = |partition, seconds: i64| {
            let now = Timestamp::from_micros(seconds * 1_000_000);
            owner(&feeders, "t", partition, now).map(|(feeder, _)| feeder.instance.as_str())
        };
        assert_eq!(at(0, 103), Some("a"));
        assert_eq!(at(1, 103), Some("b"), "it came later");
        assert_eq!(at(2, 103), None, "nobody says so");
        assert_eq!(at(0, 111), None, "silent for too long");
        assert_eq!(at(1, 111), Some("b"));
    }
}
