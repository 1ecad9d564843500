//! Which events a projection has not applied although its position is past them.

use cartwright_events::Stream;

use crate::row::{FromCell, Row};
use crate::tables::parked_state;

/// The most parked records that are looked at; a projection with more is broken, and says so
/// elsewhere.
pub(crate) const MOST_PARKED: u32 = 10_000;

/// The place of a record that is parked and neither retried nor skipped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParkedSeq {
    /// The stream.
    pub stream: Stream,
    /// The partition.
    pub partition: u32,
    /// The generation of the log that the seq belongs to.
    pub generation: u32,
    /// The record's seq; 0 when its headers hold none.
    pub seq: u64,
}

impl ParkedSeq {
    /// From a row of [`PARKED`](crate::tables::PARKED), if its record still waits.
    #[must_use]
    pub fn from_row(row: &Row) -> Option<Self> {
        if String::from_cell(row.value("state"))? != parked_state::PARKED {
            return None;
        }
        Some(Self {
            stream: Stream::of_topic(&String::from_cell(row.value("topic"))?)?,
            partition: FromCell::from_cell(row.value("log_partition"))?,
            generation: FromCell::from_cell(row.value("generation"))?,
            seq: FromCell::from_cell(row.value("seq"))?,
        })
    }
}
