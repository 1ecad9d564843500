//! Stock.

use cartwright_events::Stream;
use serde_json::json;

use crate::harness::{Call, Service};

#[tokio::test(flavor = "multi_thread")]
async fn goods_are_received_and_the_books_corrected() {
    let service = Service::start().await;
    let receipt = json!({"quantity": 10, "reference": "delivery-1"});
    let first = service
        .send(Call::post("/v1/stock/mug/receipts").json(&receipt))
        .await;
    first.stands(201, "mug", 1);
    let adjustment = json!({"delta": -3, "reason": "broken"});
    service
        .send(Call::post("/v1/stock/mug/adjustments").json(&adjustment))
        .await
        .stands(201, "mug", 2);

    // Under another key: the reference is what it is known by.
    let again = service
        .send(Call::post("/v1/stock/mug/receipts").json(&receipt))
        .await;
    assert_eq!(
        again.stands(201, "mug", 1)["position"],
        first.json()["position"]
    );
    assert_eq!(service.events(Stream::Stock).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_booking_changes_nothing() {
    let service = Service::start().await;
    let receipts = "/v1/stock/mug/receipts";
    service
        .send(Call::post(receipts).json(&json!({"quantity": 0})))
        .await
        .problem(422, "quantity_out_of_range");
    service
        .accepted(Call::post(receipts).json(&json!({"quantity": 5, "reference": "d"})))
        .await;
    service
        .send(Call::post(receipts).json(&json!({"quantity": 6, "reference": "d"})))
        .await
        .problem(409, "reference_reused");
    service
        .send(Call::post("/v1/stock/mug/adjustments").json(&json!({"delta": -6, "reason": "gone"})))
        .await
        .problem(409, "stock_below_zero");
    assert_eq!(service.events(Stream::Stock).len(), 1);
}
