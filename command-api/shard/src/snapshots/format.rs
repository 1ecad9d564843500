//! Records of the snapshots topic. Internal: nobody but the shards of the context reads them.
//!
//! A value is JSON, cut into parts where it is large. The headers say what it is (`kind`), which
//! format it has, in which transaction it was written and, for an aggregate, up to which seqs it
//! holds its events. Keys are chosen so that compaction keeps the latest state of each aggregate and
//! every page of the index, and the latest two rounds of everything else: a round that was begun and never
//! completed must not take away what the one before it stands on.

use std::sync::Arc;

use cartwright_event_log::{NewRecord, Record};
use cartwright_events::{Context, PositionToken};
use serde::Serialize;
use thiserror::Error;

use crate::group::Place;

/// The format that this code writes and reads.
const FORMAT: &str = "1";
/// Bytes of a value in one record: a producer sends none above 1 MiB.
const PART_BYTES: usize = 512 * 1024;

mod header {
    pub(super) const KIND: &str = "kind";
    pub(super) const FORMAT: &str = "format";
    pub(super) const TRANSACTION: &str = "transaction";
    pub(super) const AS_OF: &str = "as_of";
    pub(super) const PARTS: &str = "parts";
}

/// What a record of the snapshots topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The beginning of a round: where its tail starts.
    Begin,
    /// An aggregate that stays in memory.
    Live,
    /// An aggregate that has left memory with this record.
    Finished,
    /// Results by idempotency key.
    Results,
    /// Where aggregates are that have left memory.
    Page,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Begin,
        Kind::Live,
        Kind::Finished,
        Kind::Results,
        Kind::Page,
    ];

    const fn name(self) -> &'static str {
        match self {
            Kind::Begin => "begin",
            Kind::Live => "live",
            Kind::Finished => "finished",
            Kind::Results => "results",
            Kind::Page => "page",
        }
    }

    /// The first part of the key: both kinds of aggregates replace each other.
    const fn family(self) -> &'static str {
        match self {
            Kind::Begin => "begin",
            Kind::Live | Kind::Finished => "aggregate",
            Kind::Results => "results",
            Kind::Page => "page",
        }
    }
}

/// A record that can't be read: written by a newer version of this code, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the snapshot at offset {offset} is unreadable: {problem}")]
pub(crate) struct Unreadable {
    pub(crate) offset: u64,
    pub(crate) problem: String,
}

/// Something to be written.
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    /// The aggregate's id, the round and the number within it, or the transaction of a page.
    pub(crate) name: &'a str,
    pub(crate) transaction: u64,
    /// For aggregates: the seqs up to which it holds the shard's events.
    pub(crate) as_of: Option<&'a PositionToken>,
}

impl Draft<'_> {
    /// The records of `value`, which belong into one transaction, one after the other.
    pub(crate) fn records(
        &self,
        context: Context,
        place: &Place,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Vec<NewRecord>, serde_json::Error> {
        let json = serde_json::to_vec(value)?;
        let topic: Arc<str> = Arc::from(context.snapshots_topic());
        let parts = json.len().div_ceil(PART_BYTES).max(1);
        let records = json.chunks(PART_BYTES).enumerate().map(|(part, bytes)| {
            let mut headers = vec![
                (header::KIND, self.kind.name().as_bytes().to_vec()),
                (header::FORMAT, FORMAT.as_bytes().to_vec()),
                (
                    header::TRANSACTION,
                    self.transaction.to_string().into_bytes(),
                ),
                (header::PARTS, parts.to_string().into_bytes()),
            ];
            if let Some(as_of) = self.as_of {
                headers.push((header::AS_OF, as_of.to_string().into_bytes()));
            }
            NewRecord {
                topic: Arc::clone(&topic),
                partition: place.partition,
                key: format!("{}/{part}/{}", self.kind.family(), self.name).into_bytes(),
                value: Some(bytes.to_vec()),
                headers,
            }
        });
        Ok(records.collect())
    }
}

/// A value put together from its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Whole {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) transaction: u64,
    /// Offset of its first part.
    pub(crate) offset: u64,
    pub(crate) as_of: Option<PositionToken>,
    pub(crate) json: Vec<u8>,
}

impl Whole {
    /// The value.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Unreadable> {
        serde_json::from_slice(&self.json).map_err(|error| Unreadable {
            offset: self.offset,
            problem: error.to_string(),
        })
    }
}

/// Puts values together. Their parts come one after the other; parts that compaction has left of
/// an older value have lost their first one, and are passed over. It may also take what is left of a value
/// whose first part has been read: then a part of another one, of another transaction, comes next.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    open: Option<(Whole, usize, usize)>,
}

