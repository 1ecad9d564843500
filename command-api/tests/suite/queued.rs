//! Commands whose callers do not wait: `Prefer: respond-async`.

use cartwright_event_log::memory::Fault;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Stream};
use serde_json::{Value, json};

use crate::harness::{Answer, Call, PARTITIONS, Service, log, settings};

fn queued(call: Call) -> Call {
    call.header("prefer", "respond-async")
}

fn receipt(key: &str, quantity: i64) -> Call {
    Call::post("/v1/stock/mug/receipts")
        .key(key)
        .json(&json!({"quantity": quantity}))
}

/// Where the command's outcome can be asked for.
fn status_url(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    let url = answer.header("location").unwrap().to_owned();
    assert_eq!(answer.json()["status_url"], json!(url));
    url
}

/// The outcome, once there is one.
async fn outcome(service: &Service, url: &str) -> Value {
    for _ in 0..2_000 {
        let answer = service.get(url).await;
        let body = answer.json();
        if answer.status == 200 && body["status"] != "pending" {
            return body;
        }
        // It waits, or its shard is just reading its log back.
        assert!(answer.header("retry-after").is_some(), "{body}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("still pending: {url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_is_decided_and_its_status_says_how() {
    let service = Service::start().await;
    let url = status_url(&service.send(queued(receipt("k", 5))).await);
    let decided = outcome(&service, &url).await;
    assert_eq!(decided["status"], "accepted");
    // The same command, waited for, is a repeat and is answered with the same.
    let again = service.accepted(receipt("k", 5)).await;
    assert_eq!(again.json(), decided["answer"]);
    assert_eq!(service.events(Stream::Stock).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_settled_by_the_owner_and_shows_at_its_own_status() {
    let service = Service::start().await;
    let first = status_url(&service.send(queued(receipt("k", 5))).await);
    let again = status_url(&service.send(queued(receipt("k", 5))).await);
    let other = status_url(&service.send(queued(receipt("k", 6))).await);
    assert_ne!(first, again);
    let decided = outcome(&service, &first).await;
    assert_eq!(outcome(&service, &again).await["answer"], decided["answer"]);
    let misused = outcome(&service, &other).await;
    assert_eq!(misused["status"], "rejected");
    assert_eq!(misused["problem"]["code"], "idempotency_key_reused");
    assert_eq!(misused["problem"]["status"], 422);
    assert_eq!(service.events(Stream::Stock).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_shows_as_the_problem_that_it_is() {
    let service = Service::start().await;
    let take = json!({"delta": -5, "reason": "count"});
    let take = queued(Call::post("/v1/stock/mug/adjustments").json(&take));
    let refused = outcome(&service, &status_url(&service.send(take).await)).await;
    assert_eq!(refused["problem"]["code"], "stock_below_zero");
    assert_eq!(refused["problem"]["status"], 409);
    let late = queued(receipt("late", 1).header("if-match", "\"7\""));
    let late = outcome(&service, &status_url(&service.send(late).await)).await;
    assert_eq!(late["problem"]["code"], "version_mismatch");
    assert!(service.events(Stream::Stock).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_put_into_a_cart_later_without_a_key_too() {
    let service = Service::start().await;
    service.product("mug", 500, 10).await;
    let cart = service.cart("mug", 1).await;
    let item = json!({"sku": "mug", "quantity": 2});
    let add = queued(Call::post(&format!("/v1/carts/{cart}/items")).json(&item));
    let added = outcome(&service, &status_url(&service.send(add).await)).await;
    assert_eq!(added["status"], "accepted", "{added}");
    let set = Call::put(&format!("/v1/carts/{cart}/items/1")).json(&json!({"quantity": 7}));
    let set = outcome(&service, &status_url(&service.send(queued(set)).await)).await;
    assert_eq!(set["status"], "accepted", "{set}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_durable_while_its_owner_is_down() {
    let log = log();
    let owner = Context::Inventory.transactional_id(partition_of("mug", PARTITIONS));
    for _ in 0..10_000 {
        log.inject_for(&owner, Fault::TakeOverError);
    }
    let mut settings = settings("");
    settings.shard.take_over_backoff_ms = 1;
    settings.shard.take_over_backoff_max_ms = 5;
    let service = Service::starting(log, &settings);
    let urls = [
        status_url(&service.send(queued(receipt("k", 5))).await),
        status_url(&service.send(queued(receipt("k", 5))).await),
    ];
    assert!(service.events(Stream::Stock).is_empty());
    service.log.clear_faults();
    for url in urls {
        assert_eq!(outcome(&service, &url).await["status"], "accepted");
    }
    assert_eq!(service.events(Stream::Stock).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_takes_effect_once_whatever_becomes_of_the_commit() {
    for committed in [true, false] {
        let service = Service::start().await;
        let owner = Context::Inventory.transactional_id(partition_of("mug", PARTITIONS));
        service
            .log
            .inject_for(&owner, Fault::UnknownCommit { committed });
        let url = status_url(&service.send(queued(receipt("k", 5))).await);
        assert_eq!(outcome(&service, &url).await["status"], "accepted");
        assert_eq!(service.events(Stream::Stock).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_no_command_is_not_found() {
    let service = Service::start().await;
    for name in ["nothing", "checkout-1-2-3"] {
        let unknown = service.get(&format!("/v1/commands/{name}")).await;
        unknown.problem(404, "command_unknown");
    }
}
