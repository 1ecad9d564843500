//! What a serving shard holds in memory: all of it comes from its log.

use std::collections::BTreeMap;
use std::sync::Arc;

use cartwright_domain::BoundedContext;
use cartwright_event_log::Receipt;
use cartwright_events::{Context, PositionToken, Stream, Timestamp};

use crate::archive::Archive;
use crate::group::Place;
use crate::results::ResultWindow;
use crate::snapshots::Rounds;

/// Offsets at or before the next record of the partitions that only this shard writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    pub(crate) events: BTreeMap<Stream, u64>,
    pub(crate) journal: u64,
}

/// The state of one partition as of its last transaction.
pub(crate) struct ShardState<B: BoundedContext> {
    /// The aggregates.
    pub(crate) aggregates: B::State,
    /// Last seq per stream.
    pub(crate) seqs: BTreeMap<Stream, u64>,
    /// Number of the last transaction.
    pub(crate) transaction: u64,
    /// Next offset of the inbox to apply.
    pub(crate) inbox_position: u64,
    /// What was decided for whom.
    pub(crate) results: ResultWindow,
    /// Shard time of the last transaction: time never runs backwards, whatever the clock does.
    pub(crate) last_time: Timestamp,
    /// This writer's epoch.
    pub(crate) epoch: u64,
    /// Where the log ends.
    pub(crate) tail: Tail,
    /// What was written of this into the snapshots topic.
    pub(crate) rounds: Rounds,
    /// Aggregates that have left memory.
    pub(crate) archive: Archive,
}

impl Tail {
    /// Records of these topics, in this order, are committed. What went to other shards is none of
    /// the tail.
    pub(crate) fn follow(&mut self, context: Context, topics: &[Arc<str>], receipt: &Receipt) {
        for (topic, &offset) in topics.iter().zip(&receipt.offsets) {
            match Stream::of_topic(topic) {
                Some(stream) => drop(self.events.insert(stream, offset + 1)),
                None if **topic == *context.journal_topic() => self.journal = offset + 1,
                None => {}
            }
        }
    }
}

impl<B: BoundedContext> ShardState<B> {
    pub(crate) fn new(results: ResultWindow) -> Self {
        Self {
            aggregates: B::State::default(),
            seqs: BTreeMap::new(),
            transaction: 0,
            inbox_position: 0,
            results,
            last_time: Timestamp::EPOCH,
            epoch: 0,
            tail: Tail::default(),
            rounds: Rounds::default(),
            archive: Archive::default(),
        }
    }

    /// The seqs up to which the aggregates hold the shard's events.
    pub(crate) fn as_of(&self, place: &Place) -> PositionToken {
        let mut token = PositionToken::new(place.log_generation);
        for (&stream, &seq) in &self.seqs {
            token.raise(stream, place.partition, seq);
        }
        token
    }

    pub(crate) fn next_seq(&mut self, stream: Stream) -> u64 {
        let seq = self.seqs.entry(stream).or_default();
        *seq += 1;
        *seq
    }
}
