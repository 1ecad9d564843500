//! The driver of a node among nodes: reads and writes the two topics, and has the shards follow.

mod reading;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cartwright_event_log::{CommitError, EventLog, GroupEvent, GroupReader, LogError};
use cartwright_events::Context;

use super::clock_check::ClockCheck;
use super::{
    ALLOCATOR_GROUP, Action, AgentStatus, Allocator, Beat, Member, NODES_TOPIC, NodeAddress,
    NodeId, NodeOptions, NodeState, Observed, OwnerMap, ShardHost, ShardId,
};
use crate::standstill::Standstill;
use crate::thread::Begin;

/// How often it is looked whether the reader of the map stands still.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// One start of a node.
#[derive(Debug, Clone)]
pub struct NodeStart {
    /// The node, and where the others reach it.
    pub me: NodeAddress,
    /// Larger for every later start under the same name.
    pub incarnation: u64,
    /// Contexts whose shards it can run.
    pub contexts: Vec<Context>,
}

/// A node among nodes. Driven by [`NodeAgent::step`]; it does not wait for anything beyond
/// [`NodeOptions::look_ms`] and the log's own limits.
#[derive(Debug)]
pub struct NodeAgent<L: EventLog, H> {
    log: L,
    host: H,
    me: NodeAddress,
    incarnation: u64,
    contexts: Vec<Context>,
    options: NodeOptions,
    clock: ClockCheck,
    state: NodeState,
    member: Member,
    allocator: Allocator,
    map: OwnerMap,
    /// Shards that have changed hands, with who had them before and until when that node may take to
    /// let go.
    awaited: BTreeMap<ShardId, (NodeId, u64)>,
    /// Shards that stand by and are to take over.
    told_to_serve: BTreeSet<ShardId>,
    status: AgentStatus,
    reader: Option<L::Reader>,
    /// The map is known when the reader has got here.
    known_at: u64,
    standstill: Standstill,
    beats: Option<L::Writer>,
    last_beat: Option<(Beat, u64)>,
    group: Option<L::GroupReader>,
    owners: Option<L::Writer>,
    /// Nothing is planned before the reader has got here: behind everything an allocator wrote.
    plan_at: u64,
}

impl<L: EventLog, H: ShardHost> NodeAgent<L, H> {
    /// The agent of a node; `shards` are all there are.
    pub fn new(
        log: L,
        host: H,
        start: NodeStart,
        shards: BTreeSet<ShardId>,
        options: NodeOptions,
        clock: ClockCheck,
    ) -> Self {
        let NodeStart {
            me,
            incarnation,
            contexts,
        } = start;
        Self {
            member: Member::new(me.node.clone()),
            allocator: Allocator::new(me.node.clone(), shards, options.clone()),
            log,
            host,
            me,
            incarnation,
            contexts,
            options,
            clock,
            state: NodeState::Up,
            map: OwnerMap::default(),
            awaited: BTreeMap::new(),
            told_to_serve: BTreeSet::new(),
            status: AgentStatus::default(),
            reader: None,
            known_at: 0,
            standstill: Standstill::new(LOOK_EVERY),
            beats: None,
            last_beat: None,
            group: None,
            owners: None,
            plan_at: 0,
        }
    }

