//! How far one projection was at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cartwright_events::{PositionToken, Stream, Timestamp};
use cartwright_read_model::{ParkedLook, ParkedSeq, Position, PositionKey, Projection};

/// How far one projection was at one moment, in every partition. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot(Arc<Inner>);

/// How much is put aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parked {
    /// Records of one key, or keys of many.
    pub count: u64,
    /// Whether there may be more.
    pub more: bool,
}

#[derive(Debug)]
struct Inner {
    projection: &'static Projection,
    positions: BTreeMap<(Stream, u32), Position>,
    parked: BTreeSet<ParkedSeq>,
    /// How many records wait under each key.
    parked_keys: HashMap<String, u64>,
    /// Whether more are parked than are known here.
    more_parked: bool,
}

/// Whether a view holds what a token asks for. Tokens name the parts that the view consumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// Everything that it consumes.
    All,
    /// It is not there yet; how far it is in the parts asked for, 0 where it has not begun.
    Behind(PositionToken),
    /// It is there, but has put these very events aside: waiting alone does not help.
    Parked(PositionToken),
    /// It is there, and so much is put aside that only the store can say whether these are.
    Unsure(Vec<ParkedSeq>),
}

impl std::ops::AddAssign for Parked {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.more |= other.more;
    }
}

impl Snapshot {
    pub(super) fn new(
        projection: &'static Projection,
        positions: Vec<(PositionKey, Position)>,
        parked: ParkedLook,
    ) -> Self {
        let mut parked_keys: HashMap<String, u64> = HashMap::new();
        for record in &parked.records {
            *parked_keys.entry(record.key.clone()).or_default() += 1;
        }
        let positions = positions
            .into_iter()
            .map(|(key, position)| ((key.stream, key.partition), position))
            .collect();
        Self(Arc::new(Inner {
            projection,
            positions,
            more_parked: parked.more,
            parked: parked.records.iter().map(|record| record.place).collect(),
            parked_keys,
        }))
    }

    /// The rows show everything that was recorded up to then: the time of the partition that is
    /// furthest behind, of those that have begun. One that has no event has begun when it was found
    /// empty, and an event that came later need not be in the rows. `None` before all of that.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        let begun = self.0.positions.values();
        begun.map(|position| position.recorded_at).min()
    }

    /// Records that wait under `key`: its row is as it was before the first of them. `None` where so
    /// many wait that only the store can say.
    #[must_use]
    pub fn parked_under(&self, key: &str) -> Option<u64> {
        let known = self.0.parked_keys.get(key).copied();
        (!self.0.more_parked).then_some(known.unwrap_or_default())
    }

    /// Keys under which records wait; of more than are known here, those that are.
    #[must_use]
    pub fn parked_keys(&self) -> Parked {
        Parked {
            count: self.0.parked_keys.len() as u64,
            more: self.0.more_parked,
        }
    }

    /// The partitions that the projection has begun.
    pub fn partitions(&self) -> impl Iterator<Item = (Stream, u32)> {
        self.0.positions.keys().copied()
    }

    /// Holds the projection against `token`. A position of another generation of the log counts for
    /// nothing: its seqs are those of other events.
    #[must_use]
    pub fn holding(&self, token: &PositionToken) -> Holding {
        let mut reached = PositionToken::new(token.generation);
        let mut parked = PositionToken::new(token.generation);
        let mut places = Vec::new();
        let mut behind = false;
        for (&(stream, partition), &seq) in &token.seqs {
            if !self.0.projection.streams.contains(&stream) {
                continue;
            }
            let position = self.0.positions.get(&(stream, partition));
            let at = position
                .filter(|position| position.generation == token.generation)
                .map_or(0, |position| position.seq);
            reached.raise(stream, partition, at);
            behind |= at < seq;
            let place = ParkedSeq {
                stream,
                partition,
                generation: token.generation,
                seq,
            };
            // Later events of a key wait behind its first that is parked, so if any event of the
            // caller's command is parked, the last one is, and that is the one in the token.
            if self.0.parked.contains(&place) {
                parked.raise(stream, partition, seq);
            }
            places.push(place);
        }
        match (behind, parked.seqs.is_empty()) {
            (true, _) => Holding::Behind(reached),
            (false, false) => Holding::Parked(parked),
            (false, true) if self.0.more_parked && !places.is_empty() => Holding::Unsure(places),
            (false, true) => Holding::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections::ORDERS;

    use super::*;

    /// Partitions with their seqs and the times up to which they were read, in microseconds.
    fn snapshot(partitions: &[(u32, u64, i64)]) -> Snapshot {
        let position = |&(partition, seq, recorded_at): &(u32, u64, i64)| {
            let key = PositionKey {
                projection: ORDERS.name,
                version: ORDERS.version,
                stream: Stream::Order,
                partition,
            };
            let position = Position {
                generation: 1,
                next_offset: seq,
                seq,
                recorded_at: Timestamp::from_micros(recorded_at),
            };
            (key, position)
        };
        let nothing = ParkedLook {
            records: Vec::new(),
            more: false,
        };
        Snapshot::new(&ORDERS, partitions.iter().map(position).collect(), nothing)
    }

    #[test]
    fn a_partition_that_was_found_empty_is_no_fresher_than_that_look() {
        let as_of = |partitions: &[_]| snapshot(partitions).as_of().map(Timestamp::as_micros);
        assert_eq!(as_of(&[(0, 7, 9_000), (1, 0, 2_000)]), Some(2_000));
        assert_eq!(as_of(&[(0, 0, 9_000)]), Some(9_000));
        assert_eq!(as_of(&[(0, 7, 9_000)]), Some(9_000));
        assert_eq!(as_of(&[]), None);
    }
}
