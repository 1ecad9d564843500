//! Money for an order that is there, in its currency.

use cartwright_events::EventBody;
use cartwright_events::order::{
    OrderEvent, OrderPaid, OrderPaymentAuthorized, OrderPaymentCaptured, OrderPaymentRefunded,
    OrderRefundDue, PaymentKind, RefundDueReason, RefundShare,
};

use crate::context::BoundedContext;
use crate::reason::Reason;
use crate::testing::*;
use crate::{Pay, Return};

fn capture(operation: &str, amount_minor: i64, captured_minor: i64) -> EventBody {
    let Pay {
        payment_id,
        operation_id,
        ..
    } = captured(operation, gbp(amount_minor));
    order_event(OrderPaymentCaptured {
        payment_id,
        operation_id,
        amount_minor,
        currency: currency("GBP"),
        captured_minor,
    })
}

fn paid(total_minor: i64, captured_minor: i64) -> EventBody {
    order_event(OrderPaid {
        total_minor,
        captured_minor,
        currency: currency("GBP"),
    })
}

fn due(
    operation: &str,
    amount_minor: i64,
    reason: RefundDueReason,
    refund_due_minor: i64,
) -> EventBody {
    let Pay {
        payment_id,
        operation_id,
        ..
    } = captured(operation, gbp(amount_minor));
    order_event(OrderRefundDue {
        payment_id: Some(payment_id),
        operation_id,
        amount_minor,
        currency: currency("GBP"),
        reason,
        refund_due_minor,
    })
}

#[test]
fn captures_add_up_and_the_order_is_paid_once() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    let accepted = shop
        .pay(captured("p/1", gbp(100)))
        .then([capture("p/1", 100, 100)]);
    assert_eq!(accepted.data["status"], "confirmed");
    let accepted = shop
        .pay(captured("q/1", gbp(150)))
        .then([capture("q/1", 150, 250), paid(250, 250)]);
    assert_eq!(
        (accepted.data["status"].as_str(), accepted.version),
        (Some("paid"), 5)
    );
    assert_eq!(
        shop.context.next_due(&shop.state),
        None,
        "a paid order does not expire"
    );
}

#[test]
fn a_repeated_operation_answers_with_what_happened_then() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(captured("p/1", gbp(100))).accepted();
    shop.pay(captured("p/2", gbp(200))).then_types(&[
        "OrderPaymentCaptured",
        "OrderPaid",
        "OrderRefundDue",
    ]);
    let accepted = shop.pay(captured("p/1", gbp(100))).repeats(3, &[3]);
    assert_eq!(
        (
            accepted.data["status"].as_str(),
            accepted.data["captured_minor"].as_i64()
        ),
        (Some("confirmed"), Some(100))
    );
    let accepted = shop.pay(captured("p/2", gbp(200))).repeats(6, &[4, 5, 6]);
    assert_eq!(accepted.data["status"], "paid");
    assert_eq!(accepted.data["refund_due_minor"], 50);
    // The same operation id of another payment is another operation.
    shop.pay(captured("q/1", gbp(1)))
        .then_types(&["OrderPaymentCaptured", "OrderRefundDue"]);
}

#[test]
fn a_repeated_operation_with_other_content_is_refused() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(captured("p/1", gbp(100))).accepted();
    for other in [
        captured("p/1", gbp(101)),
        captured("p/1", eur(100)),
        authorized("p/1", gbp(100)),
    ] {
        let rejection = shop.pay(other).rejected(Reason::OperationReused);
        assert_eq!(rejection.data["operation_id"], "1");
    }
}

#[test]
fn amounts_are_above_zero_and_sums_stay_in_range() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    for amount in [0, -1] {
        shop.pay(captured("p/1", gbp(amount)))
            .rejected(Reason::AmountNotPositive);
    }
    shop.pay(captured("p/1", gbp(i64::MAX))).accepted();
    shop.pay(captured("p/2", gbp(1)))
        .rejected(Reason::AmountOverflow);
    shop.pay(refunded("p/3", gbp(i64::MAX))).accepted();
    shop.pay(refunded("p/4", gbp(1)))
        .rejected(Reason::AmountOverflow);
}

