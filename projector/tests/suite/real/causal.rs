//! The causal timeline, as PostgreSQL tells it.

use cartwright_read_model::postgres::{CausalKey, causal_skus, causal_timeline};
use cartwright_read_model::rows::CausalRow;
use serde_json::json;

use super::stores;
use crate::history::event;
use crate::setup::{TestLog, plan};

/// Everything in one millisecond of the log, written in another order than it led to each other.
#[test]
fn within_a_millisecond_causes_come_before_their_effects_page_by_page_too() {
    let Some(store) = stores::postgres() else {
        return;
    };
    let released = json!({
        "order_id": "o", "quantity": 1, "on_hand": 9, "reserved": 0, "reason": "cancelled",
    });
    let reserved = json!({"order_id": "o", "quantity": 1, "on_hand": 9, "reserved": 1});
    let owed = |version: u64, reason: &str| {
        let data = json!({
            "payment_id": "p", "operation_id": version.to_string(), "amount_minor": 5,
            "currency": "EUR", "reason": reason, "refund_due_minor": 5,
        });
        event("o", version, 0, "OrderRefundDue", data)
    };
    let order =
        |version: u64, kind: &str, data: serde_json::Value| event("o", version, 0, kind, data);
    let log = TestLog::with(&[
        event("cup", 2, 0, "StockReleased", released),
        event("cup", 3, 0, "StockReserved", reserved),
        owed(1, "unknown_order"),
        order(
            2,
            "OrderCreated",
            json!({
                "cart_id": "o", "currency": "EUR", "units": 1, "total_minor": 5,
                "payment_deadline": "2026-03-09T00:00:00Z",
                "lines": [{"line": 1, "sku": "hat", "name": "Thing", "quantity": 1,
                    "unit_price_minor": 5, "line_total_minor": 5}],
            }),
        ),
        order(
            3,
            "OrderConfirmed",
            json!({
                "total_minor": 5, "currency": "EUR", "payment_deadline": "2026-03-09T00:00:00Z",
            }),
        ),
        order(
            4,
            "OrderCancelled",
            json!({"reason": "requested", "refund_due_minor": 5}),
        ),
        owed(5, "order_cancelled"),
    ]);
    store.project(&log, &plan("causal"));
    let mut skus = store.with_postgres(async |client| causal_skus(client, 1, "o").await);
    skus.sort();
    assert_eq!(
        skus,
        ["cup", "hat"],
        "of stock, and of a line that has none yet"
    );
    let read = |after: Option<&CausalKey>, limit: u32| {
        store.with_postgres(async |client| causal_timeline(client, 1, "o", after, limit).await)
    };
    let whole = read(None, 50);
    let at = whole.first().map(|row| row.recorded_at);
    assert!(
        whole.iter().all(|row| Some(row.recorded_at) == at),
        "one millisecond"
    );
    let told: Vec<&str> = whole.iter().map(|row| row.r#type.as_str()).collect();
    assert_eq!(
        told,
        [
            "OrderRefundDue",
            "OrderCreated",
            "StockReserved",
            "OrderConfirmed",
            "OrderCancelled",
            "OrderRefundDue",
            "StockReleased",
        ]
    );
    let key = |row: &CausalRow| {
        (
            row.recorded_at,
            row.stream.clone(),
            row.log_partition,
            row.seq,
        )
    };
    let mut paged = read(None, 2);
    while let Some(last) = paged.last() {
        let page = read(Some(&key(last)), 2);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, whole);
}
