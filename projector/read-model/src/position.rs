//! How far a projection is.

use cartwright_events::{Stream, Timestamp};
use serde::Serialize;

use crate::row::{FromCell, Row};
use crate::schema::Projection;
use crate::value::Value;

/// Whose position: one partition of one topic, as one version of one projection has applied it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PositionKey {
    /// The projection's name.
    pub projection: &'static str,
    /// Its version.
    pub version: u32,
    /// The stream.
    pub stream: Stream,
    /// The partition.
    pub partition: u32,
}

/// What has been applied of a partition: everything before `next_offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The generation of the log that offset and seq belong to.
    pub generation: u32,
    /// The next offset to read.
    pub next_offset: u64,
    /// Seq of the last event applied; 0 before the first.
    pub seq: u64,
    /// The log's time of the last record applied: the rows show what was true then.
    pub recorded_at: Timestamp,
}

impl Position {
    /// From a row of [`POSITIONS`](crate::tables::POSITIONS).
    #[must_use]
    pub fn from_row(row: &Row) -> Option<Self> {
        Some(Self {
            generation: FromCell::from_cell(row.value("generation"))?,
            next_offset: FromCell::from_cell(row.value("next_offset"))?,
            seq: FromCell::from_cell(row.value("seq"))?,
            recorded_at: FromCell::from_cell(row.value("recorded_at"))?,
        })
    }

    /// With its key, from a row of `projection`'s positions.
    pub(crate) fn keyed(
        row: &Row,
        projection: &'static Projection,
        version: u32,
    ) -> Option<(PositionKey, Self)> {
        let topic = String::from_cell(row.value("topic"))?;
        let key = PositionKey {
            projection: projection.name,
            version,
            stream: Stream::of_topic(&topic)?,
            partition: FromCell::from_cell(row.value("log_partition"))?,
        };
        Some((key, Self::from_row(row)?))
    }

    /// The cells of a row of [`POSITIONS`](crate::tables::POSITIONS), written at `now`.
    #[must_use]
    pub fn cells(&self, now: Timestamp) -> [(&'static str, Value); 5] {
        [
            ("generation", self.generation.into()),
            ("next_offset", self.next_offset.into()),
            ("seq", self.seq.into()),
            ("recorded_at", self.recorded_at.into()),
            ("updated_at", now.into()),
        ]
    }
}

impl PositionKey {
    /// How many columns it is in a store.
    pub const COLUMNS: usize = 4;

    /// The key of a row of [`POSITIONS`](crate::tables::POSITIONS), and the first part of the key
    /// of [`PARKED`](crate::tables::PARKED).
    #[must_use]
    pub fn values(&self) -> [Value; Self::COLUMNS] {
        [
            self.projection.into(),
            self.version.into(),
            self.stream.topic().into(),
            self.partition.into(),
        ]
    }

    /// The key of the row of [`PARKED`](crate::tables::PARKED) that is about a record, and of the one of
    /// [`SKIPPED`](crate::tables::SKIPPED) when it is given up.
    #[must_use]
    pub fn of_record(&self, key: &str, offset: u64) -> Vec<Value> {
        let mut values = Vec::from(self.values());
        values.extend([key.into(), offset.into()]);
        values
    }
}