#[test]
fn what_is_beyond_the_total_is_owed_back() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    let excess = RefundDueReason::Excess;
    shop.pay(captured("p/1", gbp(260))).then([
        capture("p/1", 260, 260),
        paid(250, 260),
        due("p/1", 10, excess, 10),
    ]);
    let accepted = shop
        .pay(captured("p/2", gbp(250)))
        .then([capture("p/2", 250, 510), due("p/2", 250, excess, 260)]);
    assert_eq!(accepted.data["refund_due_minor"], 260);
}

#[test]
fn money_that_comes_before_the_confirmation_counts_with_it() {
    let mut shop = Shop::new();
    shop.placed(vec![item("B", 1)]);
    shop.pay(captured("p/1", gbp(250)))
        .then([capture("p/1", 250, 250)]);
    assert_eq!(type_names(&shop.held(0)), ["OrderConfirmed", "OrderPaid"]);
    shop.pay(captured("p/1", gbp(250))).repeats(2, &[2]);
}

#[test]
fn money_for_an_order_that_is_then_rejected_is_owed_back() {
    let mut shop = Shop::new();
    shop.placed(vec![item("B", 1)]);
    shop.pay(captured("p/1", gbp(250))).accepted();
    let decision = shop.receive(answer(0, false));
    assert_eq!(type_names(&decision), ["OrderRejected", "OrderRefundDue"]);
    assert_eq!(shop.standing().owed_minor(), 250);
}

#[test]
fn money_after_the_end_is_owed_back() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.at(minute(30));
    let ended = RefundDueReason::OrderEnded;
    shop.pay(captured("p/1", gbp(100)))
        .then([capture("p/1", 100, 100), due("p/1", 100, ended, 100)]);
    let accepted = shop.pay(captured("p/1", gbp(100))).repeats(5, &[4, 5]);
    assert_eq!(accepted.data["status"], "expired");
}

#[test]
fn an_authorisation_gives_an_open_order_more_time() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.at(minute(10));
    let extended = |operation: &str, payment_deadline| {
        let Pay {
            payment_id,
            operation_id,
            ..
        } = authorized(operation, gbp(250));
        order_event(OrderPaymentAuthorized {
            payment_id,
            operation_id,
            amount_minor: 250,
            currency: currency("GBP"),
            payment_deadline,
        })
    };
    shop.pay(authorized("p/1", gbp(250)))
        .then([extended("p/1", minute(70))]);
    assert_eq!(shop.context.next_due(&shop.state), Some(minute(70)));
    assert!(shop.at(minute(69)).is_empty());
    shop.pay(captured("p/2", gbp(250))).accepted();
    shop.pay(authorized("p/3", gbp(250)))
        .then([extended("p/3", minute(70))]);
}

#[test]
fn an_authorisation_never_takes_time_away() {
    let mut shop = Shop::new();
    let settings = crate::CheckoutSettings {
        payment_extension_ms: 1,
        ..shop.context.settings.clone()
    };
    shop.context.settings = settings;
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(authorized("p/1", gbp(250))).accepted();
    assert_eq!(shop.context.next_due(&shop.state), Some(minute(30)));
}

#[test]
fn a_refund_settles_what_is_owed_and_never_below_zero() {
    let mut shop = Shop::new();
    shop.shipped(vec![item("B", 2)]);
    shop.when(Return {
        order_id: order_id("o"),
        return_id: reference("r"),
        lines: lines(&[(1, 1)]),
        restock: false,
        occurred_at: None,
    })
    .accepted();
    assert_eq!(shop.standing().owed_minor(), 250);
    let refund = |amount_minor, refunded_minor, refund_due_minor| {
        order_event(OrderPaymentRefunded {
            payment_id: reference("p"),
            operation_id: reference(&format!("r{refunded_minor}")),
            amount_minor,
            currency: currency("GBP"),
            refunded_minor,
            shares: vec![RefundShare {
                line: 1,
                sku: sku("B"),
                amount_minor,
            }],
            ship_to_country: Some(country("France")),
            refund_due_minor,
        })
    };
    shop.pay(refunded("p/r100", gbp(100)))
        .then([refund(100, 100, 150)]);
    shop.pay(refunded("p/r400", gbp(300)))
        .then([refund(300, 400, 0)]);
    shop.pay(refunded("p/r100", gbp(100))).repeats(7, &[7]);
}

