//! Three nodes under load: restarted one by one, joined by a fourth; then one of the four killed, and one
//! frozen.

mod load;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_events::Context;
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_local::{Part, Stack};
use serde_json::Value;

use load::{Asked, Balancer, median, under_load};

const NODES: u8 = 3;
/// How long the median shard may be silent while nodes are restarted one by one: as long as it takes to
/// find out that a node is dead, for which a planned handover must not wait. It is a tenth of that on a
/// machine that has nothing else to do.
const PAUSE_LIMIT: Duration = Duration::from_secs(3);
/// How long until every shard answers again when a node was killed: far more than it takes to find that
/// out, elect another allocator, and recover.
const KILLED_LIMIT: Duration = Duration::from_secs(30);
/// How long the nodes are watched while nothing happens.
const QUIET: Duration = Duration::from_secs(5);
/// How many receipts are sent each way, to the owner and to another node.
const COMPARED: usize = 200;

/// Waits until this node answers and some shards are its own. Returns how many.
async fn until_it_owns(balancer: &Balancer, part: Part) -> anyhow::Result<usize> {
    until_it_owns_so_many(balancer, part, |owned| owned > 0).await
}

/// Waits until this node answers and as many shards are its own as are wanted. Returns how many.
async fn until_it_owns_so_many(
    balancer: &Balancer,
    part: Part,
    wanted: impl Fn(usize) -> bool,
) -> anyhow::Result<usize> {
    let wanted = &wanted;
    let api = balancer.nodes.iter().find(|(node, _)| *node == part);
    let api = &api.context("one of the nodes")?.1;
    eventually("the node owns shards", PATIENCE, || async {
        let answer = api.get_command("/readyz?verbose").await.ok()?;
        let checks = answer.body["checks"].as_array()?.clone();
        let nodes = checks.iter().find(|check| check["name"] == "nodes")?;
        let detail = nodes["detail"].as_str()?;
        let owned = detail.strip_prefix("owner of ")?.split(' ').next()?;
        let owned = owned.parse().ok()?;
        (nodes["ok"] == true && wanted(owned)).then_some(owned)
    })
    .await
}

/// Whether this command is acknowledged under this key by some node.
async fn acknowledged(balancer: &Balancer, (path, body): (&str, Value), key: &str) -> Option<()> {
    let headers = [("Idempotency-Key", key)];
    let sent = balancer.next()?.post_with(path, body, &headers);
    let answer = tokio::time::timeout(Duration::from_secs(3), sent).await;
    answer
        .ok()?
        .ok()
        .filter(|answer| answer.status == 201)
        .map(drop)
}

/// How long it takes until every shard answers, whoever owns it.
async fn until_all_answer(
    balancer: &Balancer,
    what: &str,
    counted: &mut BTreeMap<String, u64>,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    for asked in Asked::all() {
        let (path, body) = asked.command(&format!("NODES-{what}"));
        let key = format!("\"{what}\"");
        eventually("every shard answers", PATIENCE, || {
            acknowledged(balancer, (&path, body.clone()), &key)
        })
        .await?;
        if asked.0 == Context::Inventory {
            *counted.entry(asked.sku()).or_default() += 1;
        }
    }
    Ok(begun.elapsed())
}

/// Sends receipts of one shard in turn to its owner and to a node that has to hand them on, one at a
/// time, and tells how long each way takes.
async fn compare_ways(
    balancer: &Balancer,
    counted: &mut BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    let asked = Asked(Context::Inventory, 0);
    let (mut owner, mut other) = (None, None);
    for (_, api) in &balancer.nodes[..usize::from(NODES)] {
        let metrics = api.get_command("/metrics").await?.text;
        let found = match asked.is_served(&metrics) {
            true => &mut owner,
            false => &mut other,
        };
        *found = Some(api);
    }
    let mut ways = [
        (owner.context("one owns it")?, Vec::new()),
        (other.context("others do not")?, Vec::new()),
    ];
    for number in 0..COMPARED {
        let (path, body) = asked.command("");
        for (way, (api, times)) in ways.iter_mut().enumerate() {
            let key = format!("\"way-{way}-{number}\"");
            let headers = [("Idempotency-Key", key.as_str())];
            let begun = Instant::now();
            let sent = api.post_with(&path, body.clone(), &headers);
            sent.await?.expect(201)?;
            times.push(begun.elapsed());
            *counted.entry(asked.sku()).or_default() += 1;
        }
    }
    let [straight, handed_on] = ways.map(|(_, mut times)| {
        times.sort_unstable();
        median(&times)
    });
    println!(
        "one receipt at a time, {COMPARED} each way: the median takes {straight:?} sent to the owner, \
         {handed_on:?} sent to another node"
    );
    Ok(())
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
    for part in Part::command_nodes(NODES) {
        until_it_owns(&balancer, part).await?;
    }
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    until_all_answer(&balancer, "first", &mut counted).await?;
    compare_ways(&balancer, &mut counted).await?;
    restart_each(stack, &balancer, &mut counted).await?;
    join(stack, &balancer, &mut counted).await?;
    kill_and_freeze(stack, &balancer, &mut counted).await?;
    each_receipt_is_there_once(&balancer, counted).await?;
    balancer.stop.store(true, Ordering::Relaxed);
    Ok(())
}

