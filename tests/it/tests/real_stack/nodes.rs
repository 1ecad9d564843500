//! Three nodes under load: restarted one by one, killed, frozen.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_events::partition::partition_of;
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::{Part, Stack};
use serde_json::json;

const NODES: u8 = 3;
const PARTITIONS: u32 = 2;
const SKUS: usize = 8;
const WORKERS: usize = 8;

/// Sends requests to nodes that are ready, as a load balancer does: it looks at their readiness
/// every 50 ms and repeats nothing.
#[derive(Clone)]
struct Balancer {
    nodes: Arc<Vec<(Part, Api)>>,
    ready: Arc<Mutex<Vec<usize>>>,
    stop: Arc<AtomicBool>,
    turn: Arc<AtomicU64>,
}

impl Balancer {
    fn over(stack: &Stack) -> Self {
        let of = |part: Part| {
            let api = Api::new(part.address(stack.ports()), stack.query_url());
            (part, api)
        };
        let nodes: Vec<_> = Part::command_nodes(NODES).into_iter().map(of).collect();
        let balancer = Self {
            ready: Arc::new(Mutex::new((0..nodes.len()).collect())),
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
            *self.ready.lock().unwrap_or_else(|e| e.into_inner()) = ready;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn next(&self) -> Option<&Api> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let ready = self.ready.lock().unwrap_or_else(|e| e.into_inner());
        let index = *ready.get(turn % ready.len().max(1))?;
        Some(&self.nodes[index].1)
    }
}

/// What a run of workers saw.
#[derive(Default)]
struct Seen {
    failed: Vec<String>,
    /// When each receipt was acknowledged, by SKU.
    acknowledged: BTreeMap<String, Vec<Instant>>,
}

impl Seen {
    /// The longest time without an acknowledgement, by shard.
    fn pauses(&self) -> BTreeMap<u32, Duration> {
        let mut by_shard: BTreeMap<u32, Vec<Instant>> = BTreeMap::new();
        for (sku, times) in &self.acknowledged {
            let shard = by_shard.entry(partition_of(sku, PARTITIONS)).or_default();
            shard.extend(times);
        }
        let longest = |mut times: Vec<Instant>| {
            times.sort_unstable();
            let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
            gaps.max().unwrap_or_default()
        };
        by_shard
            .into_iter()
            .map(|(shard, times)| (shard, longest(times)))
            .collect()
    }
}

async fn work(balancer: Balancer, worker: usize, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut round = worker;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let sku = format!("NODE-{}", round % SKUS);
        let Some(api) = balancer.next() else {
            seen.failed.push("no node is ready".to_owned());
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let path = format!("/v1/stock/{sku}/receipts");
        match api.post(&path, json!({"quantity": 1})).await {
            Ok(answer) if answer.status == 201 => {
                seen.acknowledged
                    .entry(sku)
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

/// Runs the workers while `act` does its harm.
async fn under_load<F: Future<Output = anyhow::Result<()>>>(
    balancer: &Balancer,
    act: F,
) -> anyhow::Result<Seen> {
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(work(balancer.clone(), worker, Arc::clone(&stop))))
        .collect();
    let acted = act.await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    for worker in workers {
        let seen = worker.await?;
        all.failed.extend(seen.failed);
        for (sku, times) in seen.acknowledged {
            all.acknowledged.entry(sku).or_default().extend(times);
        }
    }
    acted.map(|()| all)
}

/// Waits until this node answers and some shards are its own.
async fn until_it_owns(balancer: &Balancer, part: Part) -> anyhow::Result<()> {
    let api = balancer.nodes.iter().find(|(node, _)| *node == part);
    let api = &api.context("one of the nodes")?.1;
    eventually("the node owns shards", PATIENCE, || async {
        let answer = api.get_command("/readyz?verbose").await.ok()?;
        let checks = answer.body["checks"].as_array()?.clone();
        let nodes = checks.iter().find(|check| check["name"] == "nodes")?;
        let detail = nodes["detail"].as_str()?;
        (nodes["ok"] == true && !detail.starts_with("owner of 0 ")).then_some(())
    })
    .await
}

/// Whether one receipt under this key is acknowledged by some node.
async fn acknowledged(balancer: &Balancer, sku: &str, key: &str) -> Option<()> {
    let headers = [("Idempotency-Key", key)];
    let path = format!("/v1/stock/{sku}/receipts");
    let sent = balancer
        .next()?
        .post_with(&path, json!({"quantity": 1}), &headers);
    let answer = tokio::time::timeout(Duration::from_secs(3), sent).await;
    answer
        .ok()?
        .ok()
        .filter(|answer| answer.status == 201)
        .map(drop)
}

/// How long it takes until every inventory shard answers, whoever owns it.
async fn until_all_answer(
    balancer: &Balancer,
    what: &str,
    counted: &mut BTreeMap<String, u64>,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let of_both = (0..PARTITIONS).filter_map(|partition| {
        let names = (0..SKUS).map(|number| format!("NODE-{number}"));
        names
            .into_iter()
            .find(|sku| partition_of(sku, PARTITIONS) == partition)
    });
    for sku in of_both {
        let key = format!("\"{what}-{sku}\"");
        eventually("every shard answers", PATIENCE, || {
            acknowledged(balancer, &sku, &key)
        })
        .await?;
        *counted.entry(sku).or_default() += 1;
    }
    Ok(begun.elapsed())
}

fn signal(stack: &Stack, part: Part, name: &str) -> anyhow::Result<()> {
    let pid = stack.pid(part).context("the node runs")?.pid;
    let done = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()?;
    ensure!(done.success(), "kill {name} {pid}");
    Ok(())
}

pub(crate) async fn three_nodes_lose_and_refuse_nothing(
    test: Arc<TestStack>,
) -> anyhow::Result<()> {
    let mut config = test.stack.config().clone();
    config.nodes = NODES;
    // A crowded machine may take seconds for what takes milliseconds otherwise.
    let patient = (
        "CARTWRIGHT__COMMAND__DEADLINE_MS".to_owned(),
        "10000".to_owned(),
    );
    config.service_env.insert(Part::CommandApi, vec![patient]);
    let stack = Stack::new(config)?;
    stack.up().await?;
    let outcome = trials(&stack).await;
    // The other tests know one node, which is alone.
    test.stack.up().await?;
    outcome
}

async fn trials(stack: &Stack) -> anyhow::Result<()> {
    let balancer = Balancer::over(stack);
    let nodes = Part::command_nodes(NODES);
    for part in &nodes {
        until_it_owns(&balancer, *part).await?;
    }

    // One after the other, as a deployment does it; no request is repeated and none fails.
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let seen = under_load(&balancer, async {
        for part in &nodes {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stack.stop(*part).await?;
            stack.start(*part).await?;
            until_it_owns(&balancer, *part).await?;
        }
        Ok(())
    })
    .await?;
    ensure!(seen.failed.is_empty(), "failed: {:#?}", seen.failed);
    for (sku, times) in &seen.acknowledged {
        *counted.entry(sku.clone()).or_default() += times.len() as u64;
    }
    let requests: usize = seen.acknowledged.values().map(Vec::len).sum();
    println!(
        "rolling restart: {requests} requests, none failed; longest pause by shard {:?}",
        seen.pauses()
    );

    // Killed: what it owned answers again after detection and recovery.
    let killed = nodes[1];
    ensure!(stack.kill(killed).await, "the node did not run");
    let took = until_all_answer(&balancer, "killed", &mut counted).await?;
    println!("kill -9 of a node: every shard answers again after {took:?}");
    stack.start(killed).await?;
    until_it_owns(&balancer, killed).await?;

    // Frozen past its session: it claims nothing that is not in the log, and comes back.
    let frozen = nodes[2];
    signal(stack, frozen, "-STOP")?;
    let took = until_all_answer(&balancer, "frozen", &mut counted).await?;
    println!("SIGSTOP of a node: every shard answers again after {took:?}");
    signal(stack, frozen, "-CONT")?;
    until_it_owns(&balancer, frozen).await?;
    until_all_answer(&balancer, "thawed", &mut counted).await?;

    // Each acknowledged receipt is in the log once; nothing else is.
    let query = &balancer.nodes[0].1;
    for (sku, units) in counted {
        let path = format!("/v1/products/{sku}/availability");
        let wanted = i64::try_from(units)?;
        eventually("the receipts are visible", PATIENCE, || async {
            let stock = query.get(&path, None).await.ok()?;
            (stock.body["on_hand"].as_i64()? >= wanted).then_some(())
        })
        .await?;
        let stock = query.get(&path, None).await?.expect(200)?;
        ensure!(
            stock.body["on_hand"] == wanted,
            "{sku}: {wanted} acknowledged, {}",
            stock.text
        );
    }
    balancer.stop.store(true, Ordering::Relaxed);
    Ok(())
}
