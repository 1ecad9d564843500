//! Commands that hold only at a version: `If-Match`.

use cartwright_events::Stream;
use serde_json::json;

use crate::harness::{Call, Service};

fn price(minor: i64) -> Call {
    Call::put("/v1/products/mug/price").json(&json!({"amount_minor": minor, "currency": "GBP"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_at_the_version_it_names_is_done_and_at_another_it_is_not() {
    let service = Service::start().await;
    service.product("mug", 500, 0).await;
    let changed = service
        .accepted(price(600).header("if-match", "\"1\""))
        .await;
    assert_eq!(changed.header("etag"), Some("\"2\""));
    let late = service.send(price(700).header("if-match", "\"1\"")).await;
    let late = late.problem(412, "version_mismatch");
    assert_eq!(
        (&late["version"], &late["expected_version"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(service.events(Stream::Product).len(), 2);
    let tag = changed.header("etag").unwrap();
    service.accepted(price(700).header("if-match", tag)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_is_the_version_of_what_is_not_there_yet() {
    let service = Service::start().await;
    let receipt = || {
        Call::post("/v1/stock/mug/receipts")
            .json(&json!({"quantity": 5}))
            .header("if-match", "\"0\"")
    };
    service.accepted(receipt()).await;
    service
        .send(receipt())
        .await
        .problem(412, "version_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_one_version_one_is_done() {
    let service = Service::start().await;
    service.product("mug", 500, 0).await;
    let cart = service.cart("mug", 1).await;
    let path = format!("/v1/carts/{cart}/items/1");
    let set = |quantity| {
        Call::put(&path)
            .json(&json!({"quantity": quantity}))
            .header("if-match", "\"2\"")
    };
    let (one, other) = tokio::join!(service.send(set(2)), service.send(set(3)));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{} {}", one.text(), other.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_a_version_is_repeated_and_another_version_is_another_request() {
    let service = Service::start().await;
    service.product("mug", 500, 0).await;
    let late = |version: &str| price(600).key("k").header("if-match", version);
    let first = service.send(late("\"9\"")).await;
    first.problem(412, "version_mismatch");
    assert_eq!(service.send(late("\"9\"")).await.text(), first.text());
    service
        .send(late("\"1\""))
        .await
        .problem(422, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_version_is_refused() {
    let service = Service::start().await;
    for tag in [
        "*",
        "3",
        "\"\"",
        "\"x\"",
        "W/\"3\"",
        "\"1\", \"2\"",
        "\"-1\"",
    ] {
        let refused = service.send(price(600).header("if-match", tag)).await;
        let refused = refused.problem(400, "if_match_malformed");
        assert_eq!(refused["errors"][0]["field"], "if-match", "{tag}");
    }
}
