//! Callers of every shard who repeat nothing, behind a load balancer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cartwright_events::Context;
use cartwright_harness::Api;
use cartwright_local::{Part, Stack};
use serde_json::{Value, json};

use super::NODES;
use crate::sale::{gbp, name_in};

const PARTITIONS: u32 = 2;
/// Callers of each shard. Nobody who waits for one shard keeps others from being asked.
const WORKERS: usize = 2;

/// Sends requests to nodes that are ready, as a load balancer does: it looks at their readiness
/// every 50 ms and repeats nothing.
#[derive(Clone)]
pub(super) struct Balancer {
    pub(super) nodes: Arc<Vec<(Part, Api)>>,
    ready: Arc<Mutex<Vec<usize>>>,
    pub(super) stop: Arc<AtomicBool>,
    turn: Arc<AtomicU64>,
}

impl Balancer {
    pub(super) fn over(stack: &Stack) -> Self {
        let of = |part: Part| {
            let api = Api::new(part.address(stack.ports()), stack.query_url());
            (part, api)
        };
        // One more than there are at first.
        let nodes = Part::command_nodes(NODES + 1).into_iter().map(of);
        let nodes: Vec<_> = nodes.collect();
        let balancer = Self {
            ready: Arc::new(Mutex::new((0..usize::from(NODES)).collect())),
            nodes: Arc::new(nodes),
            stop: Arc::default(),
            turn: Arc::default(),
        };
        tokio::spawn(balancer.clone().look());
        balancer
    }

    async fn look(self) {
        while !self.stop.load(Ordering::Relaxed) {
            let mut ready = Vec::new();
            for (index, (_, api)) in self.nodes.iter().enumerate() {
                let answer =
                    tokio::time::timeout(Duration::from_millis(300), api.get_command("/readyz"));
                if matches!(answer.await, Ok(Ok(answer)) if answer.status == 200) {
                    ready.push(index);
                }
            }
            // All of them silent is this machine standing still.
            if !ready.is_empty() {
                *self.ready.lock().unwrap_or_else(|e| e.into_inner()) = ready;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn next(&self) -> Option<&Api> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let ready = self.ready.lock().unwrap_or_else(|e| e.into_inner());
        let index = *ready.get(turn % ready.len().max(1))?;
        Some(&self.nodes[index].1)
    }
}

/// One shard, by its context and partition, and what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked(pub(super) Context, pub(super) u32);

impl Asked {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let contexts = Context::ALL.into_iter();
        contexts.flat_map(|context| (0..PARTITIONS).map(move |partition| Self(context, partition)))
    }

    /// A command that this shard takes, unlike any other that begins with `name`.
    pub(super) fn command(self, name: &str) -> (String, Value) {
        match self.0 {
            Context::Catalog => {
                let sku = self.name(&format!("{name}-"));
                let product = json!({"sku": sku, "name": "A thing", "price": gbp(100)});
                ("/v1/products".to_owned(), product)
            }
            Context::Inventory => {
                let sku = self.sku();
                let path = format!("/v1/stock/{sku}/receipts");
                (path, json!({"quantity": 1}))
            }
            Context::Checkout => {
                let id = self.name(&format!("{name}-"));
                let cart = json!({"cart_id": id, "currency": "GBP"});
                ("/v1/carts".to_owned(), cart)
            }
        }
    }

    /// Whether a node serves this shard, by its metrics.
    pub(super) fn is_served(self, metrics: &str) -> bool {
        let (context, partition) = (self.0.name(), self.1);
        let labels = format!("context=\"{context}\",partition=\"{partition}\"");
        let line = format!("cartwright_shard_serving{{{labels}}} 1");
        metrics.lines().any(|found| found == line)
    }

    /// What is received in this partition of the inventory.
    pub(super) fn sku(self) -> String {
        self.name("NODE-")
    }

    fn name(self, prefix: &str) -> String {
        name_in(self.1, PARTITIONS, prefix)
    }
}

/// What a run of workers saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) failed: Vec<String>,
    /// When each command was acknowledged.
    acknowledged: BTreeMap<Asked, Vec<Instant>>,
}

impl Seen {
    pub(super) fn requests(&self) -> usize {
        self.acknowledged.values().map(Vec::len).sum()
    }

    /// The longest time without an acknowledgement of each shard, the shortest first.
    pub(super) fn pauses(&self) -> Vec<Duration> {
        let longest = |times: &Vec<Instant>| {
            let mut times = times.clone();
            times.sort_unstable();
            let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
            gaps.max().unwrap_or_default()
        };
        let mut pauses: Vec<Duration> = self.acknowledged.values().map(longest).collect();
        pauses.sort_unstable();
        pauses
    }

    /// Adds the receipts to those `counted` by SKU.
    pub(super) fn count_receipts(&self, counted: &mut BTreeMap<String, u64>) {
        for (asked, times) in &self.acknowledged {
            if asked.0 == Context::Inventory {
                *counted.entry(asked.sku()).or_default() += times.len() as u64;
            }
        }
    }
}

/// The one in the middle; with an even number of them the longer one of two.
pub(super) fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

async fn work(balancer: Balancer, asked: Asked, name: String, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut round = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let Some(api) = balancer.next() else {
            seen.failed.push("no node is ready".to_owned());
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let name = format!("{name}-{round}");
        let (path, body) = asked.command(&name);
        // Sent once: another client would be spared by repeats what is to be seen here.
        let key = format!("\"{name}\"");
        let headers = [("Idempotency-Key", key.as_str())];
        match api.post_with(&path, body, &headers).await {
            Ok(answer) if answer.status == 201 => {
                seen.acknowledged
                    .entry(asked)
                    .or_default()
                    .push(Instant::now());
            }
            Ok(answer) => seen
                .failed
                .push(format!("{} {}", answer.status, answer.text)),
            Err(error) => seen.failed.push(format!("{error:#}")),
        }
    }
    seen
}

/// Runs the workers, who name what they make after `name`, while `act` does its harm.
pub(super) async fn under_load<F: Future<Output = anyhow::Result<()>>>(
    balancer: &Balancer,
    name: &str,
    act: F,
) -> anyhow::Result<Seen> {
    let stop = Arc::new(AtomicBool::new(false));
    let workers = Asked::all().flat_map(|asked| (0..WORKERS).map(move |worker| (asked, worker)));
    let workers: Vec<_> = workers
        .map(|(asked, worker)| {
            let name = format!("NODES-{name}-{worker}");
            tokio::spawn(work(balancer.clone(), asked, name, Arc::clone(&stop)))
        })
        .collect();
    let acted = act.await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    for worker in workers {
        let seen = worker.await?;
        all.failed.extend(seen.failed);
        for (asked, times) in seen.acknowledged {
            all.acknowledged.entry(asked).or_default().extend(times);
        }
    }
    acted.map(|()| all)
}
