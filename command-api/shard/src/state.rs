//! What a serving shard holds in memory: all of it comes from its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cartwright_domain::{BoundedContext, EvolveError};
use cartwright_event_log::Receipt;
use cartwright_events::{Context, Event, PositionToken, Stream, Timestamp};

use crate::archive::Archive;
use crate::group::Place;
use crate::options::ShardOptions;
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
    /// The aggregates. Changed by the methods here alone once the state has been measured.
    pub(crate) aggregates: B::State,
    /// Bytes that they take, about.
    pub(crate) aggregate_bytes: usize,
    /// Bytes that all of this may take.
    pub(crate) memory_bytes: usize,
    /// Last seq per stream.
    pub(crate) seqs: BTreeMap<Stream, u64>,
    /// Number of the last transaction.
    pub(crate) transaction: u64,
    /// Next offset of the inbox to apply.
    pub(crate) inbox_position: u64,
    /// How far the inbox has been read since the take-over, which is further where nothing but ends of
    /// transactions follows.
    pub(crate) inbox_read: u64,
    /// Messages behind that position that are applied already: they passed one that waits.
    pub(crate) inbox_passed: BTreeSet<u64>,
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
            aggregate_bytes: 0,
            memory_bytes: usize::MAX,
            seqs: BTreeMap::new(),
            transaction: 0,
            inbox_position: 0,
            inbox_read: 0,
            inbox_passed: BTreeSet::new(),
            results,
            last_time: Timestamp::EPOCH,
            epoch: 0,
            tail: Tail::default(),
            rounds: Rounds::default(),
            archive: Archive::default(),
        }
    }

    /// Whether a message of the inbox is applied already.
    pub(crate) fn has_applied(&self, offset: u64) -> bool {
        offset < self.inbox_position || self.inbox_passed.contains(&offset)
    }

    /// Applies an event that was written with `seq`.
    pub(crate) fn evolve(
        &mut self,
        context: &B,
        event: &Event,
        seq: u64,
    ) -> Result<(), EvolveError> {
        self.resized(context, &event.aggregate_id, |aggregates| {
            context.evolve(aggregates, event, seq)
        })
    }

    /// Puts an aggregate into memory as it was when the snapshot was taken.
    pub(crate) fn restore(&mut self, context: &B, id: &str, snapshot: B::Snapshot) {
        self.resized(context, id, |aggregates| {
            context.restore(aggregates, id, snapshot);
        });
    }

    /// Takes an aggregate out of memory.
    pub(crate) fn forget(&mut self, context: &B, id: &str) {
        self.resized(context, id, |aggregates| context.forget(aggregates, id));
    }

    fn resized<T>(&mut self, context: &B, id: &str, change: impl FnOnce(&mut B::State) -> T) -> T {
        let before = context.size_hint(&self.aggregates, id);
        let changed = change(&mut self.aggregates);
        let after = context.size_hint(&self.aggregates, id);
        self.aggregate_bytes = (self.aggregate_bytes + after).saturating_sub(before);
        changed
    }

    /// Bytes that can't be had back by forgetting results.
    fn fixed_bytes(&self) -> usize {
        self.aggregate_bytes + self.archive.bytes()
    }

    /// What the results may take: what the others leave, and a sixteenth of all in any case.
    pub(crate) fn room_for_results(&self) -> usize {
        let least = self.memory_bytes / 16;
        self.memory_bytes
            .saturating_sub(self.fixed_bytes())
            .max(least)
    }

    /// Whether there is no room for another aggregate.
    pub(crate) fn is_over_memory(&self) -> bool {
        self.fixed_bytes() > self.memory_bytes - self.memory_bytes / 16
    }

    /// How long a finished aggregate may be left in memory: not at all when memory gets short.
    pub(crate) fn archive_after_ms(&self, options: &ShardOptions) -> i64 {
        if self.fixed_bytes() > self.memory_bytes / 4 * 3 {
            0
        } else {
            options.archive_after_ms
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
