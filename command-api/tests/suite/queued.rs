//! Commands whose callers do not wait: `Prefer: respond-async`.

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::cart::CartEvent;
use cartwright_events::order::OrderEvent;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Event, EventBody, Stream};
use cartwright_shard::Mailbox;
use serde_json::{Value, json};

use crate::harness::{Answer, Call, PARTITIONS, Service, events_of, log, settings, until};
use crate::prices::stop_prices;

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

/// A process that is alone has nobody to hand anything on to. Nothing of the catalog is queued elsewhere
/// in these tests.
#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_is_counted_as_one() {
    let service = Service::start().await;
    let labels = "context=\"catalog\",outcome=\"queued\"";
    let counted = || service.counted("cartwright_commands_total", labels);
    assert_eq!(counted().await, 0);
    let product = json!({"sku": "mug", "name": "Mug",
        "price": {"amount_minor": 500, "currency": "GBP"}});
    let create = queued(Call::post("/v1/products").json(&product));
    let created = outcome(&service, &status_url(&service.send(create).await)).await;
    assert_eq!(created["status"], "accepted", "{created}");
    assert_eq!(counted().await, 1);
}

/// As JSON with every field it is larger than the body was.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_no_record_holds_is_refused_at_once() {
    let service = Service::start().await;
    let items = vec![json!({"sku": "A", "quantity": 1}); 14_000];
    let body = json!({"currency": "GBP", "items": items});
    let cart = queued(Call::post("/v1/carts").key("k").json(&body));
    let refused = service.send(cart).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(refused.json()["code"], "too_large");
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

/// Two of a product into a cart later, priced as of `position`.
fn add_later(cart: &str, position: &str) -> Call {
    let item = json!({"sku": "mug", "quantity": 2});
    let add = Call::post(&format!("/v1/carts/{cart}/items")).json(&item);
    queued(add.header("cartwright-position", position))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_waits_for_the_position_that_its_caller_names() {
    let service = Service::start_with("[shard]\nposition_wait_ms = 600000").await;
    let created = service.product("mug", 500, 10).await;
    let cart = service.cart("mug", 1).await;
    let there = status_url(&service.send(add_later(&cart, &created)).await);
    assert_eq!(outcome(&service, &there).await["status"], "accepted");

    let partition = partition_of("mug", PARTITIONS);
    let next = format!("g1:p{partition}=2");
    let waiting = status_url(&service.send(add_later(&cart, &next)).await);
    // What needs no price of its own waits behind it.
    let behind = queued(Call::post(&format!("/v1/orders/{cart}/cancel")).json(&json!({})));
    let behind = status_url(&service.send(behind).await);
    for url in [&waiting, &behind] {
        assert_eq!(service.get(url).await.json()["status"], "pending");
    }
    let price = json!({"amount_minor": 700, "currency": "GBP"});
    let changed = Call::put("/v1/products/mug/price").json(&price);
    service.accepted(changed).await;
    assert_eq!(outcome(&service, &waiting).await["status"], "accepted");
    assert_eq!(outcome(&service, &behind).await["status"], "rejected");
    let lines = events_of(&service.log, Stream::Cart);
    let prices = lines.iter().filter_map(|event| match &event.body {
        EventBody::Cart(CartEvent::ItemAdded(added)) => Some(added.unit_price_minor),
        _ => None,
    });
    // The first two joined the line that was there.
    assert_eq!(prices.collect::<Vec<_>>(), [500, 700]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_never_comes_keeps_the_inbox_only_for_a_while() {
    let service = Service::start_with("[shard]\nposition_wait_ms = 50").await;
    service.product("mug", 500, 10).await;
    let cart = service.cart("mug", 1).await;
    let ahead = status_url(
        &service
            .send(add_later(&cart, "g1:p0=999999,p1=999999"))
            .await,
    );
    let refused = outcome(&service, &ahead).await;
    assert_eq!(refused["problem"]["code"], "not_decided", "{refused}");
    let other = service.send(add_later(&cart, "g2:p0=1")).await;
    other.problem(409, "position_of_another_log");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_that_have_stopped_keep_nothing_waiting() {
    let service = Service::start().await;
    service.product("mug", 500, 10).await;
    let cart = service.cart("mug", 1).await;
    stop_prices(&service.log, partition_of("mug", PARTITIONS), 2);
    until(|| !service.readiness.is_ready()).await;
    let add = Call::post(&format!("/v1/carts/{cart}/items"));
    let add = queued(add.json(&json!({"sku": "mug", "quantity": 2})));
    let add = status_url(&service.send(add).await);
    let set = Call::put(&format!("/v1/carts/{cart}/items/1")).json(&json!({"quantity": 7}));
    let set = status_url(&service.send(queued(set)).await);
    let refused = outcome(&service, &add).await;
    assert_eq!(refused["problem"]["code"], "not_decided", "{refused}");
    assert_eq!(outcome(&service, &set).await["status"], "accepted");
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

/// This is how a flash sale's add-to-cart is queued.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_durable_while_its_owner_takes_no_more() {
    let log = log();
    let owner = Context::Inventory.transactional_id(partition_of("mug", PARTITIONS));
    for _ in 0..10_000 {
        log.inject_for(&owner, Fault::TakeOverError);
    }
    let mut settings = settings("[shard]\nmailbox_capacity = 1\n");
    settings.shard.take_over_backoff_ms = 1;
    settings.shard.take_over_backoff_max_ms = 5;
    let service = Service::starting(log, &settings);
    // One waits in the mailbox, and there is no room for another.
    let router = service.router.clone();
    let waiting = tokio::spawn(async move { Service::send_to(&router, receipt("w", 1)).await });
    let slot = service.app.inventory.of("mug").slot.subscribe();
    let depth = || slot.borrow().as_ref().map_or(0, Mailbox::depth);
    until(|| depth() == 1).await;
    let refused = service.send(receipt("r", 1)).await;
    refused.problem(503, "overloaded");
    let url = status_url(&service.send(queued(receipt("k", 5))).await);
    service.log.clear_faults();
    assert_eq!(waiting.await.unwrap().status, 201);
    assert_eq!(outcome(&service, &url).await["status"], "accepted");
    assert_eq!(service.events(Stream::Stock).len(), 2);
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
    let elsewhere = "checkout-999-1-01a20341-4d51-713b-955a-134939c7c6b2";
    for name in ["nothing", "checkout-1-2-3", elsewhere] {
        let unknown = service.get(&format!("/v1/commands/{name}")).await;
        unknown.problem(404, "command_unknown");
    }
}

/// Every reader of the inbox stands before it, and no other process of that id may ever come.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_process_before_has_left_open_in_an_inbox_ends_with_the_next_start() {
    let log = log();
    let mut before = log
        .writer("cartwright-queue-catalog-inventory-checkout")
        .unwrap();
    before.take_over().unwrap();
    log.inject(Fault::UnknownCommit { committed: false });
    let cut_off = NewRecord {
        topic: Context::Inventory.inbox_topic().into(),
        partition: partition_of("mug", PARTITIONS),
        key: b"mug".to_vec(),
        value: None,
        headers: Vec::new(),
    };
    assert!(before.commit(vec![cut_off]).is_err());
    let service = Service::starting(log, &settings(""));
    service.ready().await;
    service.product("mug", 500, 10).await;
    service.order("mug", 1).await;
    let is_confirmed =
        |event: &Event| matches!(event.body, EventBody::Order(OrderEvent::Confirmed(_)));
    until(|| service.events(Stream::Order).iter().any(is_confirmed)).await;
}
