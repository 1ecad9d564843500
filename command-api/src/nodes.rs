//! This process as one of several: its agent's thread, and what the edge knows of the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cartwright_event_log::EventLog;
use cartwright_events::Context;
use cartwright_service::health::Check;
use cartwright_shard::nodes::{
    AgentStatus, ClockCheck, NodeAddress, NodeAgent, NodeId, NodeStart, OwnerMap, ShardId,
};
use tokio::sync::{oneshot, watch};

use crate::config::Nodes as Settings;
use crate::forward::Forwarder;
use crate::host::Host;

/// What the edge knows of the other nodes.
#[derive(Debug)]
pub struct Peers {
    /// This node.
    pub me: NodeId,
    /// Who owns which shard.
    pub map: watch::Receiver<Arc<OwnerMap>>,
    /// Hops after which a command is not forwarded again.
    pub max_hops: u8,
    pub(crate) forwarder: Forwarder,
}

#[derive(Debug)]
enum Order {
    /// Have the shards taken off; answered when they are.
    Leave(oneshot::Sender<()>),
    /// Stop what is left within the limit, and end.
    Finish(Duration),
}

/// The agent's thread.
#[derive(Debug)]
pub(crate) struct NodeThread {
    orders: std::sync::mpsc::Sender<Order>,
    thread: JoinHandle<bool>,
}

impl NodeThread {
    /// Starts the agent of this node over all `shards`, of which it can run those of `contexts`.
    pub(crate) fn start<L: EventLog>(
        settings: &Settings,
        contexts: Vec<Context>,
        shards: BTreeSet<ShardId>,
        log: L,
        host: Host,
        check: Check,
        clock: ClockCheck,
    ) -> std::io::Result<(Self, Peers)> {
        let me = NodeAddress {
            node: NodeId(settings.id.clone()),
            address: settings.address.trim_end_matches('/').to_owned(),
        };
        let peers = Peers {
            me: me.node.clone(),
            map: host.map.subscribe(),
            max_hops: settings.max_hops,
            forwarder: Forwarder::new(),
        };
        let status = host.status.subscribe();
        tokio::spawn(report(status, peers.map.clone(), shards.clone(), check));
        // Later starts have later times; a clock that was set back is no worse than a restart that
        // waits until the earlier start counts as dead.
        let incarnation = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |since| since.as_micros() as u64);
        let start = NodeStart {
            me,
            incarnation,
            contexts,
        };
        let times = settings.times.clone();
        let agent = NodeAgent::new(log, host, start, shards, times, clock);
        let (orders, told) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("node".to_owned())
            .spawn(move || run(agent, &told))?;
        Ok((Self { orders, thread }, peers))
    }

    /// Has this node's shards taken over by others, serving them until they are; `limit` at most.
    pub(crate) async fn leave(&self, limit: Duration) {
        let (done, released) = oneshot::channel();
        if self.orders.send(Order::Leave(done)).is_ok()
            && tokio::time::timeout(limit, released).await.is_err()
        {
            tracing::warn!("not all shards were taken over in time; they are stopped here");
        }
    }

    /// Stops what runs here. Returns whether all ended within `limit`. Blocks.
    pub(crate) fn finish(self, limit: Duration) -> bool {
        // Gone means ended already.
        let _ = self.orders.send(Order::Finish(limit));
        self.thread.join().unwrap_or(false)
    }
}

fn run<L: EventLog>(
    mut agent: NodeAgent<L, Host>,
    told: &std::sync::mpsc::Receiver<Order>,
) -> bool {
    let began = Instant::now();
    let mut leaving: Option<oneshot::Sender<()>> = None;
    loop {
        match told.try_recv() {
            Ok(Order::Leave(done)) => {
                agent.leave();
                leaving = Some(done);
            }
            Ok(Order::Finish(limit)) => {
                let ended = agent.host_mut().stop_all(limit);
                agent.finish();
                return ended;
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
        }
        if agent.status().superseded {
            // Nothing will change any more; only the order to finish is left.
            thread::park_timeout(Duration::from_millis(50));
        }
        agent.step(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        if agent.is_released()
            && let Some(done) = leaving.take()
        {
            // Nobody waits any more: the limit has passed.
            let _ = done.send(());
        }
    }
}

/// Keeps the node's readiness check up to date: it can take commands when it knows where every
/// shard is, whether here or elsewhere.
async fn report(
    mut status: watch::Receiver<AgentStatus>,
    mut map: watch::Receiver<Arc<OwnerMap>>,
    shards: BTreeSet<ShardId>,
    check: Check,
) {
    loop {
        let now = status.borrow_and_update().clone();
        let assigned = {
            let map = map.borrow_and_update();
            shards
                .iter()
                .filter(|shard| map.get(**shard).is_some())
                .count()
        };
        if now.superseded {
            check.not_ok("another process runs as this node");
        } else if !now.knows_the_map {
            let held_up = now.held_up.map(|why| format!(": {why}"));
            let held_up = held_up.unwrap_or_default();
            check.not_ok(format!("reading who owns which shard{held_up}"));
        } else if assigned < shards.len() {
            check.not_ok(format!(
                "{assigned} of {} shards have an owner",
                shards.len()
            ));
        } else {
            let part = if now.is_unheard {
                ", its beats do not arrive: the others take it for dead"
            } else if now.clock_is_off {
                ", its clock is off: it takes no shards"
            } else if now.leads {
                ", allocator"
            } else {
                ""
            };
            // No reason to send no more requests here: other nodes answer for these shards, or none.
            let failed = now.failed.iter();
            let failed: String = failed
                .map(|(shard, why)| format!("; {shard} has ended here: {why}"))
                .collect();
            let held_up = now.held_up.map(|why| format!("; {why}"));
            let held_up = held_up.unwrap_or_default();
            check.ok(format!(
                "owner of {} of {} shards, {} other nodes{part}{failed}{held_up}",
                now.owned,
                shards.len(),
                now.others
            ));
        }
        let ended = tokio::select! {
            changed = status.changed() => changed.is_err(),
            changed = map.changed() => changed.is_err(),
        };
        if ended {
            return check.not_ok("the node has left");
        }
    }
}
