//! Three nodes under load: restarted one by one, joined by a fourth, killed, frozen.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_events::Context;
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::{Part, Stack};
use serde_json::{Value, json};

use crate::sale::{gbp, name_in};

const NODES: u8 = 3;
const PARTITIONS: u32 = 2;
/// Callers of each shard. Nobody who waits for one shard keeps others from being asked.
const WORKERS: usize = 2;
/// How long the median shard may be silent while nodes are restarted one by one: as long as it takes to
/// find out that a node is dead, for which a planned handover must not wait. It is a tenth of that on a
/// machine that has nothing else to do.
const PAUSE_LIMIT: Duration = Duration::from_secs(3);
/// How long until every shard answers again when a node was killed: far more than it takes to find that
/// out, elect another allocator, and recover.
const KILLED_LIMIT: Duration = Duration::from_secs(30);
/// How long the nodes are watched while nothing happens.
const QUIET: Duration = Duration::from_secs(5);

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

    fn next(&self) -> Option<&Api> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let ready = self.ready.lock().unwrap_or_else(|e| e.into_inner());
        let index = *ready.get(turn % ready.len().max(1))?;
        Some(&self.nodes[index].1)
    }
}

/// One shard, by its context and partition, and what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asked(Context, u32);

impl Asked {
    fn all() -> impl Iterator<Item = Self> {
        let contexts = Context::ALL.into_iter();
        contexts.flat_map(|context| (0..PARTITIONS).map(move |partition| Self(context, partition)))
    }

    /// A command that this shard takes, unlike any other that begins with `name`.
    fn command(self, name: &str) -> (String, Value) {
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

    /// What is received in this partition of the inventory.
    fn sku(self) -> String {
        self.name("NODE-")
    }

    fn name(self, prefix: &str) -> String {
        name_in(self.1, PARTITIONS, prefix)
    }
}

/// What a run of workers saw.
#[derive(Default)]
struct Seen {
    failed: Vec<String>,
    /// When each command was acknowledged.
    acknowledged: BTreeMap<Asked, Vec<Instant>>,
}

impl Seen {
    fn requests(&self) -> usize {
        self.acknowledged.values().map(Vec::len).sum()
    }

    /// The longest time without an acknowledgement of each shard, the shortest first.
    fn pauses(&self) -> Vec<Duration> {
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
    fn count_receipts(&self, counted: &mut BTreeMap<String, u64>) {
        for (asked, times) in &self.acknowledged {
            if asked.0 == Context::Inventory {
                *counted.entry(asked.sku()).or_default() += times.len() as u64;
            }
        }
    }
}

/// The pause of the shard in the middle; with an even number of them the longer one of two.
fn median(pauses: &[Duration]) -> Duration {
    pauses.get(pauses.len() / 2).copied().unwrap_or_default()
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
        let (path, body) = asked.command(&format!("{name}-{round}"));
        match api.post(&path, body).await {
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
async fn under_load<F: Future<Output = anyhow::Result<()>>>(
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

/// Waits until this node answers and some shards are its own.
async fn until_it_owns(balancer: &Balancer, part: Part) -> anyhow::Result<()> {
    until_it_owns_so_many(balancer, part, |owned| owned > 0).await
}

/// Waits until this node answers and as many shards are its own as are wanted.
async fn until_it_owns_so_many(
    balancer: &Balancer,
    part: Part,
    wanted: impl Fn(usize) -> bool,
) -> anyhow::Result<()> {
    let wanted = &wanted;
    let api = balancer.nodes.iter().find(|(node, _)| *node == part);
    let api = &api.context("one of the nodes")?.1;
    eventually("the node owns shards", PATIENCE, || async {
        let answer = api.get_command("/readyz?verbose").await.ok()?;
        let checks = answer.body["checks"].as_array()?.clone();
        let nodes = checks.iter().find(|check| check["name"] == "nodes")?;
        let detail = nodes["detail"].as_str()?;
        let owned = detail.strip_prefix("owner of ")?.split(' ').next()?;
        (nodes["ok"] == true && wanted(owned.parse().ok()?)).then_some(())
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
    for sku in Asked::all()
        .filter(|asked| asked.0 == Context::Inventory)
        .map(Asked::sku)
    {
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

    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let quiet = under_load(&balancer, "quiet", async {
        tokio::time::sleep(QUIET).await;
        Ok(())
    });
    let quiet = quiet.await?;
    ensure!(quiet.failed.is_empty(), "failed: {:#?}", quiet.failed);
    quiet.count_receipts(&mut counted);

    // One after the other, as a deployment does it; no request is repeated and none fails.
    let seen = under_load(&balancer, "restarted", async {
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
    seen.count_receipts(&mut counted);
    let (requests, pauses) = (seen.requests(), seen.pauses());
    let without = quiet.pauses();
    println!(
        "rolling restart: {requests} requests, none failed; longest pauses of the shards {pauses:?}, \
         without a restart {without:?}",
    );
    ensure!(
        pauses.len() == Asked::all().count(),
        "not every shard was asked"
    );
    ensure!(
        median(&pauses) < PAUSE_LIMIT,
        "the median shard was silent for {:?}",
        median(&pauses)
    );

    // Joined by a node that nobody has ever heard of: it gets its part, and nobody notices.
    let mut config = stack.config().clone();
    config.nodes = NODES + 1;
    let larger = Stack::new(config)?;
    let newcomer = Part::command_nodes(NODES + 1)[usize::from(NODES)];
    let (shards, among) = (Asked::all().count(), usize::from(NODES + 1));
    let part = shards / among..=shards.div_ceil(among);
    let seen = under_load(&balancer, "joined", async {
        larger.start(newcomer).await?;
        until_it_owns_so_many(&balancer, newcomer, |owned| part.contains(&owned)).await
    });
    let seen = seen.await?;
    ensure!(seen.failed.is_empty(), "failed: {:#?}", seen.failed);
    seen.count_receipts(&mut counted);
    println!(
        "a fourth node joins: {} requests, none failed; longest pauses of the shards {:?}",
        seen.requests(),
        seen.pauses()
    );

    // Killed: what it owned answers again after detection and recovery.
    let killed = nodes[1];
    ensure!(stack.kill(killed).await, "the node did not run");
    let took = until_all_answer(&balancer, "killed", &mut counted).await?;
    println!("kill -9 of a node: every shard answers again after {took:?}");
    ensure!(took < KILLED_LIMIT, "that is too long: {took:?}");
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
