//! What an agent drives, and what it tells of itself.

use super::{OwnerMap, ShardId};
use crate::ownership::Ownership;
use crate::thread::Begin;

/// Runs the shards of this process, as the agent says.
pub trait ShardHost {
    /// Starts a shard. When one of the same id is still ending, it goes on ending beside it.
    fn start(&mut self, shard: ShardId, begin: Begin);
    /// Tells a shard that stands by to take over.
    fn serve(&mut self, shard: ShardId);
    /// Lets a shard that another node owns now commit what it has accepted and end, without waiting
    /// for it. It must not take over again.
    fn stop(&mut self, shard: ShardId);
    /// The shards that have a claim on their partition here, those included that are to let go of it
    /// and have not yet.
    fn running(&self) -> Vec<ShardId>;
    /// How the shard that was started last under this id stands; `None` when none was.
    fn ownership(&self, shard: ShardId) -> Option<Ownership>;
    /// The map, or what is known of the nodes, has changed.
    fn report(&mut self, map: &OwnerMap, status: &AgentStatus);
}

/// How this node stands among the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentStatus {
    /// The map has been read to its end.
    pub knows_the_map: bool,
    /// What holds the map's reader up; nothing while it moves.
    pub held_up: Option<String>,
    /// It is the allocator.
    pub leads: bool,
    /// Another process runs under this node's name, and was started later. This one is done.
    pub superseded: bool,
    /// None of its beats has arrived for so long that the others take it for dead, and it can't know
    /// how they are.
    pub is_unheard: bool,
    /// Its clock is off from the log's by more than is allowed: it takes no shards.
    pub clock_is_off: bool,
    /// Shards that have ended by themselves here and were not given another assignment yet, and why.
    pub failed: Vec<(ShardId, String)>,
    /// Shards whose owner it is.
    pub owned: usize,
    /// Other nodes that live and take shards.
    pub others: usize,
}
