//! Several nodes of the service over one log: each takes every command, and none is lost or refused
//! while they come and go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use cartwright_command_api::app::{App, Running};
use cartwright_command_api::routes;
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{EventLog, LogWriter};
use cartwright_events::codec::Codec;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Stream};
use cartwright_service::health::Readiness;
use cartwright_service::shutdown::{self, Shutdown};
use cartwright_service::{app, metrics};
use cartwright_shard::nodes::{NodeId, OwnerMap, ShardId};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{Answer, Call, PARTITIONS, events_of, log, settings, until};

const LIMIT: Duration = Duration::from_secs(20);
const SHARDS: usize = 3 * PARTITIONS as usize;

type Http = Client<HttpConnector, Body>;

/// One node, listening.
struct Node {
    id: NodeId,
    address: SocketAddr,
    app: App,
    readiness: Readiness,
    running: Running,
    drain: Shutdown,
    serving: JoinHandle<shutdown::Drained>,
}

impl Node {
    async fn start(log: &MemoryLog, number: usize, more: &str) -> Self {
        Self::reached_at(log, number, None, more).await
    }

    /// One that tells the others to reach it at another address, if one is given.
    async fn reached_at(
        log: &MemoryLog,
        number: usize,
        elsewhere: Option<SocketAddr>,
        more: &str,
    ) -> Self {
        let listener = shutdown::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let reached = elsewhere.unwrap_or(address);
        let nodes = format!(
            "[nodes]\nid = \"node-{number}\"\naddress = \"http://{reached}\"\n\
             [nodes.times]\nbeat_ms = 30\ndead_after_ms = 1000\nlook_ms = 2\n{more}"
        );
        let config = settings(&nodes);
        let readiness = Readiness::new();
        let (app, running) = App::start(&config, log, &Codec::fixed(), &readiness).unwrap();
        let metrics = metrics::install().unwrap();
        let router = routes::router(app.clone());
        let router = app::assemble(router, &config.http, &readiness, &metrics);
        let drain = Shutdown::new();
        let serving = tokio::spawn({
            let (readiness, drain) = (readiness.clone(), drain.clone());
            async move { shutdown::serve(listener, router, &config.http, &readiness, &drain).await }
        });
        Self {
            id: NodeId(format!("node-{number}")),
            address,
            app,
            readiness,
            running,
            drain,
            serving,
        }
    }

    /// As the program does it at SIGTERM.
    async fn stop(self) {
        self.readiness.drain();
        self.running.leave(LIMIT).await;
        self.drain.trigger();
        assert_eq!(self.serving.await.unwrap().cut_off, 0);
        let running = self.running;
        let stopped = tokio::task::spawn_blocking(move || running.stop(LIMIT)).await;
        assert!(stopped.unwrap(), "the shards did not stop");
    }

    fn map(&self) -> OwnerMap {
        (**self.app.peers.as_ref().unwrap().map.borrow()).clone()
    }

    fn owns(&self, shard: ShardId) -> bool {
        let map = self.map();
        map.get(shard).is_some_and(|now| now.owner.node == self.id)
    }
}

struct Cluster {
    log: MemoryLog,
    nodes: Vec<Node>,
    http: Http,
}

impl Cluster {
    async fn of(count: usize, more: &str) -> Self {
        let log = log();
        let mut nodes = Vec::new();
        for number in 1..=count {
            nodes.push(Node::start(&log, number, more).await);
        }
        let cluster = Self {
            log,
            nodes,
            http: client(),
        };
        cluster.settled().await;
        cluster
    }

    /// Every shard has an owner among the nodes, evenly, and all know it.
    async fn settled(&self) {
        until(|| {
            let maps: Vec<OwnerMap> = self.nodes.iter().map(Node::map).collect();
            let mut loads: HashMap<NodeId, usize> =
                self.nodes.iter().map(|node| (node.id.clone(), 0)).collect();
            for (_, now) in maps[0].iter() {
                if now.successor.is_some() || !loads.contains_key(&now.owner.node) {
                    return false;
                }
                *loads.get_mut(&now.owner.node).unwrap() += 1;
            }
            let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
            maps[0].iter().count() == SHARDS
                && most - least <= 1
                && maps.iter().all(|map| *map == maps[0])
                && self.nodes.iter().all(|node| node.readiness.is_ready())
        })
        .await;
    }

    async fn send(&self, node: usize, call: Call) -> Answer {
        send(&self.http, self.nodes[node].address, call)
            .await
            .unwrap()
    }

