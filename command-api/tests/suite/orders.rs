//! What happens to an order.

use serde_json::json;

use crate::harness::{Call, Service, payment};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_shipped_in_parts_and_returned() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let (id, total_minor) = service.order("mug", 3).await;
    service
        .accepted(payment(&id, "auth", "authorized", total_minor))
        .await;
    let paid = service
        .send(payment(&id, "capture", "captured", total_minor))
        .await;
    assert_eq!(
        (paid.status.as_u16(), &paid.json()["status"]),
        (201, &json!("paid"))
    );

    let ship = |body| Call::post(&format!("/v1/orders/{id}/shipments")).json(&body);
    let part = json!({"shipment_id": "s-1", "lines": [{"line": 1, "quantity": 1}]});
    let first = service.send(ship(part.clone())).await;
    assert_eq!(
        (first.status.as_u16(), &first.json()["shipped_units"]),
        (201, &json!(1))
    );
    let rest = service.accepted(ship(json!({"shipment_id": "s-2"}))).await;
    assert_eq!(rest.json()["shipped_units"], 3);
    let again = service.accepted(ship(part)).await;
    assert_eq!(again.json()["position"], first.json()["position"]);
    service
        .send(ship(json!({"shipment_id": "s-3"})))
        .await
        .problem(409, "nothing_left_to_ship");

    let take_back = |units| {
        Call::post(&format!("/v1/orders/{id}/returns")).json(&json!({
            "return_id": format!("r-{units}"), "lines": [{"line": 1, "quantity": units}], "restock": true}))
    };
    let returned = service.send(take_back(2)).await;
    assert_eq!(
        (returned.status.as_u16(), &returned.json()["returned_units"]),
        (201, &json!(2))
    );
    service
        .send(take_back(3))
        .await
        .problem(409, "return_exceeds_shipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_counts_once_and_its_id_is_for_one_operation() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let (id, total_minor) = service.order("mug", 1).await;
    let first = service
        .accepted(payment(&id, "op", "captured", total_minor))
        .await;
    let again = service
        .accepted(payment(&id, "op", "captured", total_minor))
        .await;
    assert_eq!(first.json()["position"], again.json()["position"]);
    service
        .send(payment(&id, "op", "captured", 1))
        .await
        .problem(409, "operation_reused");
    let unknown = json!({"payment_id": "p", "operation_id": "o", "kind": "gifted",
        "amount": {"amount_minor": 1, "currency": "GBP"}});
    let refused = service
        .send(Call::post(&format!("/v1/orders/{id}/payments")).json(&unknown))
        .await;
    assert_eq!(
        refused.problem(422, "invalid_field")["errors"][0]["rule"],
        "one_of"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn money_for_no_known_order_is_recorded() {
    let service = Service::start().await;
    let odd = service
        .send(payment("no-such-order", "op", "captured", 500))
        .await;
    assert_eq!(odd.status, 201, "{}", odd.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_cancelled_once_and_not_after_it_shipped() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let (id, _) = service.order("mug", 1).await;
    let cancel = |id: &str| Call::post(&format!("/v1/orders/{id}/cancel"));
    let cancelled = service
        .send(cancel(&id).json(&json!({"note": "ordered twice"})))
        .await;
    assert_eq!(
        (cancelled.status.as_u16(), &cancelled.json()["status"]),
        (200, &json!("cancelled"))
    );
    service.accepted(cancel(&id)).await;

    let id = service.paid_order("mug", 1).await;
    let all = json!({"shipment_id": "s"});
    service
        .accepted(Call::post(&format!("/v1/orders/{id}/shipments")).json(&all))
        .await;
    service
        .send(cancel(&id))
        .await
        .problem(409, "order_already_shipped");
    service
        .send(cancel("none"))
        .await
        .problem(404, "unknown_order");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ships_before_it_is_paid() {
    let service = Service::start().await;
    service.product("mug", 595, 10).await;
    let (id, _) = service.order("mug", 1).await;
    let all = json!({"shipment_id": "s"});
    let refused = service
        .send(Call::post(&format!("/v1/orders/{id}/shipments")).json(&all))
        .await;
    refused.problem(409, "order_not_paid");
}
