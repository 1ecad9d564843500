//! The allocator: from the beats that are seen to the assignments that should be.

use std::collections::{BTreeMap, BTreeSet};

use super::failures::Failures;
use super::{
    Assignment, Beat, NodeAddress, NodeId, NodeOptions, NodeState, OwnerMap, ShardId, assign,
};

/// Incarnation of a node that only the map speaks of.
const PRESUMED: u64 = 0;

/// What is known of the nodes, and what follows from it for the owners. Every node keeps one, so
/// that whoever is elected knows at once; only the elected one's plans are written.
///
/// Time is this process's own and only ever compared with itself: no other machine's clock matters.
/// A node is dead when its beats have been missing for [`NodeOptions::dead_after_ms`] *of the time in
/// which this node's own beats came through the same log*. So an outage of the log, or a pause of
/// this very process, kills nobody: afterwards everybody starts afresh.
#[derive(Debug)]
pub struct Allocator {
    me: NodeId,
    shards: BTreeSet<ShardId>,
    options: NodeOptions,
    nodes: BTreeMap<NodeId, Seen>,
    failures: Failures,
    /// When this node's own beat was first seen, and last, in milliseconds.
    first_seen_ms: Option<u64>,
    own_seen_ms: Option<u64>,
}

#[derive(Debug)]
struct Seen {
    beat: Beat,
    at_ms: u64,
    /// Since when it has been reporting a loss at this version.
    lost_since_ms: BTreeMap<(ShardId, u64), u64>,
}

impl Allocator {
    /// The allocator of these shards, in the process of the node `me`.
    #[must_use]
    pub fn new(me: NodeId, shards: BTreeSet<ShardId>, options: NodeOptions) -> Self {
        Self {
            me,
            shards,
            failures: Failures::new(&options),
            options,
            nodes: BTreeMap::new(),
            first_seen_ms: None,
            own_seen_ms: None,
        }
    }

    /// Takes in a beat that was read at `now_ms`. One of an earlier start of its node is passed over
    /// while the later one lives: a clock that was set back makes the numbers of later starts smaller.
    pub fn hear(&mut self, beat: Beat, now_ms: u64) {
        if beat.node == self.me {
            let gap_ms = self
                .own_seen_ms
                .map_or(u64::MAX, |at| now_ms.saturating_sub(at));
            self.first_seen_ms.get_or_insert(now_ms);
            if gap_ms > self.options.dead_after_ms / 2 {
                for seen in self.nodes.values_mut() {
                    seen.at_ms = now_ms;
                }
            }
            self.own_seen_ms = Some(now_ms);
            self.forget_the_dead();
        }
        let known = self.nodes.remove(&beat.node);
        let mut lost_before = BTreeMap::new();
        if let Some(known) = known {
            if known.beat.incarnation > beat.incarnation && self.lives(&known) {
                self.nodes.insert(beat.node.clone(), known);
                return;
            }
            if known.beat.incarnation != beat.incarnation {
                self.failures.forget_those_of(&beat.node);
            }
            lost_before = known.lost_since_ms;
        }
        for (shard, version) in &beat.failed {
            self.failures.note(&beat.node, *shard, *version, now_ms);
        }
        let lost_since_ms = beat
            .lost
            .iter()
            .map(|lost| (*lost, lost_before.get(lost).copied().unwrap_or(now_ms)))
            .collect();
        let seen = Seen {
            at_ms: now_ms,
            lost_since_ms,
            beat,
        };
        self.nodes.insert(seen.beat.node.clone(), seen);
    }

    /// Without it, a silence of this very node would make nodes live again that died long ago.
    fn forget_the_dead(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        self.nodes = nodes
            .into_iter()
            .filter(|(_, seen)| self.lives(seen))
            .collect();
    }

    /// The nodes of the map count as seen now, unless they were: they may well live although none of
    /// their beats has been read yet. Nothing is planned until they have beaten or count as dead.
    pub fn presume(&mut self, map: &OwnerMap, now_ms: u64) {
        for (_, assignment) in map.iter() {
            let owners = std::iter::once(&assignment.owner).chain(&assignment.successor);
            for owner in owners {
                self.nodes
                    .entry(owner.node.clone())
                    .or_insert_with(|| Seen {
                        beat: Beat {
                            node: owner.node.clone(),
                            address: owner.address.clone(),
                            incarnation: PRESUMED,
                            state: NodeState::Up,
                            contexts: Vec::new(),
                            running: Vec::new(),
                            ready: Vec::new(),
                            lost: Vec::new(),
                            failed: Vec::new(),
                            outdated: Vec::new(),
                        },
                        at_ms: now_ms,
                        lost_since_ms: BTreeMap::new(),
                    });
            }
        }
    }

    /// The nodes that live: those that can be given shards, and those that are leaving.
    pub fn living(&self) -> impl Iterator<Item = &Beat> {
        self.nodes
            .values()
            .filter(|seen| self.lives(seen))
            .map(|seen| &seen.beat)
    }

