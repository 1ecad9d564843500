//! What a node does about the map: pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{NodeId, OwnerMap, ShardId};
use crate::ownership::Ownership;

/// What a node has to do about one of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start it; it takes over at once.
    TakeOver(ShardId),
    /// Start it; it gets ready and fences nobody.
    StandBy(ShardId),
    /// It stands by: tell it to take over.
    Serve(ShardId),
    /// Let it commit what it has accepted and end. Whoever owns it now fences it if it is slow.
    Stop(ShardId),
}

/// What is seen of a shard that runs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It stands by and has read the log.
    Ready,
    /// It lives: getting ready, recovering, or serving.
    Living,
    /// Another process has taken its partition over.
    Fenced,
    /// It has ended because a newer version of this code has written to its log.
    Outdated,
    /// It has ended by itself, for a reason that another start may not meet.
    Failed,
    /// It has ended on request.
    Ended,
}

impl From<&Ownership> for Observed {
    fn from(ownership: &Ownership) -> Self {
        match ownership {
            Ownership::Standby => Observed::Ready,
            Ownership::Recovering { .. } | Ownership::Serving { .. } => Observed::Living,
            Ownership::Fenced { .. } | Ownership::Replaced => Observed::Fenced,
            Ownership::Outdated { .. } => Observed::Outdated,
            Ownership::Refused { .. } => Observed::Failed,
            Ownership::Stopped => Observed::Ended,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    StandsBy,
    Serves,
    /// Fenced at this version although it was ours: nothing runs.
    Lost,
    /// Ended by itself at this version, or never begun: nothing runs.
    Failed,
    /// Ended for a reason that starting it again at the same version would not mend.
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Local {
    role: Role,
    /// The version of the assignment that it follows.
    version: u64,
}

/// The shards of this node: what each does, and at which version of its assignment.
#[derive(Debug)]
pub struct Member {
    me: NodeId,
    shards: BTreeMap<ShardId, Local>,
    /// Shards that this process is too old for. It stays so until another one runs as this node.
    outdated: BTreeSet<ShardId>,
}

impl Member {
    /// A node that runs nothing.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            shards: BTreeMap::new(),
            outdated: BTreeSet::new(),
        }
    }

    /// What to do so that the shards here follow `map`. `observe` says how a shard that runs here
    /// does; it is asked of no other. Called again with nothing new, it does nothing.
    ///
    /// A shard that was fenced or has failed is started again only by an assignment that is newer than
    /// the one under which that was. Without `may_start` what runs goes on or stops, and nothing begins.
    pub fn follow(
        &mut self,
        map: &OwnerMap,
        may_start: bool,
        observe: impl Fn(ShardId) -> Option<Observed>,
    ) -> Vec<Action> {
        self.notice(&observe);
        let mut actions = Vec::new();
        for (shard, assignment) in map.iter() {
            let wanted = if assignment.owner.node == self.me {
                Some(Role::Serves)
            } else if assignment.successor.as_ref().map(|next| &next.node) == Some(&self.me) {
                Some(Role::StandsBy)
            } else {
                None
            };
            let runs = self.runs(shard);
            if runs || may_start || wanted.is_none() {
                self.follow_one(shard, wanted, assignment.version, &mut actions);
            }
        }
        actions
    }

    fn notice(&mut self, observe: &impl Fn(ShardId) -> Option<Observed>) {
        for (shard, local) in &mut self.shards {
            if !matches!(local.role, Role::StandsBy | Role::Serves) {
                continue;
            }
            match observe(*shard) {
                Some(Observed::Fenced) => local.role = Role::Lost,
                Some(Observed::Outdated) => {
                    local.role = Role::Ended;
                    self.outdated.insert(*shard);
                }
                Some(Observed::Failed) | None => local.role = Role::Failed,
                Some(Observed::Ended) => local.role = Role::Ended,
                Some(Observed::Ready | Observed::Living) => {}
            }
        }
    }

    fn follow_one(
        &mut self,
        shard: ShardId,
        wanted: Option<Role>,
        version: u64,
        actions: &mut Vec<Action>,
    ) {
        let local = self.shards.get(&shard).copied();
        let runs = local.filter(|local| matches!(local.role, Role::StandsBy | Role::Serves));
        let Some(role) = wanted else {
            if runs.is_some() {
                actions.push(Action::Stop(shard));
            }
            self.shards.remove(&shard);
            return;
        };
        match (runs.map(|local| local.role), role) {
            (Some(Role::StandsBy), Role::Serves) => actions.push(Action::Serve(shard)),
            (Some(now), wanted) if now == wanted => {}
            (Some(_), _) => actions.extend([Action::Stop(shard), Action::StandBy(shard)]),
            (None, _) if local.is_some_and(|local| local.version >= version) => return,
            (None, Role::Serves) => actions.push(Action::TakeOver(shard)),
            (None, _) => actions.push(Action::StandBy(shard)),
        }
        self.shards.insert(shard, Local { role, version });
    }

    /// The shards that are ready to be taken over, with the version that asked for it.
    pub fn ready(&self, observe: impl Fn(ShardId) -> Option<Observed>) -> Vec<(ShardId, u64)> {
        self.shards
            .iter()
            .filter(|(shard, local)| {
                local.role == Role::StandsBy && observe(**shard) == Some(Observed::Ready)
            })
            .map(|(shard, local)| (*shard, local.version))
            .collect()
    }

    /// The shards that were taken from this node while it was their owner, with that version.
    #[must_use]
    pub fn lost(&self) -> Vec<(ShardId, u64)> {
        self.in_role(Role::Lost)
    }

    /// The shards that have ended by themselves here, or could not be started, with the version that
    /// had them run.
    #[must_use]
    pub fn failed(&self) -> Vec<(ShardId, u64)> {
        self.in_role(Role::Failed)
    }

    fn in_role(&self, role: Role) -> Vec<(ShardId, u64)> {
        let shards = self.shards.iter();
        let shards = shards.filter(|(_, local)| local.role == role);
        shards
            .map(|(shard, local)| (*shard, local.version))
            .collect()
    }

    /// The shards that this process is too old for.
    #[must_use]
    pub fn outdated(&self) -> Vec<ShardId> {
        self.outdated.iter().copied().collect()
    }

    /// Whether any shard runs here.
    #[must_use]
    pub fn runs_any(&self) -> bool {
        self.shards.keys().any(|shard| self.runs(*shard))
    }

    fn runs(&self, shard: ShardId) -> bool {
        let local = self.shards.get(&shard);
        local.is_some_and(|local| matches!(local.role, Role::StandsBy | Role::Serves))
    }
}
