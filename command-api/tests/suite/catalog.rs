//! Products.

use cartwright_events::Stream;
use serde_json::json;

use crate::harness::{Call, Service};

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_created_priced_and_retired() {
    let service = Service::start().await;
    let body = json!({"sku": "red mug/1", "name": "Red mug", "description": "Stoneware",
        "price": {"amount_minor": 595, "currency": "GBP"}});
    let created = service.send(Call::post("/v1/products").json(&body)).await;
    let members = created.stands(201, "red mug/1", 1);
    assert_eq!(members["price_minor"], 595);
    assert_eq!(
        created.header("location"),
        Some("/v1/products/red%20mug%2F1")
    );
    assert!(created.header("x-request-id").is_some());

    let price = json!({"amount_minor": 650, "currency": "GBP"});
    let path = "/v1/products/red%20mug%2F1/price";
    service
        .send(Call::put(path).json(&price))
        .await
        .stands(200, "red mug/1", 2);
    let repeated = service.send(Call::put(path).json(&price)).await;
    assert_eq!(repeated.stands(200, "red mug/1", 2)["price_minor"], 650);

    let retired = service
        .send(Call::post("/v1/products/red%20mug%2F1/retire"))
        .await;
    assert_eq!(retired.stands(200, "red mug/1", 3)["retired"], true);
    let types: Vec<_> = service
        .events(Stream::Product)
        .iter()
        .map(|event| event.body.type_name())
        .collect();
    assert_eq!(
        types,
        ["ProductCreated", "ProductPriceChanged", "ProductRetired"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_reason_and_the_field_as_the_client_wrote_it() {
    let service = Service::start().await;
    service.product("mug", 595, 0).await;
    let refused = service
        .send(
            Call::put("/v1/products/mug/price")
                .json(&json!({"amount_minor": 5, "currency": "EUR"})),
        )
        .await
        .problem(409, "currency_mismatch");
    assert_eq!(refused["errors"][0]["field"], "currency");
    assert_eq!(refused["expected_currency"], "GBP");
    assert_eq!(refused["type"], "/problems/currency-mismatch");

    let refused = service
        .send(
            Call::put("/v1/products/mug/price")
                .json(&json!({"amount_minor": 0, "currency": "GBP"})),
        )
        .await
        .problem(422, "price_not_positive");
    assert_eq!(refused["errors"][0]["field"], "amount_minor");

    service
        .send(
            Call::put("/v1/products/cup/price")
                .json(&json!({"amount_minor": 5, "currency": "GBP"})),
        )
        .await
        .problem(404, "unknown_product");
    service
        .send(
            Call::post("/v1/products").json(&json!({"sku": "mug", "name": "Other",
            "price": {"amount_minor": 595, "currency": "GBP"}})),
        )
        .await
        .problem(409, "product_exists");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_names_the_field_and_the_rule() {
    let service = Service::start().await;
    let price = json!({"amount_minor": 5, "currency": "GBP"});
    for (body, field, rule) in [
        (
            json!({"sku": "a", "name": "A", "price": price, "colour": "red"}),
            "colour",
            "unknown",
        ),
        (json!({"sku": "a", "name": "A"}), "price", "required"),
        (
            json!({"sku": " a", "name": "A", "price": price}),
            "sku",
            "format",
        ),
        (
            json!({"sku": "a", "name": 7, "price": price}),
            "name",
            "type",
        ),
        (
            json!({"sku": "a", "name": "A", "price": {"amount_minor": 5, "currency": "gbp"}}),
            "price.currency",
            "format",
        ),
        (
            json!({"sku": "a", "name": "A", "price": {"amount_minor": 5.5, "currency": "GBP"}}),
            "price.amount_minor",
            "type",
        ),
    ] {
        let refused = service.send(Call::post("/v1/products").json(&body)).await;
        let refused = refused.problem(422, "invalid_field");
        let error = &refused["errors"][0];
        assert_eq!(
            (&error["field"], &error["rule"]),
            (&json!(field), &json!(rule)),
            "{refused}"
        );
        assert_eq!(refused["type"], "/problems/invalid-field");
    }
    let refused = service
        .send(Call::put("/v1/products/%20mug/price").json(&price))
        .await
        .problem(422, "invalid_field");
    assert_eq!(refused["errors"][0]["field"], "sku");
    service
        .send(Call::post("/v1/products").text("{"))
        .await
        .problem(400, "malformed_body");
    assert!(service.events(Stream::Product).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_and_trace_follow_the_command_into_its_event() {
    let service = Service::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let call = Call::post("/v1/products")
        .header("x-request-id", "request-7")
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(
            &json!({"sku": "mug", "name": "Mug", "price": {"amount_minor": 5, "currency": "GBP"}}),
        );
    let created = service.accepted(call).await;
    assert_eq!(created.header("x-request-id"), Some("request-7"));
    let records: Vec<_> = (0..2)
        .flat_map(|p| {
            let at = cartwright_event_log::TopicPartition::new(Stream::Product.topic(), p);
            service.log.committed(&at).unwrap()
        })
        .collect();
    let header = |name| String::from_utf8_lossy(records[0].header(name).unwrap()).into_owned();
    assert_eq!(header("correlation_id"), "request-7");
    assert!(header("traceparent").contains(trace));
    assert!(!header("command_id").is_empty());
}
