//! What a client is told when something is broken, full or slow.

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{EventLog, LogWriter};
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Stream};
use serde_json::json;

use crate::harness::{Call, PARTITIONS, Service, log, settings, until};

fn receipt() -> Call {
    Call::post("/v1/stock/mug/receipts").json(&json!({"quantity": 5}))
}

/// The transactional id of the shard that `receipt` goes to.
fn shard() -> String {
    Context::Inventory.transactional_id(partition_of("mug", PARTITIONS))
}

/// Keeps the shard from taking over until the faults are cleared.
const HELD: usize = 10_000;

fn held(more: &str) -> Service {
    let log = log();
    for _ in 0..HELD {
        log.inject_for(&shard(), Fault::TakeOverError);
    }
    let mut settings = settings(more);
    settings.shard.take_over_backoff_ms = 1;
    settings.shard.take_over_backoff_max_ms = 5;
    Service::starting(log, &settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_shard_is_named_and_readiness_says_so() {
    let service = Service::start().await;
    let mut usurper = service.log.writer(&shard()).unwrap();
    usurper.take_over().unwrap();
    let first = service
        .send(receipt())
        .await
        .problem(503, "outcome_unknown");
    assert!(
        first["detail"]
            .as_str()
            .unwrap()
            .contains("Idempotency-Key is safe"),
        "{first}"
    );

    until(|| !service.readiness.is_ready()).await;
    let refused = service.send(receipt()).await;
    assert!(refused.header("retry-after").is_some());
    let refused = refused.problem(503, "shard_unavailable");
    let name = format!("inventory/{}", partition_of("mug", PARTITIONS));
    assert_eq!(refused["shard"], json!(name));
    assert!(
        refused["detail"].as_str().unwrap().contains("fenced"),
        "{refused}"
    );

    let report = service.get("/readyz?verbose").await;
    assert_eq!(report.status, 503);
    let report = report.json();
    let check = report["checks"].as_array().unwrap().iter();
    let check = check
        .clone()
        .find(|check| check["name"] == format!("shard {name}"))
        .unwrap();
    assert_eq!(check["ok"], false);
    assert!(service.events(Stream::Stock).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_shard_that_recovers() {
    let service = held("");
    let waiting = {
        let router = service.router.clone();
        tokio::spawn(async move { Service::send_to(&router, receipt()).await })
    };
    service.log.clear_faults();
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    service.ready().await;
    let report = service.get("/readyz?verbose").await.json();
    assert_eq!(report["checks"].as_array().unwrap().len(), 7, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_turn_comes_too_late_is_not_decided() {
    let service = held("[command]\ndeadline_ms = 1\n");
    let waiting = {
        let router = service.router.clone();
        tokio::spawn(async move { Service::send_to(&router, receipt()).await })
    };
    until(|| service.log.fired(&Fault::TakeOverError) > 10).await;
    service.log.clear_faults();
    let late = waiting.await.unwrap();
    assert!(late.header("retry-after").is_some());
    late.problem(503, "deadline_passed");
    assert!(service.events(Stream::Stock).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reply_in_time_is_said_to_be_unknown() {
    let service = held("[command]\ndeadline_ms = 20\nreply_wait_ms = 20\n");
    let unknown = service.send(receipt()).await;
    assert!(unknown.header("retry-after").is_some());
    unknown.problem(503, "outcome_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_says_when_to_come_back() {
    let service = held("[shard]\nmailbox_capacity = 1\n");
    // Whichever of the two comes second finds it full; the other waits for the shard.
    let (router, other) = (service.router.clone(), service.router.clone());
    let mut first = tokio::spawn(async move { Service::send_to(&router, receipt()).await });
    let mut second = tokio::spawn(async move { Service::send_to(&other, receipt()).await });
    let (full, waiting) = tokio::select! {
        full = &mut first => (full.unwrap(), second),
        full = &mut second => (full.unwrap(), first),
    };
    assert!(full.header("retry-after").is_some());
    full.problem(503, "overloaded");
    service.log.clear_faults();
    assert_eq!(waiting.await.unwrap().status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_outcome_is_unknown_is_settled_before_the_answer() {
    for committed in [true, false] {
        let service = Service::start().await;
        service
            .log
            .inject_for(&shard(), Fault::UnknownCommit { committed });
        let answer = service.send(receipt()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(service.events(Stream::Stock).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_is_refused() {
    let mut settings = settings("");
    settings.http.max_body_bytes = 100;
    let service = Service::starting(log(), &settings);
    let body = json!({"delta": 1, "reason": "x".repeat(200)});
    let call = Call::post("/v1/stock/mug/adjustments").json(&body);
    service.send(call).await.problem(413, "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_routes_methods_and_media_are_problems_too() {
    let service = Service::start().await;
    service
        .get("/v1/nothing")
        .await
        .problem(404, "route_not_found");
    service
        .get("/v1/products")
        .await
        .problem(405, "method_not_allowed");
    let text = Call::post("/v1/stock/mug/receipts")
        .text("{}")
        .header("content-type", "text/plain");
    service
        .send(text)
        .await
        .problem(415, "unsupported_media_type");
}