#[test]
fn a_return_that_was_refunded_takes_no_more_refunds() {
    let mut shop = Shop::new();
    shop.shipped(vec![item("A", 1), item("B", 2)]);
    for (name, line) in [("r1", 2), ("r2", 1)] {
        shop.when(Return {
            order_id: order_id("o"),
            return_id: reference(name),
            lines: lines(&[(line, 1)]),
            restock: false,
            occurred_at: None,
        })
        .accepted();
    }
    let mut shared = |operation: &str, amount_minor| {
        let outcome = shop.pay(refunded(operation, gbp(amount_minor)));
        let EventBody::Order(OrderEvent::PaymentRefunded(event)) = &outcome.decision.events[0].body
        else {
            panic!("{outcome:?}")
        };
        let shares = event.shares.iter();
        shares
            .map(|share| (share.line, share.amount_minor))
            .collect::<Vec<_>>()
    };
    assert_eq!(shared("p/1", 200), [(2, 200)]);
    assert_eq!(shared("p/2", 60), [(1, 10), (2, 50)]);
    assert_eq!(shared("p/3", 90), [(1, 90)]);
}

#[test]
fn payments_lead_to_the_same_in_any_order() {
    let operations = [
        captured("p/1", gbp(200)),
        captured("p/2", gbp(100)),
        refunded("p/3", gbp(30)),
        refunded("p/4", gbp(25)),
        authorized("p/5", gbp(250)),
    ];
    let mut results = Vec::new();
    permutations(&mut (0..operations.len()).collect(), 0, &mut |order| {
        let mut shop = Shop::new();
        shop.confirmed(vec![item("B", 1)]);
        for index in order {
            shop.pay(operations[*index].clone()).accepted();
            shop.pay(operations[*index].clone()).then_types(&[]);
        }
        results.push((shop.standing(), shop.standing().owed_minor()));
    });
    assert_eq!(results.len(), 120);
    assert!(
        results.iter().all(|result| *result == results[0]),
        "{results:?}"
    );
    assert_eq!((results[0].0.status(), results[0].1), ("paid", 0));
}

fn permutations(items: &mut Vec<usize>, from: usize, visit: &mut dyn FnMut(&[usize])) {
    if from == items.len() {
        return visit(items);
    }
    for index in from..items.len() {
        items.swap(from, index);
        permutations(items, from + 1, visit);
        items.swap(from, index);
    }
}

#[test]
fn every_kind_is_accepted_in_every_stage() {
    let stages: [fn(&mut Shop); 6] = [
        |shop| {
            shop.placed(vec![item("B", 2)]);
        },
        |shop| {
            shop.confirmed(vec![item("B", 2)]);
        },
        |shop| {
            shop.paid(vec![item("B", 2)]);
        },
        |shop| {
            shop.shipped(vec![item("B", 2)]);
        },
        |shop| {
            shop.placed(vec![item("B", 2)]).receive(answer(0, false));
        },
        |shop| {
            shop.confirmed(vec![item("B", 2)]).at(minute(30));
        },
    ];
    for stage in stages {
        for kind in PaymentKind::ALL {
            for amount in [gbp(1), gbp(500), eur(7)] {
                let mut shop = Shop::new();
                stage(&mut shop);
                let report = payment(*kind, "x/1", amount);
                let version = shop.pay(report.clone()).accepted().version;
                assert_eq!(shop.pay(report).then_types(&[]).version, version);
            }
        }
    }
}
