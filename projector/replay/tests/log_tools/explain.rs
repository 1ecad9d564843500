use cartwright_events::messages::{ReservationAnswer, ReserveStock, StockQuantity};
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Message, OrderId, Sku};
use cartwright_replay::explain::{Explanation, explain};

use crate::log::{PARTITIONS, TestLog, confirmed, created, received, reserved};

fn sold() -> TestLog {
    let mut log = TestLog::new();
    log.commit("receipt", &[received("cup", 1, 9)], &[]);
    log.commit("other", &[created("o-2", "cup")], &[]);
    let order_id = OrderId::new("o-1").expect("an id");
    let ask = Message::ReserveStock(ReserveStock {
        order_id: order_id.clone(),
        items: vec![StockQuantity {
            sku: Sku::new("cup").expect("a sku"),
            quantity: 2,
        }],
    });
    let inventory = partition_of("cup", PARTITIONS);
    log.commit("checkout", &[created("o-1", "cup")], &[(inventory, ask)]);
    let answer = Message::ReservationAnswer(ReservationAnswer {
        order_id,
        inventory_partition: inventory,
        held: true,
        shortages: Vec::new(),
        failure: None,
    });
    let checkout = partition_of("o-1", PARTITIONS);
    log.apply_inbox(Context::Inventory, inventory, 1);
    log.commit(
        "checkout",
        &[reserved("cup", 2, "o-1", 2)],
        &[(checkout, answer)],
    );
    log.commit("checkout", &[reserved("cup", 3, "o-2", 4)], &[]);
    log.apply_inbox(Context::Checkout, checkout, 1);
    log.commit("checkout", &[confirmed("o-1")], &[]);
    log
}

fn told(explanation: &Explanation) -> Vec<(&str, &str, &str)> {
    let facts = explanation.facts.iter();
    facts
        .map(|fact| (fact.context, fact.kind, fact.type_name.as_str()))
        .collect()
}

#[test]
fn an_order_is_told_across_contexts_and_messages_in_its_causal_order() {
    let log = sold();
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    assert_eq!(
        told(&explanation),
        [
            ("checkout", "event", "OrderCreated"),
            ("inventory", "message", "ReserveStock"),
            ("inventory", "event", "StockReserved"),
            ("checkout", "message", "ReservationAnswer"),
            ("checkout", "event", "OrderConfirmed"),
        ]
    );
    for fact in &explanation.facts {
        assert_eq!(fact.command_id, "checkout");
        assert_eq!(fact.correlation_id, "request");
        if fact.kind == "event" {
            let transaction = fact.transaction.as_ref().expect("a transaction");
            assert_eq!(transaction.writer_epoch, 4);
            let key = transaction.idempotency_key.as_deref();
            assert_eq!(key, Some("key of checkout"));
        }
    }
    let created = &explanation.facts[0];
    assert_eq!(created.details["units"], 2);
    // A message was applied in the transaction that wrote what it led to.
    let number = |at: usize| {
        explanation.facts[at]
            .transaction
            .as_ref()
            .map(|of| of.number)
    };
    assert!(number(1).is_some() && number(3).is_some());
    assert_eq!(number(1), number(2), "the question and its reservation");
    assert_eq!(number(3), number(4), "the answer and the confirmation");
}

#[test]
fn a_message_that_could_not_be_decided_is_told() {
    let mut log = sold();
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    let asked = &explanation.facts[1];
    log.give_up(Context::Inventory, asked.partition, asked.offset);
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    let failed = explanation
        .facts
        .iter()
        .find(|fact| fact.kind == "failed message")
        .expect("the failure");
    assert_eq!(failed.type_name, "ReserveStock");
    assert_eq!(failed.details["reason"], "it broke");
}

#[test]
fn of_an_order_that_nobody_knows_there_is_nothing_to_tell() {
    let log = sold();
    let explanation = explain(&log.log, &log.codec, "o-9").expect("told");
    assert!(explanation.facts.is_empty());
}
