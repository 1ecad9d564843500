//! Many nodes: who owns which shard, who says so, and what a node does about it.
//!
//! ```text
//! every node ── beat ──► command.nodes.v1 ──► the allocator (holds the topic's one partition
//!     ▲                                            │          in a consumer group)
//!     └──────── command.owners.v1 ◄── assignments ─┘
//! ```
//!
//! The map that the owners topic is can be late or wrong; it only says where to send a command and
//! who should take a partition over. What keeps two writers apart is the transactional id alone.
//!
//! A shard moves in two steps while its owner lives: the assignment first names a successor, which
//! gets ready and says so in its beat; then the successor becomes the owner and takes over, and the
//! old owner commits what it has accepted and stops. When the owner is gone there is one step.
//!
//! [`assign`], [`Allocator`] and [`Member`] are pure; [`NodeAgent`] is the driver that reads and
//! writes the two topics, one step at a time, which a simulation can do as well as a thread.

mod agent;
mod allocator;
mod assign;
mod clock_check;
mod failures;
mod host;
mod member;
mod options;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cartwright_events::Context;
use serde::{Deserialize, Serialize};

pub use agent::{NodeAgent, NodeStart};
pub use allocator::Allocator;
pub use assign::assign;
pub use cartwright_events::{NODES_TOPIC, OWNERS_TOPIC};
pub use clock_check::ClockCheck;
pub use host::{AgentStatus, ShardHost};
pub use member::{Action, Member, Observed};
pub use options::NodeOptions;

/// The consumer group whose one member with a partition is the allocator.
pub const ALLOCATOR_GROUP: &str = "cartwright-allocator";
/// What fences an allocator that was elected before.
pub const ALLOCATOR_TRANSACTIONAL_ID: &str = "cartwright-allocator";
/// What a node's transactional id begins with: it fences an earlier start of the same node.
pub const NODE_TRANSACTIONAL_ID: &str = "cartwright-node-";

/// A node's name: the same for every start of it, different from every other node's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One partition of one context, written `context/partition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardId {
    /// The context.
    pub context: Context,
    /// The partition.
    pub partition: u32,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.context.name(), self.partition)
    }
}

impl From<ShardId> for String {
    fn from(shard: ShardId) -> String {
        shard.to_string()
    }
}

/// A text that names no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no shard: context/partition")]
pub struct NoShard(String);

impl FromStr for ShardId {
    type Err = NoShard;

    fn from_str(text: &str) -> Result<Self, NoShard> {
        let parsed = text.split_once('/').and_then(|(name, partition)| {
            let context = Context::ALL.into_iter().find(|one| one.name() == name)?;
            let partition = partition.parse().ok()?;
            Some(ShardId { context, partition })
        });
        parsed.ok_or_else(|| NoShard(text.to_owned()))
    }
}

impl TryFrom<String> for ShardId {
    type Error = NoShard;

    fn try_from(text: String) -> Result<Self, NoShard> {
        text.parse()
    }
}

/// A node and where the others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// The node.
    pub node: NodeId,
    /// URL of its HTTP, without a path.
    pub address: String,
}

/// Who owns a shard: a record of the owners topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Rises with every change of this shard's assignment.
    pub version: u64,
    /// Who takes it over and serves it.
    pub owner: NodeAddress,
    /// Who gets ready to be the next owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<NodeAddress>,
}

/// The newest assignment of every shard, as far as this process has read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerMap(BTreeMap<ShardId, Assignment>);

impl OwnerMap {
    /// Takes an assignment in, unless a newer one is known. Returns whether it was news.
    pub fn take(&mut self, shard: ShardId, assignment: Assignment) -> bool {
        let known = self.0.get(&shard).map_or(0, |known| known.version);
        let newer = assignment.version > known;
        if newer {
            self.0.insert(shard, assignment);
        }
        newer
    }

    /// The shard's assignment; `None` before its first.
    #[must_use]
    pub fn get(&self, shard: ShardId) -> Option<&Assignment> {
        self.0.get(&shard)
    }

    /// Every assignment, by shard.
    pub fn iter(&self) -> impl Iterator<Item = (ShardId, &Assignment)> {
        self.0
            .iter()
            .map(|(shard, assignment)| (*shard, assignment))
    }
}

/// What a node is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes shards.
    Up,
    /// It serves what it has, and wants all of it taken off.
    Leaving,
    /// It serves nothing any more and will not beat again.
    Gone,
}

/// A node's sign of life: a record of the nodes topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The node.
    pub node: NodeId,
    /// URL of its HTTP, without a path.
    pub address: String,
    /// Larger for every later start of the same node.
    pub incarnation: u64,
    /// What it is about.
    pub state: NodeState,
    /// Contexts whose shards it can run; none while its clock is off.
    pub contexts: Vec<Context>,
    /// Shards that may still write here, those included that are ending: an owner that hands over has
    /// let go when its shard is no longer among them.
    #[serde(default)]
    pub running: Vec<ShardId>,
    /// Shards that it is ready to take over, with the version that named it their successor.
    pub ready: Vec<(ShardId, u64)>,
    /// Shards that were taken from it although it was their owner at this version.
    pub lost: Vec<(ShardId, u64)>,
    /// Shards that have ended by themselves here while they served or got ready at this version, for a
    /// reason that another start may not meet.
    #[serde(default)]
    pub failed: Vec<(ShardId, u64)>,
    /// Shards whose log holds what a newer version of the code wrote: this start of the node can't
    /// serve them.
    #[serde(default)]
    pub outdated: Vec<ShardId>,
}
