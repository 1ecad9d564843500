//! Shards that have ended by themselves: how often, where last, and when they may be tried again.

use std::collections::BTreeMap;

use super::{NodeId, NodeOptions, ShardId};

/// A shard that went well for so many of the longest pauses is as good as one that never failed.
const PAUSES_TO_FORGET: u64 = 5;

#[derive(Debug)]
struct Failure {
    /// Where it was last.
    node: NodeId,
    /// The version of the assignment under which it was.
    version: u64,
    at_ms: u64,
    /// How many there were, one after the other.
    times: u32,
}

/// The last failure of each shard that has one, as far as this process has heard. Every node keeps
/// them, so that whoever is elected the allocator goes on with the pauses.
#[derive(Debug)]
pub(super) struct Failures {
    by_shard: BTreeMap<ShardId, Failure>,
    first_pause_ms: u64,
    longest_pause_ms: u64,
}

impl Failures {
    pub(super) fn new(options: &NodeOptions) -> Self {
        Self {
            by_shard: BTreeMap::new(),
            first_pause_ms: options.reassign_after_ms,
            longest_pause_ms: options.failed_pause_max_ms,
        }
    }

    /// `node` says that the shard failed there under this version of its assignment; it says so again
    /// and again.
    pub(super) fn note(&mut self, node: &NodeId, shard: ShardId, version: u64, now_ms: u64) {
        let known = self.by_shard.get(&shard);
        if known.is_some_and(|known| known.version >= version) {
            return;
        }
        let before = known.filter(|known| self.counts(known, now_ms));
        let failure = Failure {
            node: node.clone(),
            version,
            at_ms: now_ms,
            times: before.map_or(0, |known| known.times).saturating_add(1),
        };
        self.by_shard.insert(shard, failure);
    }

    /// Where the shard failed last, unless that is long ago.
    pub(super) fn node_of(&self, shard: ShardId, now_ms: u64) -> Option<&NodeId> {
        let failure = self.by_shard.get(&shard)?;
        self.counts(failure, now_ms).then_some(&failure.node)
    }

    /// Whether the pause after the shard's last failure is over.
    pub(super) fn has_paused(&self, shard: ShardId, now_ms: u64) -> bool {
        self.by_shard.get(&shard).is_none_or(|failure| {
            let doubled = 1_u64.checked_shl(failure.times - 1).unwrap_or(u64::MAX);
            let pause_ms = self.first_pause_ms.saturating_mul(doubled);
            now_ms.saturating_sub(failure.at_ms) >= pause_ms.min(self.longest_pause_ms)
        })
    }

    /// The node was started again: what failed there may go well now.
    pub(super) fn forget_those_of(&mut self, node: &NodeId) {
        self.by_shard.retain(|_, failure| failure.node != *node);
    }

    fn counts(&self, failure: &Failure, now_ms: u64) -> bool {
        let forgotten_after_ms = self.longest_pause_ms.saturating_mul(PAUSES_TO_FORGET);
        now_ms.saturating_sub(failure.at_ms) < forgotten_after_ms
    }
}