    /// What it runs.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// What it runs, to change.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> &AgentStatus {
        &self.status
    }

    /// The map as far as it is known.
    #[must_use]
    pub fn map(&self) -> &OwnerMap {
        &self.map
    }

    /// From now on it asks for its shards to be taken off, and serves them until they are.
    pub fn leave(&mut self) {
        self.state = NodeState::Leaving;
    }

    /// Whether there is nothing left that another node could take off it.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.status.superseded
            || (self.status.knows_the_map && self.status.owned == 0 && !self.member.runs_any())
            || self.status.others == 0
    }

    /// Says that it serves nothing any more, and gives the allocator's part back. The shards have to
    /// be stopped by then. Nothing is to be done with it afterwards.
    pub fn finish(&mut self) {
        self.state = NodeState::Gone;
        if let Err(error) = self.beat(u64::MAX) {
            // The others find out by its silence.
            tracing::warn!(%error, "the node could not say that it is gone");
        }
        self.group = None;
        self.owners = None;
    }

    /// Does what is due. `now_ms` is this process's own time, never running backwards.
    pub fn step(&mut self, now_ms: u64) {
        if self.status.superseded {
            return;
        }
        if let Err(error) = self.read(now_ms) {
            tracing::warn!(%error, "the map of the nodes cannot be read; trying again");
            self.reader = None;
        }
        if let Err(error) = self.stand_for_election() {
            tracing::warn!(%error, "no part in the election of the allocator; trying again");
            self.group = None;
            self.resign();
        }
        if self.status.superseded {
            return self.stop_all();
        }
        if self.status.knows_the_map {
            self.follow();
            self.serve_what_was_let_go(now_ms);
        }
        if let Err(error) = self.allocate(now_ms) {
            tracing::warn!(%error, "the owners could not be written; reading them again first");
            self.owners = None;
            if error == CommitError::Fenced {
                // Another allocator was elected, whatever the group has told so far.
                self.group = None;
                self.resign();
            }
        }
        if let Err(error) = self.beat(now_ms) {
            tracing::warn!(%error, "the node's beat could not be written; trying again");
            self.beats = None;
        }
        self.report(now_ms);
    }

    fn stand_for_election(&mut self) -> Result<(), LogError> {
        let mut group = match self.group.take() {
            Some(group) => group,
            None => self.log.group_reader(ALLOCATOR_GROUP, &[NODES_TOPIC])?,
        };
        match group.poll(1, Duration::ZERO)? {
            GroupEvent::Assigned(partitions) => {
                // The partition only stands for the office; the agent's own reader reads it.
                if !partitions.is_empty() {
                    group.seek_all(&[])?;
                }
                self.status.leads = !partitions.is_empty();
                if self.status.leads {
                    tracing::info!(node = %self.me.node, "elected the allocator");
                }
            }
            GroupEvent::Revoked(_) => self.resign(),
            GroupEvent::Records(_) => {}
        }
        self.group = Some(group);
        Ok(())
    }

    /// It is the allocator no more, until it is elected again.
    fn resign(&mut self) {
        self.status.leads = false;
        self.owners = None;
    }

    fn follow(&mut self) {
        let host = &self.host;
        // Times that a wrong clock writes into the log are times that everybody else has to wait for.
        let may_start = self.clock.is_right();
        let actions = self
            .member
            .follow(&self.map, may_start, |shard| observe(host, shard));
        let mut serve = Vec::new();
        for action in actions {
            tracing::info!(node = %self.me.node, ?action, "following the map");
            match action {
                Action::TakeOver(shard) => self.host.start(shard, Begin::TakeOver),
                Action::StandBy(shard) => self.host.start(shard, Begin::StandBy),
                Action::Serve(shard) => serve.push(shard),
                Action::Stop(shard) => {
                    self.told_to_serve.remove(&shard);
                    self.host.stop(shard);
                }
            }
        }
        self.told_to_serve.extend(serve);
    }

    /// Takes over what its owner has let go of: fencing it in the middle of its last transaction
    /// would leave its callers waiting until it has found that out.
    fn serve_what_was_let_go(&mut self, now_ms: u64) {
        let (allocator, awaited) = (&self.allocator, &mut self.awaited);
        awaited.retain(|shard, (before, until_ms)| {
            now_ms < *until_ms && allocator.runs(before, *shard)
        });
        let let_go = self.told_to_serve.iter().copied();
        let let_go: Vec<ShardId> = let_go
            .filter(|shard| !self.awaited.contains_key(shard))
            .collect();
        for shard in let_go {
            self.told_to_serve.remove(&shard);
            self.host.serve(shard);
        }
    }

    fn stop_all(&mut self) {
        tracing::error!(
            node = %self.me.node,
            "another process runs as this node and was started later: stopping"
        );
        let map = OwnerMap::default();
        let shards: Vec<ShardId> = self.map.iter().map(|(shard, _)| shard).collect();
        for shard in shards {
            if self.host.ownership(shard).is_some() {
                self.host.stop(shard);
            }
        }
        self.group = None;
        self.resign();
        self.host.report(&map, &self.status);
    }

    fn report(&mut self, now_ms: u64) {
        self.status.is_unheard = !self.allocator.hears_itself(now_ms);
        let owned = self
            .map
            .iter()
            .filter(|(_, assignment)| assignment.owner.node == self.me.node);
        self.status.owned = owned.count();
        let others = self
            .allocator
            .living()
            .filter(|beat| beat.node != self.me.node && beat.state == NodeState::Up);
        self.status.others = others.count();
        let failed = self.member.failed().into_iter();
        self.status.failed = failed
            .map(|(shard, _)| {
                let ended = self.host.ownership(shard);
                let why = ended.map_or("it was not started".to_owned(), |end| end.to_string());
                (shard, why)
            })
            .collect();
        self.host.report(&self.map, &self.status);
    }
}

fn observe(host: &impl ShardHost, shard: ShardId) -> Option<Observed> {
    host.ownership(shard).as_ref().map(Observed::from)
}