/// One node after the other, as a deployment does it; no request is repeated and none fails.
async fn restart_each(
    stack: &Stack,
    balancer: &Balancer,
    counted: &mut BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    let quiet = under_load(balancer, "quiet", async {
        tokio::time::sleep(QUIET).await;
        Ok(())
    });
    let quiet = quiet.await?;
    ensure!(quiet.failed.is_empty(), "failed: {:#?}", quiet.failed);
    quiet.count_receipts(counted);
    let seen = under_load(balancer, "restarted", async {
        for part in Part::command_nodes(NODES) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stack.stop(part).await?;
            stack.start(part).await?;
            until_it_owns(balancer, part).await?;
        }
        Ok(())
    });
    let seen = seen.await?;
    ensure!(seen.failed.is_empty(), "failed: {:#?}", seen.failed);
    seen.count_receipts(counted);
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
    Ok(())
}

/// A node joins that nobody has ever heard of: it gets its part, and nobody notices.
async fn join(
    stack: &Stack,
    balancer: &Balancer,
    counted: &mut BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    let mut config = stack.config().clone();
    config.nodes = NODES + 1;
    let larger = Stack::new(config)?;
    let newcomer = Part::command_nodes(NODES + 1)[usize::from(NODES)];
    let (shards, among) = (Asked::all().count(), usize::from(NODES + 1));
    let part = shards / among..=shards.div_ceil(among);
    let seen = under_load(balancer, "joined", async {
        larger.start(newcomer).await?;
        let owned = until_it_owns_so_many(balancer, newcomer, |owned| part.contains(&owned));
        owned.await.map(drop)
    });
    let seen = seen.await?;
    ensure!(seen.failed.is_empty(), "failed: {:#?}", seen.failed);
    seen.count_receipts(counted);
    println!(
        "a fourth node joins: {} requests, none failed; longest pauses of the shards {:?}",
        seen.requests(),
        seen.pauses()
    );
    Ok(())
}

/// Of the four nodes one is killed, and another one frozen past its session.
async fn kill_and_freeze(
    stack: &Stack,
    balancer: &Balancer,
    counted: &mut BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    // What it owned answers again after detection and recovery.
    let killed = Part::command_nodes(NODES)[1];
    let owned = until_it_owns(balancer, killed).await?;
    ensure!(stack.kill(killed).await, "the node did not run");
    let took = until_all_answer(balancer, "killed", counted).await?;
    println!(
        "kill -9 of one of four nodes, the owner of {owned} shards: all answer again after {took:?}"
    );
    ensure!(took < KILLED_LIMIT, "that is too long: {took:?}");
    stack.start(killed).await?;
    until_it_owns(balancer, killed).await?;

    // It claims nothing that is not in the log, and comes back.
    let frozen = Part::command_nodes(NODES)[2];
    let owned = until_it_owns(balancer, frozen).await?;
    signal(stack, frozen, "-STOP")?;
    let took = until_all_answer(balancer, "frozen", counted).await?;
    println!(
        "SIGSTOP of one of four nodes, the owner of {owned} shards: all answer again after {took:?}"
    );
    signal(stack, frozen, "-CONT")?;
    until_it_owns(balancer, frozen).await?;
    until_all_answer(balancer, "thawed", counted)
        .await
        .map(drop)
}

/// Each acknowledged receipt is in the log once; nothing else is.
async fn each_receipt_is_there_once(
    balancer: &Balancer,
    counted: BTreeMap<String, u64>,
) -> anyhow::Result<()> {
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
    Ok(())
}
