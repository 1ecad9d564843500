use std::collections::BTreeSet;
use std::time::Duration;

use cartwright_domain::{Reason, Rejection};
use cartwright_event_log::TopicPartition;
use cartwright_events::messages::{ReservationAnswer, ReserveStock, StockQuantity, SubmitCommand};
use cartwright_events::order::{OrderEvent, PaymentKind};
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, EventBody, Message, OrderId, Sku};
use cartwright_read_model::causal::brought_by;
use cartwright_replay::explain::{Explanation, Kind, explain};

use crate::log::{PARTITIONS, TestLog, confirmed, created, expired, received, reserved};
use crate::shop::{Shop, cancel, report, ship};

fn sold() -> TestLog {
    let mut log = TestLog::new();
    log.commit("receipt", &[received("cup", 1, 9)], &[]);
    log.commit("other", &[created("o-2", "cup")], &[]);
    let inventory = partition_of("cup", PARTITIONS);
    let question = [(inventory, ask("o-1", "cup"))];
    log.commit("checkout", &[created("o-1", "cup")], &question);
    let answer = held("o-1", inventory);
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

fn ask(order_id: &str, sku: &str) -> Message {
    Message::ReserveStock(ReserveStock {
        order_id: OrderId::new(order_id).expect("an id"),
        items: vec![StockQuantity {
            sku: Sku::new(sku).expect("a sku"),
            quantity: 2,
        }],
    })
}

fn held(order_id: &str, inventory_partition: u32) -> Message {
    Message::ReservationAnswer(ReservationAnswer {
        order_id: OrderId::new(order_id).expect("an id"),
        inventory_partition,
        held: true,
        shortages: Vec::new(),
        failure: None,
    })
}

fn told(explanation: &Explanation) -> Vec<(&str, &str, &str)> {
    let facts = explanation.facts.iter();
    facts
        .map(|fact| (fact.context, fact.kind.word(), fact.type_name.as_str()))
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
        if fact.kind == Kind::Event {
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
fn a_question_is_told_before_its_answer_though_no_event_was_written_with_it() {
    let mut log = TestLog::new();
    let checkout = partition_of("o-1", PARTITIONS);
    let first = partition_of("cup", PARTITIONS);
    let others = ["bowl", "jug", "pot", "pan"].into_iter();
    let mut others = others.map(|sku| (sku, partition_of(sku, PARTITIONS)));
    let (sku, last) = others.find(|(_, at)| *at != first).expect("another shard");
    let mut order = created("o-1", "cup");
    if let EventBody::Order(OrderEvent::Created(created)) = &mut order.body {
        let mut line = created.lines[0].clone();
        line.sku = Sku::new(sku).expect("a sku");
        created.lines.push(line);
    }
    log.commit("checkout", &[order], &[(first, ask("o-1", "cup"))]);
    // A while until the first shard answers, and less from then on.
    log.log.advance(Duration::from_secs(10));
    let held_for = |sku, at| ([reserved(sku, 1, "o-1", 2)], [(checkout, held("o-1", at))]);
    let (events, answer) = held_for("cup", first);
    log.commit("checkout", &events, &answer);
    log.log.advance(Duration::from_secs(1));
    let question = [(last, ask("o-1", sku))];
    log.send((Context::Checkout, checkout), "checkout", &question);
    log.log.advance(Duration::from_secs(1));
    let (events, answer) = held_for(sku, last);
    log.commit("checkout", &events, &answer);
    log.log.advance(Duration::from_secs(1));
    log.commit("checkout", &[confirmed("o-1")], &[]);
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    let facts = explanation.facts.iter();
    let told: Vec<_> = facts
        .map(|fact| (fact.type_name.as_str(), fact.partition))
        .collect();
    assert_eq!(
        told,
        [
            ("OrderCreated", checkout),
            ("ReserveStock", first),
            ("StockReserved", first),
            ("ReservationAnswer", checkout),
            ("ReserveStock", last),
            ("StockReserved", last),
            ("ReservationAnswer", checkout),
            ("OrderConfirmed", checkout),
        ]
    );
    let sender = explanation.facts[4].sender.expect("a sender");
    assert_eq!((sender.context, sender.partition), ("checkout", checkout));
    assert_eq!(sender.transaction, 2);
}

#[test]
fn what_a_timer_did_is_told_as_its_own_cause() {
    let mut log = sold();
    log.commit("timer:o-1", &[expired("o-1", 3)], &[]);
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    let last = explanation.facts.last().expect("a fact");
    assert_eq!(last.type_name, "OrderExpired");
    assert_eq!(last.command_id, "timer:o-1");
    assert_eq!(last.correlation_id, "timer:o-1");
    let transaction = last.transaction.as_ref().expect("a transaction");
    assert_eq!(transaction.idempotency_key, None, "nobody asked for it");
}

#[test]
fn a_message_that_has_passed_another_belongs_to_the_transaction_that_says_so() {
    let mut log = TestLog::new();
    let checkout = partition_of("o-1", PARTITIONS);
    let answers = [(checkout, held("o-2", 0)), (checkout, held("o-1", 0))];
    log.commit("checkout", &[created("o-1", "cup")], &answers);
    log.pass_inbox(Context::Checkout, checkout, 1);
    log.commit("checkout", &[confirmed("o-1")], &[]);
    log.apply_inbox(Context::Checkout, checkout, 2);
    log.give_up(Context::Checkout, checkout, 0);
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    let facts = explanation.facts.iter();
    let numbers: Vec<_> = facts
        .map(|fact| {
            let transaction = fact.transaction.as_ref();
            (fact.type_name.as_str(), transaction.map(|of| of.number))
        })
        .collect();
    assert_eq!(
        numbers,
        [
            ("OrderCreated", Some(1)),
            ("ReservationAnswer", Some(2)),
            ("OrderConfirmed", Some(2)),
        ]
    );
}

#[test]
fn a_message_that_was_applied_before_the_journal_begins_belongs_to_no_transaction() {
    let mut log = TestLog::new();
    let checkout = partition_of("o-1", PARTITIONS);
    let answers = [(checkout, held("o-1", 0)), (checkout, held("o-1", 1))];
    log.commit("checkout", &[created("o-1", "cup")], &answers);
    log.apply_inbox(Context::Checkout, checkout, 1);
    log.give_up(Context::Checkout, checkout, 9);
    log.apply_inbox(Context::Checkout, checkout, 2);
    log.commit("checkout", &[confirmed("o-1")], &[]);
    let numbers = || {
        let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
        let messages = explanation.facts.into_iter();
        let messages = messages.filter(|fact| fact.kind == Kind::Message);
        let mut numbers: Vec<_> = messages
            .map(|fact| (fact.offset, fact.transaction.map(|of| of.number)))
            .collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(), [(0, Some(2)), (1, Some(3))]);
    // A transaction's record, and the mark of its commit.
    let journal = TopicPartition::new(Context::Checkout.journal_topic(), checkout);
    log.log.delete_records(&journal, 2);
    assert_eq!(numbers(), [(0, None), (1, Some(3))]);
    log.log.delete_records(&journal, 4);
    assert_eq!(numbers(), [(0, None), (1, None)]);
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
        .find(|fact| fact.kind == Kind::FailedMessage)
        .expect("the failure");
    assert_eq!(failed.type_name, "ReserveStock");
    assert_eq!(failed.details["reason"], "it broke");
    assert_eq!(failed.seq, None, "it is no event");
    assert_eq!(failed.command_id, "checkout", "as the message");
    assert!(failed.transaction.is_some());
}

#[test]
fn of_an_order_that_nobody_knows_there_is_nothing_to_tell() {
    let log = sold();
    let explanation = explain(&log.log, &log.codec, "o-9").expect("told");
    assert!(explanation.facts.is_empty());
}

/// An order that is called off, and what is refused before and after.
fn refused() -> Shop {
    let mut shop = Shop::new();
    let paid = report("o-1", "1", PaymentKind::Captured, 100, "EUR");
    assert!(shop.ask(ship("o-1")).is_err(), "there is no order");
    shop.log.log.advance(Duration::from_secs(1));
    shop.order("o-1");
    shop.order("o-12");
    assert!(shop.ask(ship("o-1")).is_err(), "it is not paid");
    assert!(shop.ask(ship("o-12")).is_err(), "nor is the other");
    shop.log.log.advance(Duration::from_secs(1));
    shop.pay(paid);
    shop.checkout(cancel("o-1"));
    assert!(shop.ask(ship("o-1")).is_err(), "it has ended");
    shop
}

#[test]
fn commands_that_were_refused_are_told_with_their_reason_where_the_journal_names_the_order() {
    let shop = refused();
    let explanation = explain(&shop.log.log, &shop.log.codec, "o-1").expect("told");
    let facts = explanation.facts.iter();
    let refused: Vec<_> = facts
        .filter(|fact| fact.kind == Kind::RejectedCommand)
        .collect();
    let reasons: Vec<&str> = refused.iter().map(|fact| fact.type_name.as_str()).collect();
    assert_eq!(reasons, ["unknown_order", "order_not_paid", "order_ended"]);
    for fact in refused {
        assert_eq!(
            (fact.context, fact.command_id.as_str()),
            ("checkout", "refused")
        );
        assert_eq!(fact.topic, Context::Checkout.journal_topic());
        let transaction = fact.transaction.as_ref().expect("a transaction");
        let key = transaction.idempotency_key.as_deref();
        assert_eq!(key, Some("key of refused"));
        assert!(fact.details["detail"].is_string(), "{:?}", fact.details);
    }
    let told = told(&explanation);
    assert_eq!(told.first().map(|fact| fact.2), Some("unknown_order"));
    assert_eq!(told.last().map(|fact| fact.2), Some("order_ended"));
}

#[test]
fn a_command_that_came_by_the_inbox_is_told_with_what_it_came_to() {
    let mut log = TestLog::new();
    let checkout = partition_of("o-1", PARTITIONS);
    let submitted = |command_id: &str| {
        Message::SubmitCommand(SubmitCommand {
            context: Context::Checkout,
            aggregate_id: "o-1".to_owned(),
            command_id: command_id.to_owned(),
            idempotency_key: None,
            fingerprint: String::new(),
            expected_version: None,
            command: "{}".to_owned(),
        })
    };
    log.commit("mine", &[], &[(checkout, submitted("mine"))]);
    let rejection = Rejection::new(Reason::PriceChanged, "a price is another");
    log.reject("mine", "o-1", &rejection);
    log.reject("somebody's", "o-1", &rejection);
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    assert_eq!(
        told(&explanation),
        [
            ("checkout", "message", "SubmitCommand"),
            ("checkout", "rejected command", "price_changed"),
        ]
    );
    assert_eq!(explanation.facts[1].correlation_id, "request");
}

#[test]
fn within_a_millisecond_causes_come_before_their_effects() {
    let mut shop = Shop::new();
    shop.order("o-1");
    shop.pay(report("o-1", "1", PaymentKind::Captured, 100, "EUR"));
    shop.checkout(cancel("o-1"));
    let explanation = explain(&shop.log.log, &shop.log.codec, "o-1").expect("told");
    let events = explanation.facts.iter();
    let events = events.filter(|fact| fact.kind == Kind::Event);
    let told: Vec<&str> = events.map(|fact| fact.type_name.as_str()).collect();
    assert_eq!(
        told,
        [
            "CartCreated",
            "CartItemAdded",
            "CartCheckedOut",
            "OrderCreated",
            "StockReserved",
            "OrderConfirmed",
            "OrderPaymentCaptured",
            "OrderPaid",
            "OrderCancelled",
            "OrderRefundDue",
            "StockReleased",
        ]
    );
}

#[test]
fn an_event_s_type_tells_the_message_that_brought_its_cause() {
    let mut shop = Shop::new();
    let orders = ["o-1", "o-2", "o-3", "o-4", "o-5"];
    for id in orders {
        shop.order(id);
    }
    shop.checkout(cancel("o-1"));
    shop.pay(report("o-2", "1", PaymentKind::Captured, 100, "EUR"));
    shop.checkout(ship("o-2"));
    let mut seen = BTreeSet::new();
    for id in orders {
        let explanation = explain(&shop.log.log, &shop.log.codec, id).expect("told");
        let mut message = None;
        for fact in &explanation.facts {
            match fact.kind {
                Kind::Message => message = Some(fact.type_name.as_str()),
                Kind::Event => {
                    let brought = brought_by(&fact.type_name);
                    let by_message = fact.command_id == "message";
                    assert_eq!(brought, message.filter(|_| by_message), "{fact:?}");
                    seen.extend(brought.map(|_| fact.type_name.clone()));
                }
                _ => panic!("{fact:?}"),
            }
        }
    }
    let all = [
        "OrderConfirmed",
        "OrderRejected",
        "StockReleased",
        "StockReservationRejected",
        "StockReserved",
        "StockShipped",
    ];
    assert!(seen.iter().eq(all), "{seen:?}");
}
