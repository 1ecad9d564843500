//! Several nodes of the service over one log: each takes every command, and none is lost or refused
//! while they come and go.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cartwright_event_log::{EventLog, LogWriter};
use cartwright_events::{Context, Stream};
use cartwright_service::health::Readiness;
use serde_json::json;

use crate::cluster::{Cluster, Node, client, receipt, send, stock_of};
use crate::harness::{Call, events_of, until};

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
