//! Several nodes over one log, each with the shards that it runs. One thread; every node is stepped by
//! hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cartwright_event_log::memory::MemoryLog;
use cartwright_events::codec::Codec;
use cartwright_events::{Context, Timestamp};
use cartwright_shard::nodes::{
    ALLOCATOR_GROUP, AgentStatus, ClockCheck, NODES_TOPIC, NodeAddress, NodeAgent, NodeId,
    NodeOptions, NodeStart, OWNERS_TOPIC, OwnerMap, ShardHost, ShardId,
};
use cartwright_shard::{
    Begin, Inputs, ManualClock, Ownership, Reply, Shard, ShardOptions, Submission,
};
use tokio::sync::oneshot;

use crate::bent::BentLog;
use crate::rig::TOPICS;
use crate::toy::{Toy, add};

pub(crate) const PARTITIONS: u32 = 6;
pub(crate) const STEP_MS: u64 = 50;
/// Steps without news after which a cluster is at rest: an allocator can be silent for as long as a
/// node may be before it counts as dead.
const QUIET_STEPS: u64 = 80;

/// The shards of one process.
pub(crate) struct Host {
    log: MemoryLog,
    clock: Arc<ManualClock>,
    pub(crate) shards: BTreeMap<ShardId, (Shard<Toy, MemoryLog>, Begin)>,
    /// Shards whose log holds what only a newer version of the code can read.
    pub(crate) too_old_for: BTreeSet<ShardId>,
    /// Shards that end by themselves here, whenever they are started.
    pub(crate) failing: BTreeSet<ShardId>,
}

impl Host {
    fn act(&mut self) {
        for (shard, begin) in self.shards.values_mut() {
            let ownership = shard.ownership().borrow().clone();
            // What fails is tried again by the next act.
            let _ = match (ownership, *begin) {
                (Ownership::Recovering { .. } | Ownership::Standby, Begin::StandBy) => {
                    shard.prepare().map(drop)
                }
                (Ownership::Recovering { .. } | Ownership::Standby, Begin::TakeOver) => {
                    shard.take_over().map(drop)
                }
                _ => Ok(()),
            };
        }
    }
}

impl ShardHost for Host {
    fn start(&mut self, shard: ShardId, begin: Begin) {
        let options = ShardOptions {
            recovery_stall_ms: 0,
            ..ShardOptions::default()
        };
        let clock = Arc::clone(&self.clock) as _;
        let (log, codec) = (self.log.clone(), Codec::fixed());
        let started = Shard::new(Toy, shard.partition, log, codec, options, clock);
        self.shards.insert(shard, (started, begin));
    }

    fn serve(&mut self, shard: ShardId) {
        if let Some((_, begin)) = self.shards.get_mut(&shard) {
            *begin = Begin::TakeOver;
        }
    }

    fn stop(&mut self, shard: ShardId) {
        self.shards.remove(&shard);
    }

    fn running(&self) -> Vec<ShardId> {
        self.shards.keys().copied().collect()
    }

    fn ownership(&self, shard: ShardId) -> Option<Ownership> {
        let (running, _) = self.shards.get(&shard)?;
        if self.too_old_for.contains(&shard) {
            let reason = "from a newer writer".to_owned();
            return Some(Ownership::Outdated { reason });
        }
        if self.failing.contains(&shard) {
            let reason = "a panic".to_owned();
            return Some(Ownership::Refused { reason });
        }
        Some(running.ownership().borrow().clone())
    }

    fn report(&mut self, _: &OwnerMap, _: &AgentStatus) {}
}

type Agent = NodeAgent<BentLog, Host>;

pub(crate) struct Cluster {
    pub(crate) log: MemoryLog,
    /// The same, as the agents see it.
    pub(crate) bent: BentLog,
    pub(crate) clock: Arc<ManualClock>,
    /// Of nodes that have another.
    pub(crate) clocks: BTreeMap<usize, Arc<ManualClock>>,
    pub(crate) now_ms: u64,
    pub(crate) agents: BTreeMap<usize, Agent>,
    pub(crate) frozen: BTreeSet<usize>,
    starts: u64,
}

