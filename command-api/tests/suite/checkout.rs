//! Checking out, and waiting for the outcome.

use cartwright_events::Stream;
use serde_json::{Value, json};

use crate::harness::{Call, Service};

fn checkout(cart: &str) -> Call {
    Call::post(&format!("/v1/carts/{cart}/checkout"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_is_answered_at_once_with_its_order() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let cart = service.cart("mug", 2).await;
    let answer = service.send(checkout(&cart)).await;
    let order = answer.json();
    assert_eq!(answer.status, 202, "{order}");
    assert_eq!(
        (&order["order_id"], &order["status"]),
        (&json!(cart), &json!("pending")),
        "{order}"
    );
    assert_eq!(
        (&order["total_minor"], &order["currency"]),
        (&json!(1190), &json!("GBP"))
    );
    let location = format!("/v1/orders/{cart}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    assert_eq!(answer.header("preference-applied"), None);
    let position = answer.header("cartwright-position").unwrap();
    assert!(
        position.contains('c') && position.contains('o'),
        "{position}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_waits_learns_that_its_order_is_confirmed() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let cart = service.cart("mug", 2).await;
    let answer = service
        .send(checkout(&cart).header("prefer", "wait=5"))
        .await;
    let order = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &order["status"]),
        (200, &json!("confirmed")),
        "{order}"
    );
    assert_eq!(order["total_minor"], 1190);
    assert_eq!(order["version"], 2);
    assert_eq!(answer.header("preference-applied"), Some("wait=5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_waits_learns_what_was_missing() {
    let service = Service::start().await;
    service.product("mug", 595, 1).await;
    let cart = service.cart("mug", 2).await;
    let answer = service
        .send(checkout(&cart).header("prefer", "wait=5"))
        .await;
    let order = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &order["status"]),
        (200, &json!("rejected")),
        "{order}"
    );
    let shortage = &order["shortages"][0];
    assert_eq!(
        (
            &shortage["sku"],
            &shortage["requested"],
            &shortage["available"]
        ),
        (&json!("mug"), &json!(2), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_bounded_and_then_the_order_is_pending() {
    // The inventory is served by nobody: no outcome will come.
    let service = Service::start_with(
        "[command]\ncontexts = [\"catalog\", \"checkout\"]\nwait_max_ms = 1000",
    )
    .await;
    service.product("mug", 595, 0).await;
    let cart = service.cart("mug", 2).await;
    let answer = service
        .send(checkout(&cart).header("prefer", "wait=60"))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["status"], "pending");
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    let elsewhere = Call::post("/v1/stock/mug/receipts").json(&json!({"quantity": 1}));
    service
        .send(elsewhere)
        .await
        .problem(421, "context_not_served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_that_is_checked_out_answers_with_its_order() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let cart = service.cart("mug", 2).await;
    let first = service
        .accepted(checkout(&cart).header("prefer", "wait=5"))
        .await
        .json();
    let again = service
        .accepted(checkout(&cart).header("prefer", "wait=5"))
        .await
        .json();
    let same = |order: &Value| {
        [
            order["order_id"].clone(),
            order["status"].clone(),
            order["total_minor"].clone(),
        ]
    };
    assert_eq!(same(&first), same(&again));
    let created = service.events(Stream::Order);
    let created = created
        .iter()
        .filter(|event| event.body.type_name() == "OrderCreated")
        .count();
    assert_eq!(created, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_changed_or_an_empty_cart_makes_no_order() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let cart = service.cart("mug", 2).await;
    let body = json!({"expected_total": {"amount_minor": 1000, "currency": "GBP"}});
    service
        .send(checkout(&cart).json(&body))
        .await
        .problem(409, "total_changed");
    let empty = service
        .accepted(Call::post("/v1/carts").json(&json!({"currency": "GBP"})))
        .await;
    let empty = empty.json()["id"].as_str().unwrap().to_owned();
    service
        .send(checkout(&empty))
        .await
        .problem(409, "cart_empty");
    service
        .send(checkout("none"))
        .await
        .problem(404, "unknown_cart");
    assert!(service.events(Stream::Order).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_time_needs_the_setting() {
    let body = json!({"occurred_at": "2011-01-31T09:30:00Z"});
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let cart = service.cart("mug", 2).await;
    let refused = service.send(checkout(&cart).json(&body)).await;
    let refused = refused.problem(403, "occurred_at_not_allowed");
    assert_eq!(refused["errors"][0]["field"], "occurred_at");

    let service = Service::start_with("[command]\nallow_occurred_at = true").await;
    service.product("mug", 595, 10).await;
    let cart = service.cart("mug", 2).await;
    service.accepted(checkout(&cart).json(&body)).await;
    let created = &service.events(Stream::Order)[0];
    assert_eq!(created.occurred_at.to_string(), "2011-01-31T09:30:00Z");
}
