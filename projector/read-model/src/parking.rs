//! What operators ask to be done about parked records. The partition's own worker does it, between
//! records; a request is a row in the store until then, and stays as a record of it afterwards.

use cartwright_events::{Stream, Timestamp};
use serde::Serialize;

use crate::position::PositionKey;
use crate::row::{FromCell, Row};
use crate::value::Value;

/// The most requests of one projection that are looked at together.
pub const MOST_REQUESTS: u32 = 1_000;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkAction {
    /// Fold the records that wait under a key again, in order, with the code deployed now.
    Retry,
    /// Give the first record of a key up, then retry what is behind it. Only a record that cannot
    /// be folded is given up.
    Skip,
    /// Give up every record of a key that cannot be folded, and retry the others.
    SkipBad,
    /// Give up everything that waits under a key.
    SkipAll,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Nobody has carried it out yet.
    Asked,
    /// Carried out; what still can't be folded stays parked.
    Done,
    /// It cannot be carried out.
    Refused,
}

/// A request about the parked records of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkRequest {
    /// Its name; sorts by the time of asking. The same for every partition that one wish concerns.
    pub id: String,
    /// The stream.
    pub stream: Stream,
    /// The partition.
    pub partition: u32,
    /// What to do.
    pub action: ParkAction,
    /// Only with this key; `None`: with every key.
    pub key: Option<String>,
    /// Only where the first record that waits is at this offset.
    pub offset: Option<u64>,
    /// Only where the first record's reason holds this text.
    pub reason_part: Option<String>,
    /// Why records are given up.
    pub note: Option<String>,
    /// Who asks.
    pub asked_by: String,
    /// When.
    pub asked_at: Timestamp,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestOutcome {
    /// How far it is.
    pub state: RequestState,
    /// Records that were applied after all. After a crash in the middle of it: since then.
    pub retried: u64,
    /// Records that were given up; likewise.
    pub skipped: u64,
    /// Records that it concerned and that are still parked.
    pub still_parked: u64,
    /// What there is to say about it.
    pub detail: Option<String>,
    /// When it was carried out.
    pub done_at: Option<Timestamp>,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        impl $type {
            /// The word in the store.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
words!(ParkAction { Retry = "retry", Skip = "skip", SkipBad = "skip_bad", SkipAll = "skip_all" });
// In Cassandra the larger word wins at equal times.
words!(RequestState { Asked = "asked", Done = "done", Refused = "refused" });

impl ParkRequest {
    /// The key of its row in [`PARK_REQUESTS`](crate::tables::PARK_REQUESTS).
    #[must_use]
    pub fn row_key(&self, projection: &str, version: u32) -> Vec<Value> {
        vec![
            projection.into(),
            version.into(),
            self.id.as_str().into(),
            self.stream.topic().into(),
            self.partition.into(),
        ]
    }

    /// The cells that ask.
    #[must_use]
    pub fn cells(&self) -> [(&'static str, Value); 8] {
        [
            ("action", self.action.word().into()),
            ("record_key", self.key.clone().into()),
            ("record_offset", self.offset.into()),
            ("reason_part", self.reason_part.clone().into()),
            ("note", self.note.clone().into()),
            ("asked_by", self.asked_by.as_str().into()),
            ("asked_at", self.asked_at.into()),
            ("state", RequestState::Asked.word().into()),
        ]
    }

    /// Whether it is about the partition of `key`.
    #[must_use]
    pub fn concerns(&self, key: &PositionKey) -> bool {
        (self.stream, self.partition) == (key.stream, key.partition)
    }

    /// A request and what came of it, from a row of
    /// [`PARK_REQUESTS`](crate::tables::PARK_REQUESTS).
    #[must_use]
    pub fn from_row(row: &Row) -> Option<(Self, RequestOutcome)> {
        let text = |name| String::from_cell(row.value(name));
        let request = Self {
            id: text("request_id")?,
            stream: Stream::of_topic(&text("topic")?)?,
            partition: FromCell::from_cell(row.value("log_partition"))?,
            action: ParkAction::from_word(&text("action")?)?,
            key: FromCell::from_cell(row.value("record_key"))?,
            offset: FromCell::from_cell(row.value("record_offset"))?,
            reason_part: FromCell::from_cell(row.value("reason_part"))?,
            note: FromCell::from_cell(row.value("note"))?,
            asked_by: text("asked_by")?,
            asked_at: FromCell::from_cell(row.value("asked_at"))?,
        };
        let count = |name| u64::from_cell(row.value(name)).unwrap_or_default();
        let outcome = RequestOutcome {
            state: RequestState::from_word(&text("state")?)?,
            retried: count("retried"),
            skipped: count("skipped"),
            still_parked: count("still_parked"),
            detail: FromCell::from_cell(row.value("detail"))?,
            done_at: FromCell::from_cell(row.value("done_at"))?,
        };
        Some((request, outcome))
    }
}

impl RequestOutcome {
    /// The cells that answer.
    #[must_use]
    pub fn cells(&self) -> [(&'static str, Value); 6] {
        [
            ("state", self.state.word().into()),
            ("retried", self.retried.into()),
            ("skipped", self.skipped.into()),
            ("still_parked", self.still_parked.into()),
            ("detail", self.detail.clone().into()),
            ("done_at", self.done_at.into()),
        ]
    }
}

/// A record that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedRow {
    /// The record's key.
    pub key: String,
    /// Where the record is.
    pub offset: u64,
    /// Its seq; 0 when its headers hold none.
    pub seq: u64,
    /// Why it was parked.
    pub reason: String,
    /// Why it was given up.
    pub note: String,
    /// Who asked for it.
    pub skipped_by: String,
    /// When.
    pub skipped_at: Timestamp,
    /// The request.
    pub request_id: String,
}

impl SkippedRow {
    /// The cells of its row in [`SKIPPED`](crate::tables::SKIPPED).
    #[must_use]
    pub fn cells(&self, generation: u32) -> [(&'static str, Value); 7] {
        [
            ("generation", generation.into()),
            ("seq", self.seq.into()),
            ("reason", self.reason.as_str().into()),
            ("note", self.note.as_str().into()),
            ("request_id", self.request_id.as_str().into()),
            ("skipped_by", self.skipped_by.as_str().into()),
            ("skipped_at", self.skipped_at.into()),
        ]
    }

    /// From a row of [`SKIPPED`](crate::tables::SKIPPED).
    #[must_use]
    pub fn from_row(row: &Row) -> Option<Self> {
        let text = |name| String::from_cell(row.value(name));
        Some(Self {
            key: text("record_key")?,
            offset: FromCell::from_cell(row.value("record_offset"))?,
            seq: FromCell::from_cell(row.value("seq"))?,
            reason: text("reason")?,
            note: text("note")?,
            skipped_by: text("skipped_by")?,
            skipped_at: FromCell::from_cell(row.value("skipped_at"))?,
            request_id: text("request_id")?,
        })
    }
}