impl Cluster {
    pub(crate) fn of(nodes: impl IntoIterator<Item = usize>) -> Self {
        let log = MemoryLog::new();
        for topic in TOPICS.iter().chain(&["checkout.inbox.v1"]) {
            log.create_topic(topic, PARTITIONS);
        }
        log.create_topic(NODES_TOPIC, 1);
        log.create_topic(OWNERS_TOPIC, 1);
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(log.now_us())));
        let mut cluster = Self {
            bent: BentLog::new(log.clone(), OWNERS_TOPIC),
            log,
            clock,
            clocks: BTreeMap::new(),
            now_ms: 0,
            agents: BTreeMap::new(),
            frozen: BTreeSet::new(),
            starts: 0,
        };
        for node in nodes {
            cluster.start(node);
        }
        cluster
    }

    pub(crate) fn start(&mut self, node: usize) {
        self.starts += 1;
        self.start_as(node, self.starts);
    }

    /// Starts a node whose clock gives it this number among its starts.
    pub(crate) fn start_as(&mut self, node: usize, incarnation: u64) {
        let clock = Arc::clone(self.clocks.get(&node).unwrap_or(&self.clock));
        let host = Host {
            log: self.log.clone(),
            clock: Arc::clone(&clock),
            shards: BTreeMap::new(),
            too_old_for: BTreeSet::new(),
            failing: BTreeSet::new(),
        };
        let me = NodeAddress {
            node: id(node),
            address: format!("http://node-{node}"),
        };
        let start = NodeStart {
            me,
            incarnation,
            contexts: vec![Context::Inventory],
        };
        let shards = (0..PARTITIONS).map(shard).collect();
        let agent = NodeAgent::new(
            self.bent.clone(),
            host,
            start,
            shards,
            NodeOptions::default(),
            ClockCheck::new(clock, ShardOptions::default().max_clock_skew_ms),
        );
        self.agents.insert(node, agent);
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.agents.remove(&node);
        self.frozen.remove(&node);
    }

    pub(crate) fn host(&mut self, node: usize) -> &mut Host {
        self.agents.get_mut(&node).expect("a node").host_mut()
    }

    /// The version of a shard's assignment.
    pub(crate) fn version(&self, shard: ShardId) -> u64 {
        self.map().get(shard).map_or(0, |now| now.version)
    }

    /// SIGSTOP; the group takes it for dead before long.
    pub(crate) fn freeze(&mut self, node: usize) {
        self.frozen.insert(node);
    }

    pub(crate) fn step(&mut self) {
        self.now_ms += STEP_MS;
        self.log.advance(Duration::from_millis(STEP_MS));
        for clock in self.clocks.values().chain([&self.clock]) {
            clock.advance_millis(STEP_MS.cast_signed());
        }
        for (node, agent) in &mut self.agents {
            if !self.frozen.contains(node) {
                agent.step(self.now_ms);
                agent.host_mut().act();
            }
        }
    }

    /// Steps until every shard serves at a living owner and nothing is under way; returns how long
    /// it took, in milliseconds.
    pub(crate) fn settle(&mut self) -> u64 {
        let begun = self.now_ms;
        let mut quiet = 0;
        let mut before = OwnerMap::default();
        while quiet < QUIET_STEPS {
            assert!(self.now_ms - begun < 60_000, "not settled: {before:?}");
            self.step();
            let map = self.map();
            quiet = if self.is_settled() && map == before {
                quiet + 1
            } else {
                0
            };
            before = map;
            if quiet == 0 && (self.now_ms - begun).is_multiple_of(6_000) && !self.frozen.is_empty()
            {
                // The session of a frozen member times out.
                self.log.expire_oldest_member(ALLOCATOR_GROUP);
            }
        }
        self.now_ms - begun - QUIET_STEPS * STEP_MS
    }

    /// Whether some node decides a command of this shard now.
    pub(crate) fn answers(&mut self, shard: ShardId) -> bool {
        let command_id = format!("probe-{}", self.now_ms);
        let living = self.agents.iter_mut();
        let living = living.filter(|(node, _)| !self.frozen.contains(node));
        living
            .filter_map(|(_, agent)| agent.host_mut().shards.get_mut(&shard))
            .any(|(running, _)| decides(running, &command_id))
    }

    pub(crate) fn map(&self) -> OwnerMap {
        let living = self
            .agents
            .iter()
            .find(|(node, _)| !self.frozen.contains(node));
        living
            .map(|(_, agent)| agent.map().clone())
            .unwrap_or_default()
    }

    fn is_settled(&self) -> bool {
        (0..PARTITIONS).map(shard).all(|shard| {
            let map = self.map();
            let Some(assignment) = map.get(shard) else {
                return false;
            };
            assignment.successor.is_none()
                && self.agents.iter().any(|(node, agent)| {
                    id(*node) == assignment.owner.node
                        && !self.frozen.contains(node)
                        && matches!(
                            agent.host().ownership(shard),
                            Some(Ownership::Serving { .. })
                        )
                })
        })
    }

    /// Shards by node, of the living ones.
    pub(crate) fn loads(&self) -> BTreeMap<usize, usize> {
        let map = self.map();
        self.agents
            .keys()
            .filter(|node| !self.frozen.contains(node))
            .map(|node| {
                let owned = map.iter().filter(|(_, now)| now.owner.node == id(*node));
                (*node, owned.count())
            })
            .collect()
    }

    pub(crate) fn assert_even(&self) {
        let loads = self.loads();
        let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
        assert!(most - least <= 1, "{loads:?}");
    }

    pub(crate) fn owners(&self) -> Vec<NodeId> {
        self.map()
            .iter()
            .map(|(_, now)| now.owner.node.clone())
            .collect()
    }
}

/// Whether the shard decides a new command, if it says that it serves.
fn decides(shard: &mut Shard<Toy, MemoryLog>, command_id: &str) -> bool {
    if !matches!(*shard.ownership().borrow(), Ownership::Serving { .. }) {
        return false;
    }
    let (reply, mut replied) = oneshot::channel();
    let probe = Submission {
        command: add("probe"),
        command_id: command_id.to_owned(),
        correlation_id: command_id.to_owned(),
        traceparent: None,
        idempotency: None,
        expected_version: None,
        deadline: Timestamp::from_micros(i64::MAX),
        reply,
    };
    shard.step(Inputs {
        commands: vec![probe],
        ..Inputs::default()
    });
    matches!(replied.try_recv(), Ok(Reply::Decided(_)))
}

pub(crate) fn id(node: usize) -> NodeId {
    NodeId(format!("node-{node}"))
}

pub(crate) fn shard(partition: u32) -> ShardId {
    ShardId {
        context: Context::Inventory,
        partition,
    }
}
