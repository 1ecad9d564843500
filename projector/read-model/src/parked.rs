//! Records that a projection has put aside although its position is past them.

use cartwright_events::{Stream, Timestamp};
use serde::Serialize;

use crate::position::PositionKey;
use crate::row::{FromCell, Row};
use crate::value::Value;

/// The most parked records of a projection that readers look at together. Where more wait, a reader
/// asks for those that concern it.
pub const MOST_PARKED: u32 = 10_000;

const BEHIND: &str = "behind";

/// Why a record is parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkReason {
    /// It cannot be folded. Of the records that wait under one key only the first is such.
    Rejected(String),
    /// An earlier record of its key is parked.
    Behind,
}

impl ParkReason {
    /// The reason in words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            ParkReason::Rejected(reason) => reason,
            ParkReason::Behind => BEHIND,
        }
    }
}

/// A pointer to a record that was put aside; the record itself stays in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedRow {
    /// The record's key; what of it is no UTF-8 is replaced.
    pub key: String,
    /// Where the record is.
    pub offset: u64,
    /// Its seq; 0 when its headers hold none.
    pub seq: u64,
    /// Why it is parked.
    pub reason: ParkReason,
    /// Grows with every change of this pointer, from the record's seq on: what decides between two
    /// writes in a store with a time per cell.
    pub revision: u64,
    /// The last request that tried it and left it parked.
    pub tried_by: Option<String>,
}

impl ParkedRow {
    /// A record that is parked for the first time.
    #[must_use]
    pub fn new(key: String, offset: u64, seq: u64, reason: ParkReason) -> Self {
        Self {
            key,
            offset,
            seq,
            reason,
            revision: seq,
            tried_by: None,
        }
    }

    /// The same record, tried by `request` in vain.
    #[must_use]
    pub fn tried(&self, request: &str, reason: String) -> Self {
        Self {
            reason: ParkReason::Rejected(reason),
            revision: self.revision + 1,
            tried_by: Some(request.to_owned()),
            ..self.clone()
        }
    }

    /// From a row of [`PARKED`](crate::tables::PARKED), if it belongs to this generation of the
    /// log.
    #[must_use]
    pub fn waiting(row: &Row, generation: u32) -> Option<Self> {
        if u32::from_cell(row.value("generation"))? != generation {
            return None;
        }
        let reason = String::from_cell(row.value("reason"))?;
        Some(Self {
            key: FromCell::from_cell(row.value("record_key"))?,
            offset: FromCell::from_cell(row.value("record_offset"))?,
            seq: FromCell::from_cell(row.value("seq"))?,
            reason: match reason.as_str() {
                BEHIND => ParkReason::Behind,
                _ => ParkReason::Rejected(reason),
            },
            revision: FromCell::from_cell(row.value("row_seq"))?,
            tried_by: FromCell::from_cell(row.value("tried_by"))?,
        })
    }

    /// The key of its row in [`PARKED`](crate::tables::PARKED).
    #[must_use]
    pub fn row_key(&self, of: &PositionKey) -> Vec<Value> {
        of.of_record(&self.key, self.offset)
    }

    /// The cells of its row in [`PARKED`](crate::tables::PARKED), written at `now`.
    #[must_use]
    pub fn cells(&self, generation: u32, now: Timestamp) -> [(&'static str, Value); 5] {
        [
            ("generation", generation.into()),
            ("seq", self.seq.into()),
            ("reason", self.reason.text().into()),
            ("tried_by", self.tried_by.clone().into()),
            ("parked_at", now.into()),
        ]
    }
}

/// The place of a record that is parked.
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

/// A record that is parked: its place and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParkedRecord {
    /// Where it is.
    pub place: ParkedSeq,
    /// What it is about.
    pub key: String,
}

/// What a look at everything that a projection has parked shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedLook {
    /// The records that wait.
    pub records: Vec<ParkedRecord>,
    /// Whether more of them wait than were read.
    pub more: bool,
}

impl ParkedLook {
    /// From rows of [`PARKED`](crate::tables::PARKED) that were read with a limit of one more than
    /// `most`.
    pub(crate) fn of(rows: &[Row], most: u32) -> Self {
        let most = most as usize;
        let records = rows.iter().take(most).filter_map(ParkedRecord::from_row);
        Self {
            records: records.collect(),
            more: rows.len() > most,
        }
    }
}

impl ParkedRecord {
    /// From a row of [`PARKED`](crate::tables::PARKED).
    #[must_use]
    pub fn from_row(row: &Row) -> Option<Self> {
        Some(Self {
            place: ParkedSeq::from_row(row)?,
            key: FromCell::from_cell(row.value("record_key"))?,
        })
    }
}

impl ParkedSeq {
    /// From a row of [`PARKED`](crate::tables::PARKED).
    #[must_use]
    pub fn from_row(row: &Row) -> Option<Self> {
        Some(Self {
            stream: Stream::of_topic(&String::from_cell(row.value("topic"))?)?,
            partition: FromCell::from_cell(row.value("log_partition"))?,
            generation: FromCell::from_cell(row.value("generation"))?,
            seq: FromCell::from_cell(row.value("seq"))?,
        })
    }
}
