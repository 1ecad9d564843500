//! Who builds a version and how far that is: what the replay tool says of it in the version's own store.
//!
//! Nothing depends on it but that two processes do not build one version at a time; it is up to a few
//! seconds old.

use std::time::Duration;

use cartwright_events::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::control::Control;
use crate::error::ReadModelError;
use crate::row::{FromCell, Row};
use crate::tables::BUILDS;
use crate::value::Value;

/// How long what a build said counts: one that has been silent for longer is dead.
pub const BUILDER_LIFE: Duration = Duration::from_secs(8);
/// In place of a topic, in the row that says who builds.
pub const BUILDER_ROW: &str = "-";

/// Who builds a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// Its process.
    pub pid: u32,
    /// Tells two processes of one number apart.
    pub began_at: Timestamp,
}

/// What the builds of a version have said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Building {
    /// Who said last that it builds, and when; `None` after an end that was not a death.
    pub builder: Option<(Builder, Timestamp)>,
    /// By topic and partition.
    pub partitions: Vec<BuiltPartition>,
}

/// What was said of a partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuiltPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// When.
    pub seen_at: Timestamp,
    /// How far it is, in the words of the replay tool.
    #[serde(flatten)]
    pub progress: Map<String, Json>,
}

impl Building {
    /// Who builds at `now`.
    #[must_use]
    pub fn living_builder(&self, now: Timestamp) -> Option<&Builder> {
        let (builder, seen_at) = self.builder.as_ref()?;
        let silent_us = now.as_micros() - seen_at.as_micros();
        (i128::from(silent_us) < BUILDER_LIFE.as_micros() as i128).then_some(builder)
    }

    fn take_in(&mut self, row: &Row) -> Option<()> {
        let topic = String::from_cell(row.value("topic"))?;
        let seen_at = Timestamp::from_cell(row.value("seen_at"))?;
        let Value::Json(said) = row.value("progress") else {
            return None;
        };
        if topic == BUILDER_ROW {
            let builder = serde_json::from_value(said.clone()).ok()?;
            self.builder = Some((builder, seen_at));
            return Some(());
        }
        self.partitions.push(BuiltPartition {
            topic,
            partition: FromCell::from_cell(row.value("log_partition"))?,
            seen_at,
            progress: said.as_object()?.clone(),
        });
        Some(())
    }
}

impl Control {
    /// What the builds of a version have said.
    ///
    /// # Errors
    /// What the store said.
    pub async fn building(
        &self,
        projection: &str,
        version: u32,
    ) -> Result<Building, ReadModelError> {
        let key = [projection.into(), version.into()];
        let rows = self.rows(&BUILDS, &key).await?;
        let mut building = Building::default();
        for row in &rows {
            // What another release of the tool said in other words is not told.
            let _ = building.take_in(row);
        }
        Ok(building)
    }
}
