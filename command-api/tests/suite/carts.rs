//! Carts.

use cartwright_events::Stream;
use http::Method;
use serde_json::json;

use crate::harness::{Call, Service};

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_filled_changed_and_emptied() {
    let service = Service::start().await;
    service.product("mug", 595, 0).await;
    service.product("cup", 200, 0).await;
    let body = json!({"cart_id": "cart:1", "customer_id": "c-7", "currency": "GBP",
        "ship_to_country": "France", "external_reference": "536365",
        "items": [{"sku": "mug", "quantity": 2}]});
    let created = service.send(Call::post("/v1/carts").json(&body)).await;
    assert_eq!(created.stands(201, "cart:1", 2)["cart_total_minor"], 1190);
    assert_eq!(created.header("location"), Some("/v1/carts/cart%3A1"));

    let item = json!({"sku": "cup", "quantity": 1, "expected_price": {"amount_minor": 200, "currency": "GBP"}});
    let added = service
        .send(Call::post("/v1/carts/cart:1/items").json(&item))
        .await;
    let line = added.stands(201, "cart:1", 3)["line"].clone();

    let path = format!("/v1/carts/cart:1/items/{line}");
    let changed = service
        .send(Call::put(&path).json(&json!({"quantity": 4})))
        .await;
    assert_eq!(changed.stands(200, "cart:1", 4)["cart_total_minor"], 1990);
    let removed = service.send(Call::new(Method::DELETE, &path)).await;
    assert_eq!(removed.stands(200, "cart:1", 5)["cart_total_minor"], 1190);
    service
        .send(Call::new(Method::DELETE, &path))
        .await
        .problem(404, "unknown_line");
    assert_eq!(service.events(Stream::Cart).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_changed_is_refused_with_both_prices() {
    let service = Service::start().await;
    service.product("mug", 595, 0).await;
    let item = json!({"sku": "mug", "quantity": 1, "expected_price": {"amount_minor": 500, "currency": "GBP"}});
    let body = json!({"currency": "GBP", "items": [item]});
    let refused = service.send(Call::post("/v1/carts").json(&body)).await;
    let refused = refused.problem(409, "price_changed");
    assert_eq!(
        refused["expected_price"],
        json!({"amount_minor": 500, "currency": "GBP"})
    );
    assert_eq!(
        refused["current_price"],
        json!({"amount_minor": 595, "currency": "GBP"})
    );
    assert_eq!(refused["errors"][0]["field"], "items[0].expected_price");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quoted_price_needs_the_setting() {
    let quoted = json!({"sku": "mug", "quantity": 1, "quoted_price": {"amount_minor": 99, "currency": "GBP"}});
    let body = json!({"currency": "GBP", "items": [quoted]});
    let allowed = Service::start_with("[command]\nallow_quoted_prices = true").await;
    allowed.product("mug", 595, 0).await;
    let cart = allowed.accepted(Call::post("/v1/carts").json(&body)).await;
    assert_eq!(cart.json()["cart_total_minor"], 99);

    let forbidden = Service::start().await;
    forbidden.product("mug", 595, 0).await;
    let refused = forbidden.send(Call::post("/v1/carts").json(&body)).await;
    let refused = refused.problem(403, "quoted_price_not_allowed");
    assert_eq!(refused["errors"][0]["field"], "items[0].quoted_price");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_sku_cart_or_member_is_named() {
    let service = Service::start().await;
    service.product("mug", 595, 0).await;
    let item = json!({"sku": "cup", "quantity": 1});
    let body = json!({"currency": "GBP", "items": [{"sku": "mug", "quantity": 1}, item]});
    let refused = service
        .send(Call::post("/v1/carts").json(&body))
        .await
        .problem(404, "unknown_product");
    assert_eq!(refused["errors"][0]["field"], "items[1].sku");
    let item = json!({"sku": "mug", "quantity": 1});
    service
        .send(Call::post("/v1/carts/none/items").json(&item))
        .await
        .problem(404, "unknown_cart");

    let body = json!({"currency": "GBP", "items": [{"sku": "mug", "quantity": 1, "gift": true}]});
    let refused = service
        .send(Call::post("/v1/carts").json(&body))
        .await
        .problem(422, "invalid_field");
    assert_eq!(refused["errors"][0]["field"], "items[0].gift");
    let refused = service
        .send(Call::put("/v1/carts/none/items/first").json(&json!({"quantity": 1})))
        .await
        .problem(422, "invalid_field");
    assert_eq!(refused["errors"][0]["field"], "line");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_without_an_id_gets_one_from_its_key() {
    let service = Service::start().await;
    let open = || {
        Call::post("/v1/carts")
            .key("visit-1")
            .json(&json!({"currency": "GBP"}))
    };
    let first = service.accepted(open()).await;
    let second = service.accepted(open()).await;
    assert_eq!(first.text(), second.text());
    let other = service.accepted(open().key("visit-2")).await;
    assert_ne!(first.json()["id"], other.json()["id"]);
    assert_eq!(service.events(Stream::Cart).len(), 2);
}
