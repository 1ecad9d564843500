//! What a serving shard holds in memory: all of it comes from its log.

use std::collections::BTreeMap;

use cartwright_domain::BoundedContext;
use cartwright_events::{Stream, Timestamp};

use crate::results::ResultWindow;

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
        }
    }

    pub(crate) fn next_seq(&mut self, stream: Stream) -> u64 {
        let seq = self.seqs.entry(stream).or_default();
        *seq += 1;
        *seq
    }
}
