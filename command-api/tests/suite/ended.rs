//! A shard that ends by itself is started again, and until then it is told why.

use cartwright_command_api::app::{App, Running};
use cartwright_event_log::memory::Fault;
use cartwright_events::Context;
use cartwright_events::codec::Codec;
use cartwright_events::partition::partition_of;
use cartwright_service::health::Readiness;
use cartwright_shard::Ownership;

use crate::bent::{Bent, BentLog};
use crate::cluster::LIMIT;
use crate::harness::{Call, PARTITIONS, Service, log, settings, until};

/// The inbox of the inventory can't be read for a while: the thread that reads it dies.
async fn ends_and_serves_again(more: &str, check: &str) {
    let log = BentLog::new(log(), Context::Inventory.inbox_topic());
    let readiness = Readiness::new();
    let (app, running) = App::start(&settings(more), &log, &Codec::fixed(), &readiness).unwrap();
    let serve = || {
        (0..PARTITIONS).all(|partition| {
            let mailbox = app.inventory.at(partition).unwrap().borrow().clone();
            mailbox.is_some_and(|shard| matches!(shard.ownership(), Ownership::Serving { .. }))
        })
    };
    until(|| serve() && readiness.is_ready()).await;
    log.bend(Bent::Broken);
    let said = || {
        let report = readiness.report();
        let mut checks = report.checks.iter().filter(|one| one.name == check);
        checks.any(|one| {
            one.detail
                .contains("the thread that reads the inbox has died")
        })
    };
    until(said).await;
    log.bend(Bent::Not);
    until(|| serve() && readiness.is_ready() && !said()).await;
    let stopped = tokio::task::spawn_blocking(move || running.stop(LIMIT)).await;
    assert!(stopped.unwrap(), "the shards did not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_alone_starts_it_again() {
    ends_and_serves_again("", "shard inventory/0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_node_is_given_it_again() {
    let nodes = "[nodes]\nid = \"node-1\"\naddress = \"http://127.0.0.1:1\"\n\
                 [nodes.times]\nbeat_ms = 30\nlook_ms = 2\nreassign_after_ms = 100\n";
    ends_and_serves_again(nodes, "nodes").await;
}

/// As after a transaction that was open for longer than Kafka allows: nobody else is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_alone_takes_over_again_what_was_fenced() {
    let service = Service::start().await;
    let receipt = serde_json::json!({"quantity": 1, "reference": "first"});
    let receive = || service.send(Call::post("/v1/stock/mug/receipts").json(&receipt));
    let partition = partition_of("mug", PARTITIONS);
    let writer = Context::Inventory.transactional_id(partition);
    service.log.inject_for(&writer, Fault::FenceNext);
    receive().await.problem(503, "outcome_unknown");
    assert_eq!(service.log.fired(&Fault::FenceNext), 1);
    let check = format!("shard inventory/{partition}");
    let said = |text: &str| {
        let report = service.readiness.report();
        let mut checks = report.checks.iter().filter(|one| one.name == check);
        checks.any(|one| one.detail.contains(text))
    };
    until(|| said("fenced")).await;
    until(|| said("serving in epoch 2") && service.readiness.is_ready()).await;
    receive().await.stands(201, "mug", 1);
}

/// The process before has served: that is not another one which serves now.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_alone_serves_although_its_first_take_over_was_fenced() {
    let log = log();
    let start = |readiness: &Readiness| {
        let started = App::start(&settings(""), &log, &Codec::fixed(), readiness);
        started.unwrap().1
    };
    let stop = async |running: Running| {
        let stopped = tokio::task::spawn_blocking(move || running.stop(LIMIT)).await;
        assert!(stopped.unwrap(), "the shards did not stop");
    };
    let readiness = Readiness::new();
    let before = start(&readiness);
    until(|| readiness.is_ready()).await;
    stop(before).await;
    let writer = Context::Inventory.transactional_id(0);
    log.inject_for(&writer, Fault::FenceNext);
    let readiness = Readiness::new();
    let running = start(&readiness);
    let said = |text: &str| {
        let report = readiness.report();
        let mut checks = report.checks.iter();
        checks.any(|one| one.name == "shard inventory/0" && one.detail.contains(text))
    };
    until(|| said("fenced")).await;
    until(|| said("serving in epoch 2") && readiness.is_ready()).await;
    stop(running).await;
}