    /// Whether this very node has been heard lately, as far as it can hear itself.
    #[must_use]
    pub fn hears_itself(&self, now_ms: u64) -> bool {
        self.own_seen_ms
            .is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < self.options.dead_after_ms)
    }

    /// Whether this node lives and has a shard running, as far as its beats tell.
    #[must_use]
    pub fn runs(&self, node: &NodeId, shard: ShardId) -> bool {
        self.living_node(node)
            .is_some_and(|seen| seen.beat.running.contains(&shard))
    }

    fn lives(&self, seen: &Seen) -> bool {
        let silent_ms = self.own_seen_ms.unwrap_or(0).saturating_sub(seen.at_ms);
        seen.beat.state != NodeState::Gone && silent_ms < self.options.dead_after_ms
    }

    fn living_node(&self, node: &NodeId) -> Option<&Seen> {
        self.nodes.get(node).filter(|seen| self.lives(seen))
    }

    /// The assignments that differ from those of `map` and should replace them. Empty when all is as
    /// it should be, and until this node has listened for as long as two beats take: before, it does
    /// not know who there is.
    #[must_use]
    pub fn plan(&self, map: &OwnerMap, now_ms: u64) -> Vec<(ShardId, Assignment)> {
        let listened_ms = self
            .first_seen_ms
            .map_or(0, |first| now_ms.saturating_sub(first));
        let presumed = |seen: &Seen| seen.beat.incarnation == PRESUMED && self.lives(seen);
        if listened_ms < 2 * self.options.beat_ms || self.nodes.values().any(presumed) {
            return Vec::new();
        }
        let targets = self.targets(map, now_ms);
        self.shards
            .iter()
            .filter_map(|shard| {
                let target = self.address(targets.get(shard)?)?;
                let next = self.next(*shard, map.get(*shard), target, now_ms)?;
                Some((*shard, next))
            })
            .collect()
    }

    /// Where every shard should be in the end. Shards that the same nodes can run are spread
    /// together; a shard under way counts as being where it goes. One that failed goes to another node
    /// than where it did, if there is one. One that no living node can run stays where it is.
    fn targets(&self, map: &OwnerMap, now_ms: u64) -> BTreeMap<ShardId, NodeId> {
        let previous: BTreeMap<ShardId, NodeId> = map
            .iter()
            .map(|(shard, assignment)| {
                let successor = assignment.successor.as_ref();
                let going = successor.filter(|next| self.living_node(&next.node).is_some());
                (shard, going.unwrap_or(&assignment.owner).node.clone())
            })
            .collect();
        let mut together: BTreeMap<BTreeSet<NodeId>, BTreeSet<ShardId>> = BTreeMap::new();
        for shard in &self.shards {
            let able = self.living().filter(|beat| {
                beat.state == NodeState::Up
                    && beat.contexts.contains(&shard.context)
                    && !beat.outdated.contains(shard)
            });
            let mut able: BTreeSet<NodeId> = able.map(|beat| beat.node.clone()).collect();
            if let Some(failed_on) = self.failures.node_of(*shard, now_ms)
                && able.len() > 1
            {
                able.remove(failed_on);
            }
            together.entry(able).or_default().insert(*shard);
        }
        together
            .iter()
            .flat_map(|(nodes, shards)| assign(&previous, shards, nodes))
            .collect()
    }

    fn address(&self, node: &NodeId) -> Option<NodeAddress> {
        let beat = &self.nodes.get(node)?.beat;
        Some(NodeAddress {
            node: beat.node.clone(),
            address: beat.address.clone(),
        })
    }

    fn next(
        &self,
        shard: ShardId,
        now: Option<&Assignment>,
        target: NodeAddress,
        now_ms: u64,
    ) -> Option<Assignment> {
        let Some(now) = now else {
            return Some(Assignment {
                version: 1,
                owner: target,
                successor: None,
            });
        };
        let owned_by = |owner: NodeAddress, successor: Option<NodeAddress>| {
            Some(Assignment {
                version: now.version + 1,
                owner,
                successor,
            })
        };
        let Some(owner) = self.living_node(&now.owner.node) else {
            return owned_by(target, None);
        };
        let failed = |seen: &Seen| seen.beat.failed.contains(&(shard, now.version));
        let may_be_tried = self.failures.has_paused(shard, now_ms);
        if failed(owner) {
            // It has nothing to hand over.
            return may_be_tried.then(|| owned_by(target, None)).flatten();
        }
        if target.node == now.owner.node {
            let lost_since = owner.lost_since_ms.get(&(shard, now.version));
            let lost = lost_since.is_some_and(|since| {
                now_ms.saturating_sub(*since) >= self.options.reassign_after_ms
            });
            let stale = now.owner != target || now.successor.is_some();
            return (lost || stale).then(|| owned_by(target, None)).flatten();
        }
        if now.successor.as_ref() != Some(&target) {
            return owned_by(now.owner.clone(), Some(target));
        }
        let successor = self.living_node(&target.node);
        if successor.is_some_and(failed) {
            let again = || owned_by(now.owner.clone(), Some(target));
            return may_be_tried.then(again).flatten();
        }
        // An owner that has lost the shard, or is too old for it, has nothing to hand over either.
        let lost =
            owner.beat.lost.contains(&(shard, now.version)) || owner.beat.outdated.contains(&shard);
        let ready =
            successor.is_some_and(|successor| successor.beat.ready.contains(&(shard, now.version)));
        (ready || lost).then(|| owned_by(target, None)).flatten()
    }
}
