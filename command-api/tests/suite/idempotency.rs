//! Idempotency keys.

use cartwright_events::Stream;
use cartwright_events::partition::partition_of;
use serde_json::json;

use crate::harness::{Call, PARTITIONS, Service};

fn receipt(key: &str, quantity: i64) -> Call {
    Call::post("/v1/stock/mug/receipts")
        .key(key)
        .json(&json!({"quantity": quantity}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_byte_for_byte_and_done_once() {
    let service = Service::start().await;
    let first = service.accepted(receipt("k", 5)).await;
    service.accepted(receipt("other", 1)).await;
    let again = service.accepted(receipt("k", 5)).await;
    assert_eq!((first.status, first.text()), (again.status, again.text()));
    assert_eq!(
        first.header("cartwright-position"),
        again.header("cartwright-position")
    );
    assert_eq!(service.events(Stream::Stock).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_repeated_byte_for_byte_although_it_would_be_accepted_now() {
    let service = Service::start().await;
    let take = || {
        let body = json!({"delta": -5, "reason": "count"});
        Call::post("/v1/stock/mug/adjustments").key("k").json(&body)
    };
    let first = service.send(take()).await;
    first.problem(409, "stock_below_zero");
    service.accepted(receipt("goods", 10)).await;
    let again = service.send(take()).await;
    assert_eq!((first.status, first.text()), (again.status, again.text()));
    let body = json!({"delta": -5, "reason": "count"});
    service
        .accepted(Call::post("/v1/stock/mug/adjustments").json(&body))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_and_order_make_no_other_request() {
    let service = Service::start().await;
    let call = |text| Call::post("/v1/stock/mug/receipts").key("k").text(text);
    let first = service
        .accepted(call(r#"{"quantity":5,"reference":"d"}"#))
        .await;
    let again = service
        .accepted(call("{ \"reference\": \"d\",\n \"quantity\": 5 }"))
        .await;
    assert_eq!(first.text(), again.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_one_request() {
    let service = Service::start().await;
    service.accepted(receipt("k", 5)).await;
    service
        .send(receipt("k", 6))
        .await
        .problem(422, "idempotency_key_reused");
    let other_path = json!({"delta": 5, "reason": "count"});
    let other_path = Call::post("/v1/stock/mug/adjustments")
        .key("k")
        .json(&other_path);
    service
        .send(other_path)
        .await
        .problem(422, "idempotency_key_reused");
    assert_eq!(service.events(Stream::Stock).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_post_needs_a_key() {
    let service = Service::start().await;
    let refused = service.send(receipt("k", 5).without_key()).await;
    let refused = refused.problem(400, "idempotency_key_missing");
    assert_eq!(refused["errors"][0]["field"], "idempotency-key");
    for malformed in ["", "\"\"", "\"open", "two words", "\"k\";p=1"] {
        let call = receipt("k", 5)
            .without_key()
            .header("idempotency-key", malformed);
        service
            .send(call)
            .await
            .problem(400, "idempotency_key_malformed");
    }
    let doubled = receipt("k", 5).header("idempotency-key", "\"l\"");
    service
        .send(doubled)
        .await
        .problem(400, "idempotency_key_malformed");
    assert!(service.events(Stream::Stock).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_key_is_the_same_key() {
    let service = Service::start().await;
    let first = service.accepted(receipt("k", 5)).await;
    let bare = receipt("k", 5).without_key().header("idempotency-key", "k");
    assert_eq!(first.text(), service.accepted(bare).await.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_duplicates_decide_once() {
    let service = Service::start().await;
    let all = (0..32).map(|_| service.accepted(receipt("k", 5)));
    let answers = join_all(all).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.text() == answers[0].text())
    );
    assert_eq!(service.events(Stream::Stock).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_may_have_a_key() {
    let service = Service::start().await;
    service.product("mug", 500, 0).await;
    let put = |minor| {
        Call::put("/v1/products/mug/price")
            .key("k")
            .json(&json!({"amount_minor": minor, "currency": "GBP"}))
    };
    let first = service.accepted(put(600)).await;
    assert_eq!(first.text(), service.accepted(put(600)).await.text());
    service
        .send(put(700))
        .await
        .problem(422, "idempotency_key_reused");
}

/// What moves stock has a reference, its key where the caller gives no other; the aggregate remembers it
/// when the result under the key is long forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_nobody_remembers_the_result_of_books_nothing_twice() {
    let service = Service::start_with("[shard]\nresults_kept = 1").await;
    let adjustment = |delta| {
        let body = json!({"delta": delta, "reason": "count"});
        Call::post("/v1/stock/mug/adjustments").key("a").json(&body)
    };
    let received = service.accepted(receipt("r", 5)).await;
    let adjusted = service.accepted(adjustment(-1)).await;
    // Another result takes the room of both.
    service.accepted(receipt("other", 1)).await;
    let again = service.accepted(receipt("r", 5)).await;
    assert_eq!(again.text(), received.text());
    let again = service.accepted(adjustment(-1)).await;
    assert_eq!(again.text(), adjusted.text());
    let reused = "reference_reused";
    service.send(receipt("r", 6)).await.problem(409, reused);
    service.send(adjustment(-2)).await.problem(409, reused);
    assert_eq!(service.events(Stream::Stock).len(), 3);
}

/// No other test here has a window that is too small for what it does in the catalog.
#[tokio::test(flavor = "multi_thread")]
async fn every_result_that_is_forgotten_is_counted_by_the_reason() {
    let service = Service::start_with("[shard]\nresults_kept = 1").await;
    let labels = "context=\"catalog\",reason=\"number\"";
    let forgotten = || service.counted("cartwright_shard_results_evicted_total", labels);
    let skus = (0..100).map(|number| format!("sku-{number}"));
    let of_one_shard = skus.filter(|sku| partition_of(sku, PARTITIONS) == 0);
    for (number, sku) in (0..).zip(of_one_shard.take(3)) {
        service.product(&sku, 500, 0).await;
        assert_eq!(forgotten().await, number);
    }
}

async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