    fn owner_of(&self, shard: ShardId) -> usize {
        self.nodes.iter().position(|node| node.owns(shard)).unwrap()
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

fn client() -> Http {
    Client::builder(TokioExecutor::new()).build(HttpConnector::new())
}

async fn send(http: &Http, address: SocketAddr, call: Call) -> Result<Answer, String> {
    let mut request = call.request();
    let path = request.uri().path().to_owned();
    *request.uri_mut() = format!("http://{address}{path}").parse().unwrap();
    let response = http.request(request).await;
    let (parts, body) = response.map_err(|error| format!("{error:?}"))?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.to_bytes().to_vec(),
    })
}

fn stock_of(sku: &str) -> ShardId {
    ShardId {
        context: Context::Inventory,
        partition: partition_of(sku, PARTITIONS),
    }
}

fn receipt(sku: &str) -> Call {
    Call::post(&format!("/v1/stock/{sku}/receipts")).json(&json!({"quantity": 5}))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_every_command_and_a_repeat_elsewhere_is_a_repeat() {
    let cluster = Cluster::of(3, "").await;
    for sku in 0..12 {
        let call = receipt(&format!("sku-{sku}"));
        let mut answers = Vec::new();
        for node in 0..3 {
            answers.push(cluster.send(node, call.clone()).await);
        }
        assert_eq!(answers[0].status, 201, "{}", answers[0].text());
        for again in &answers[1..] {
            assert_eq!(again.text(), answers[0].text());
            assert_eq!(again.header("etag"), answers[0].header("etag"));
            assert_eq!(
                again.header("cartwright-position"),
                answers[0].header("cartwright-position")
            );
        }
    }
    assert_eq!(events_of(&cluster.log, Stream::Stock).len(), 12);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_order_goes_by_whichever_node() {
    let cluster = Cluster::of(3, "").await;
    let product = json!({"sku": "mug", "name": "Mug",
        "price": {"amount_minor": 500, "currency": "GBP"}});
    let created = cluster
        .send(0, Call::post("/v1/products").json(&product))
        .await;
    let position = created.header("cartwright-position").unwrap().to_owned();
    assert_eq!(cluster.send(1, receipt("mug")).await.status, 201);
    // The cart's id is derived from the key, and its owner waits for the prices.
    let cart = json!({"currency": "GBP", "items": [{"sku": "mug", "quantity": 2}]});
    let cart = Call::post("/v1/carts")
        .key("cart")
        .json(&cart)
        .header("cartwright-position", &position);
    let opened = cluster.send(2, cart.clone()).await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    assert_eq!(cluster.send(0, cart).await.text(), opened.text());
    let id = opened.json()["id"].as_str().unwrap().to_owned();
    let line = Call::put(&format!("/v1/carts/{id}/items/1")).json(&json!({"quantity": 3}));
    let line = line.header("if-match", opened.header("etag").unwrap());
    assert_eq!(cluster.send(1, line).await.status, 200);
    for node in 0..3 {
        let checkout = Call::post(&format!("/v1/carts/{id}/checkout")).header("prefer", "wait=10");
        let order = cluster.send(node, checkout).await;
        assert_eq!(order.status, 200, "{}", order.text());
        assert_eq!(order.json()["status"], "confirmed");
        assert_eq!(order.header("preference-applied"), Some("wait=10"));
    }
    let refused = cluster.send(0, receipt("mug").without_key()).await;
    refused.problem(400, "idempotency_key_missing");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_trace_reach_the_owner_and_its_events() {
    let cluster = Cluster::of(2, "").await;
    let owner = cluster.owner_of(stock_of("mug"));
    let call = receipt("mug").header("x-request-id", "request-7").header(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    let answer = cluster.send(1 - owner, call).await;
    assert_eq!(answer.header("x-request-id"), Some("request-7"));
    let at =
        cartwright_event_log::TopicPartition::new(Stream::Stock.topic(), stock_of("mug").partition);
    let record = cluster.log.committed(&at).unwrap().remove(0);
    let header = |name| std::str::from_utf8(record.header(name).unwrap()).unwrap();
    assert_eq!(header("correlation_id"), "request-7");
    assert!(header("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_is_taken_and_asked_for_at_any_node() {
    let cluster = Cluster::of(2, "").await;
    for node in 0..2 {
        let call = receipt("mug").header("prefer", "respond-async");
        let queued = cluster.send(node, call).await;
        assert_eq!(queued.status, 202, "{}", queued.text());
        let url = queued.header("location").unwrap().to_owned();
        for asked in 0..2 {
            let begun = Instant::now();
            loop {
                let status = cluster
                    .send(asked, Call::new(http::Method::GET, &url))
                    .await;
                assert_eq!(status.status, 200, "{}", status.text());
                if status.json()["status"] == "accepted" {
                    break;
                }
                assert!(begun.elapsed() < LIMIT, "{}", status.text());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
    assert_eq!(events_of(&cluster.log, Stream::Stock).len(), 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_round_no_circle() {
    let cluster = Cluster::of(2, "[command]\ndeadline_ms = 50\n").await;
    let owner = cluster.owner_of(stock_of("mug"));
    let far = receipt("mug").header("cartwright-hops", "2");
    let refused = cluster.send(1 - owner, far).await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(503, "shard_moving");
    // What it says of itself counts for nothing without a hop.
    let outside = receipt("mug").header("cartwright-deadline-ms", "0");
    assert_eq!(cluster.send(1 - owner, outside).await.status, 201);
    let late = receipt("mug")
        .header("cartwright-hops", "1")
        .header("cartwright-deadline-ms", "0");
    cluster
        .send(owner, late)
        .await
        .problem(503, "deadline_passed");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_never_answers_is_given_up_and_the_outcome_is_said_to_be_unknown() {
    // The system takes connections, and nobody ever reads what comes.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = "[command]\ndeadline_ms = 100\nreply_wait_ms = 200\n";
    let mut cluster = Cluster::of(1, more).await;
    let address = silent.local_addr().unwrap();
    let second = Node::reached_at(&cluster.log, 2, Some(address), more).await;
    cluster.nodes.push(second);
    cluster.settled().await;
    let sku = (0..).map(|number| format!("sku-{number}"));
    let theirs = sku
        .take(100)
        .find(|sku| cluster.nodes[1].owns(stock_of(sku)));
    let begun = Instant::now();
    let answer = cluster.send(0, receipt(&theirs.unwrap())).await;
    answer.problem(503, "outcome_unknown");
    assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
    cluster.stop().await;
}

/// Sends receipts for many SKUs without ever repeating one, each to a node that is ready, as a load
/// balancer would. Ends when told; gives what failed, how many succeeded, and the longest answer.
async fn shop_without_retries(
    targets: Arc<Mutex<Vec<(SocketAddr, Readiness)>>>,
    worker: usize,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> (Vec<String>, Duration) {
    let http = client();
    let (mut failed, mut longest) = (Vec::new(), Duration::ZERO);
    let mut turn = worker;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let target = {
            let targets = targets.lock().unwrap();
            let ready: Vec<_> = targets
                .iter()
                .filter(|(_, readiness)| readiness.is_ready())
                .collect();
            ready[turn % ready.len()].0
        };
        let begun = Instant::now();
        match send(&http, target, receipt(&format!("sku-{}", turn % 17))).await {
            Ok(answer) if answer.status == 201 => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => failed.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => failed.push(error),
        }
        longest = longest.max(begun.elapsed());
    }
    (failed, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request() {
    let mut cluster = Cluster::of(3, "").await;
    let targets = |cluster: &Cluster| -> Vec<(SocketAddr, Readiness)> {
        let of = |node: &Node| (node.address, node.readiness.clone());
        cluster.nodes.iter().map(of).collect()
    };
    let shared = Arc::new(Mutex::new(targets(&cluster)));
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (shared, stop, done) = (shared.clone(), stop.clone(), done.clone());
            tokio::spawn(shop_without_retries(shared, worker, stop, done))
        })
        .collect();
    for number in 1..=3 {
        let before = done.load(Ordering::Relaxed);
        until(|| done.load(Ordering::Relaxed) > before + 20).await;
        cluster.nodes.remove(0).stop().await;
        let next = Node::start(&cluster.log, number, "").await;
        cluster.nodes.push(next);
        cluster.settled().await;
        *shared.lock().unwrap() = targets(&cluster);
    }
    stop.store(true, Ordering::Relaxed);
    let mut longest = Duration::ZERO;
    for worker in workers {
        let (failed, took) = worker.await.unwrap();
        assert!(failed.is_empty(), "{failed:#?}");
        longest = longest.max(took);
    }
    let done = done.load(Ordering::Relaxed);
    println!("{done} requests, longest {longest:?}");
    assert_eq!(events_of(&cluster.log, Stream::Stock).len() as u64, done);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_a_stranger_fenced_is_served_again_and_its_callers_notice_nothing() {
    let more = "reassign_after_ms = 50\n";
    let cluster = Cluster::of(2, more).await;
    assert_eq!(cluster.send(0, receipt("mug")).await.status, 201);
    let id = Context::Inventory.transactional_id(stock_of("mug").partition);
    let mut stranger = cluster.log.writer(&id).unwrap();
    stranger.take_over().unwrap();
    let answer = cluster.send(1, receipt("mug")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["version"], 2);
    cluster.stop().await;
}
