//! A command that another node owns is handed on, as it is, and to nobody twice.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use cartwright_event_log::{Record, TopicPartition};
use cartwright_events::Stream;
use serde_json::json;

use crate::cluster::{Cluster, LIMIT, Node, cart_of, receipt, stock_of};
use crate::harness::{Call, events_of};

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
async fn ids_and_trace_reach_the_owner_and_its_events() {
    let cluster = Cluster::of(2, "").await;
    let owner = cluster.owner_of(stock_of("mug"));
    let call = receipt("mug")
        .header("x-request-id", "request-7")
        .header("traceparent", TRACEPARENT);
    let answer = cluster.send(1 - owner, call).await;
    assert_eq!(answer.header("x-request-id"), Some("request-7"));
    let at = TopicPartition::new(Stream::Stock.topic(), stock_of("mug").partition);
    let record = cluster.log.committed(&at).unwrap().remove(0);
    let header = |name| std::str::from_utf8(record.header(name).unwrap()).unwrap();
    assert_eq!(header("correlation_id"), "request-7");
    assert!(is_traced(header("traceparent")));
    cluster.stop().await;
}

/// A command without a key is known by the id that the node gave it which took it first, however often
/// that tries the owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_keeps_its_id_from_node_to_node() {
    let (cluster, heard) = with_one_who_hangs_up().await;
    let product = json!({"sku": "mug", "name": "Mug",
        "price": {"amount_minor": 500, "currency": "GBP"}});
    let created = cluster
        .send(0, Call::post("/v1/products").json(&product))
        .await;
    let position = created.header("cartwright-position").unwrap();
    let mut carts = (0..100).map(|number| format!("cart-{number}"));
    let theirs = carts.find(|cart| cluster.nodes[1].owns(cart_of(cart)));
    let theirs = theirs.expect("it owns a shard of carts");
    let cart = json!({"cart_id": theirs, "currency": "GBP",
        "items": [{"sku": "mug", "quantity": 2}]});
    let cart = Call::post("/v1/carts").json(&cart);
    let cart = cart.header("cartwright-position", position);
    assert_eq!(cluster.send(1, cart).await.status, 201);
    let line = Call::put(&format!("/v1/carts/{theirs}/items/1")).json(&json!({"quantity": 3}));
    cluster
        .send(0, line.clone())
        .await
        .problem(503, "outcome_unknown");
    let id = |mut head: Head| head.remove("cartwright-command-id").unwrap();
    let ids: Vec<String> = heard.try_iter().map(id).collect();
    assert!(ids.len() > 1, "{ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // The owner decides what comes under one id once, and says in the log which it was.
    let forwarded = line
        .header("cartwright-hops", "1")
        .header("cartwright-command-id", &ids[0]);
    let first = cluster.send(1, forwarded.clone()).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(cluster.send(1, forwarded).await.text(), first.text());
    let at = TopicPartition::new(Stream::Cart.topic(), cart_of(&theirs).partition);
    let events = cluster.log.committed(&at).unwrap();
    let of_it = |record: &&Record| record.header("command_id") == Some(ids[0].as_bytes());
    assert_eq!(events.iter().filter(of_it).count(), 1);
    cluster.stop().await;
}

/// The owner is not to begin a command that nobody waits for any more, nor to send it round in a circle,
/// and a repeat is to be known as one wherever it is decided.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_on_says_how_often_until_when_and_under_which_key() {
    let (cluster, heard) = with_one_who_hangs_up().await;
    let mut skus = (0..100).map(|number| format!("sku-{number}"));
    let theirs = skus.find(|sku| cluster.nodes[1].owns(stock_of(sku)));
    let from_outside = receipt(&theirs.unwrap())
        .key("order-7")
        .header("traceparent", TRACEPARENT);
    let handed_on = from_outside
        .clone()
        .header("cartwright-hops", "1")
        .header("cartwright-deadline-ms", "800");
    for (call, hops, most_ms) in [(from_outside, "1", 1_000), (handed_on, "2", 800)] {
        let unknown = cluster.send(0, call).await;
        unknown.problem(503, "outcome_unknown");
        let heads: Vec<Head> = heard.try_iter().collect();
        for head in &heads {
            assert_eq!(head["cartwright-hops"], hops);
            assert_eq!(head["idempotency-key"], "\"order-7\"");
            let trace = &head["traceparent"];
            assert!(is_traced(trace), "{trace}");
        }
        let left = heads
            .iter()
            .map(|head| head["cartwright-deadline-ms"].parse().unwrap());
        let left_ms: Vec<u64> = left.collect();
        assert!(
            left_ms[0] <= most_ms && left_ms.is_sorted_by(|a, b| a >= b),
            "{left_ms:?}"
        );
        assert!(left_ms.last() < left_ms.first(), "{left_ms:?}");
    }
    cluster.stop().await;
}

/// What a caller says of its trace.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Whether it is the caller's trace.
fn is_traced(traceparent: &str) -> bool {
    traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-")
}

/// Two nodes, the second of which others reach at the address of one who hangs up; and what that one hears.
async fn with_one_who_hangs_up() -> (Cluster, Receiver<Head>) {
    let (address, heard) = one_who_hangs_up();
    let more = "[command]\ndeadline_ms = 1000\n";
    let mut cluster = Cluster::of(1, more).await;
    let second = Node::reached_at(&cluster.log, 2, Some(address), more).await;
    cluster.nodes.push(second);
    cluster.settled().await;
    (cluster, heard)
}

/// The headers of a request, by their names in small letters.
type Head = HashMap<String, String>;

/// The address of one who takes every request and hangs up without an answer, and what it has heard.
fn one_who_hangs_up() -> (SocketAddr, Receiver<Head>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(connection) = connection else { continue };
            let head = head_of(&connection).unwrap_or_default();
            // A connection without a request is only looked at.
            if !head.is_empty() && heard.send(head).is_err() {
                return;
            }
        }
    });
    (address, heads)
}

fn head_of(connection: &std::net::TcpStream) -> std::io::Result<Head> {
    let mut head = Head::new();
    for line in std::io::BufReader::new(connection).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            head.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    Ok(head)
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
    let cluster = Cluster::of(2, "[command]\ndeadline_ms = 1000\n").await;
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