impl Assembler {
    /// Takes the next record; gives the value that it completes.
    pub(crate) fn take(&mut self, record: &Record) -> Result<Option<Whole>, Unreadable> {
        let unreadable = |problem: &str| Unreadable {
            offset: record.offset,
            problem: problem.to_owned(),
        };
        let Some(bytes) = &record.value else {
            return Ok(None);
        };
        let text = |name: &str| {
            record
                .header(name)
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
        };
        if text(header::FORMAT) != Some(FORMAT) {
            return Err(unreadable("its format is not known here"));
        }
        let kind = text(header::KIND)
            .and_then(|name| Kind::ALL.into_iter().find(|kind| kind.name() == name))
            .ok_or_else(|| unreadable("its kind is not known here"))?;
        let (part, name) = key_of(record, kind).ok_or_else(|| unreadable("its key"))?;
        let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
        let parts = number(header::PARTS).ok_or_else(|| unreadable("header parts"))? as usize;
        let transaction =
            number(header::TRANSACTION).ok_or_else(|| unreadable("header transaction"))?;
        if part == 0 {
            let as_of = match text(header::AS_OF) {
                Some(token) => Some(token.parse().map_err(|_| unreadable("header as_of"))?),
                None => None,
            };
            let whole = Whole {
                kind,
                name: name.to_owned(),
                transaction,
                offset: record.offset,
                as_of,
                json: bytes.clone(),
            };
            self.open = Some((whole, 1, parts));
        } else if let Some((whole, taken, _)) = &mut self.open
            && *taken == part
            && whole.name == name
            && whole.kind == kind
            && whole.transaction == transaction
        {
            whole.json.extend_from_slice(bytes);
            *taken += 1;
        } else {
            self.open = None;
        }
        let complete = matches!(&self.open, Some((_, taken, parts)) if taken == parts);
        Ok(self.open.take_if(|_| complete).map(|(whole, _, _)| whole))
    }
}

/// Part and name.
fn key_of(record: &Record, kind: Kind) -> Option<(usize, &str)> {
    let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
    let rest = key.strip_prefix(kind.family())?.strip_prefix('/')?;
    let (part, name) = rest.split_once('/')?;
    Some((part.parse().ok()?, name))
}

/// The aggregate of a first part without a look at its value, and whether it has left memory; for
/// whoever only needs to know where it is.
pub(crate) fn aggregate_at(record: &Record) -> Option<(&str, bool)> {
    let kind = record.header(header::KIND)?;
    let (part, name) = key_of(record, Kind::Finished)?;
    (part == 0 && record.value.is_some()).then(|| (name, kind == Kind::Finished.name().as_bytes()))
}

#[cfg(test)]
mod tests {
    use cartwright_event_log::Headers;
    use cartwright_events::codec::Codec;

    use super::*;

    fn written(value: &str, transaction: u64) -> Vec<Record> {
        let place = Place {
            partition: 0,
            codec: Codec::fixed(),
            log_generation: 1,
        };
        let draft = Draft {
            kind: Kind::Live,
            name: "cup",
            transaction,
            as_of: None,
        };
        let records = draft.records(Context::Catalog, &place, &value);
        let records = records.expect("text is JSON");
        records
            .into_iter()
            .enumerate()
            .map(|(offset, record)| Record {
                headers: record.read_headers(),
                topic: record.topic,
                partition: 0,
                offset: offset as u64,
                timestamp_us: 0,
                key: Some(record.key),
                value: record.value,
            })
            .collect()
    }

    fn assembled(records: &[Record]) -> Vec<Whole> {
        let mut assembler = Assembler::default();
        let take = |record| assembler.take(record).expect("readable");
        records.iter().filter_map(take).collect()
    }

    #[test]
    fn a_large_value_is_cut_and_put_together() {
        let value = "x".repeat(3 * PART_BYTES);
        let records = written(&value, 1);
        assert!(records.len() > 3);
        let wholes = assembled(&records);
        assert_eq!(wholes.len(), 1);
        assert_eq!(wholes[0].read::<String>(), Ok(value));
        assert_eq!(wholes[0].name, "cup");
    }

    #[test]
    fn parts_of_an_older_value_are_passed_over() {
        let older = written(&"x".repeat(3 * PART_BYTES), 1);
        let newer = written("small", 2);
        // Compaction took the first part, which has the key of the newer value.
        let left: Vec<Record> = older[1..].iter().chain(&newer).cloned().collect();
        let wholes = assembled(&left);
        assert_eq!(wholes.len(), 1);
        assert_eq!(wholes[0].read::<String>().as_deref(), Ok("small"));
    }

    /// While somebody reads it, compaction may take the rest of a value, and leave the rest of another one.
    #[test]
    fn parts_of_two_values_are_not_put_together() {
        let first = written(&"x".repeat(PART_BYTES), 1);
        let second = written(&"y".repeat(2 * PART_BYTES), 2);
        let third = written("small", 3);
        let read = first[..1].iter().chain(&second[1..]).chain(&third);
        let wholes = assembled(&read.cloned().collect::<Vec<_>>());
        assert_eq!(wholes.len(), 1);
        assert_eq!(wholes[0].read::<String>().as_deref(), Ok("small"));
    }

    /// The snapshots that the domain keeps as examples (`command-api/domain/src/testing/golden`) are
    /// of this format: a new number needs new ones.
    #[test]
    fn the_format_has_the_number_that_the_kept_snapshots_have() {
        let record = written("small", 1).remove(0);
        assert_eq!(record.header(header::FORMAT), Some(b"1".as_slice()));
    }

    #[test]
    fn another_format_is_unreadable() {
        let mut record = written("small", 1).remove(0);
        let newer = |(name, value)| match name == header::FORMAT {
            true => (name, b"2".as_slice()),
            false => (name, value),
        };
        record.headers = Headers::of(record.headers.clone().iter().map(newer));
        let error = Assembler::default().take(&record).expect_err("refused");
        assert!(error.to_string().contains("format"), "{error}");
    }
}
