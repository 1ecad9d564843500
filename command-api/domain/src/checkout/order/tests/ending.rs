//! Cancelling, failing and expiring.

use cartwright_events::inventory::ReleaseReason;
use cartwright_events::order::{
    CancelReason, OrderCancelled, OrderEvent, OrderExpired, OrderRefundDue, RefundDueReason,
};
use cartwright_events::{EventBody, Message};

use crate::context::{BoundedContext, Decision};
use crate::reason::Reason;
use crate::testing::*;
use crate::{Cancel, Ship};

fn cancel(name: Option<&str>) -> Cancel {
    Cancel {
        order_id: order_id("o"),
        reference: name.map(reference),
        note: None,
        occurred_at: None,
    }
}

fn due(operation: &str, amount_minor: i64) -> cartwright_events::EventBody {
    order_event(OrderRefundDue {
        payment_id: None,
        operation_id: reference(operation),
        amount_minor,
        currency: currency("GBP"),
        reason: RefundDueReason::OrderCancelled,
        refund_due_minor: amount_minor,
    })
}

/// Why the decision lets go of stock; `None` when it does not.
fn released(decision: &Decision) -> Option<ReleaseReason> {
    match decision.messages.as_slice() {
        [] => None,
        [outgoing] => match &outgoing.message {
            Message::ReleaseStock(message) => Some(message.reason),
            other => panic!("no release: {other:?}"),
        },
        other => panic!("more than one message: {other:?}"),
    }
}

#[test]
fn a_cancelled_order_lets_go_of_its_stock() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    let outcome = shop.when(Cancel {
        note: Some("too slow".to_owned()),
        ..cancel(Some("c1"))
    });
    assert_eq!(released(&outcome.decision), Some(ReleaseReason::Cancelled));
    let cancelled = OrderCancelled {
        reason: CancelReason::Requested,
        reference: Some(reference("c1")),
        note: Some("too slow".to_owned()),
        refund_due_minor: 0,
    };
    let accepted = outcome.then([order_event(cancelled)]);
    assert_eq!(accepted.data["status"], "cancelled");
    assert_eq!(shop.context.next_due(&shop.state), None);
}

#[test]
fn cancelling_again_is_a_repeat() {
    let mut shop = Shop::new();
    shop.paid(vec![item("B", 1)]);
    shop.when(cancel(Some("c1")))
        .then_types(&["OrderCancelled", "OrderRefundDue"]);
    shop.when(cancel(None)).repeats(6, &[5, 6]);
}

#[test]
fn a_requested_cancellation_is_no_part_of_the_payment_before_it() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(authorized("p/1", gbp(250))).accepted();
    shop.when(cancel(None)).accepted();
    let accepted = shop.pay(authorized("p/1", gbp(250))).repeats(3, &[3]);
    assert_eq!(accepted.data["status"], "confirmed");
}

#[test]
fn the_money_of_a_cancelled_order_is_owed_back() {
    let mut shop = Shop::new();
    shop.paid(vec![item("B", 1)]);
    shop.pay(refunded("p/early", gbp(100))).accepted();
    let events = shop.when(cancel(Some("c1"))).decision.events;
    assert_eq!(
        events[1].body,
        due("c1", 150),
        "what went back before is not owed again"
    );
    let accepted = shop.pay(refunded("p/rest", gbp(150))).accepted();
    assert_eq!(accepted.data["refund_due_minor"], 0);
}

#[test]
fn what_was_owed_before_the_end_is_not_owed_twice() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(captured("p/1", gbp(260))).accepted();
    let events = shop.when(cancel(Some("c1"))).decision.events;
    let EventBody::Order(OrderEvent::RefundDue(due)) = &events[1].body else {
        panic!("{events:?}")
    };
    assert_eq!((due.amount_minor, due.refund_due_minor), (250, 260));
}

#[test]
fn a_pending_order_can_be_cancelled() {
    let mut shop = Shop::new();
    shop.placed(vec![item("B", 1)]);
    let outcome = shop.when(cancel(None));
    assert_eq!(released(&outcome.decision), Some(ReleaseReason::Cancelled));
    outcome.then_types(&["OrderCancelled"]);
}

#[test]
fn what_was_shipped_or_has_ended_cannot_be_cancelled() {
    let mut shop = Shop::new();
    shop.when(cancel(None)).rejected(Reason::UnknownOrder);
    shop.paid(vec![item("B", 2)]);
    shop.when(Ship {
        order_id: order_id("o"),
        shipment_id: reference("s"),
        lines: Some(lines(&[(1, 1)])),
        occurred_at: None,
    })
    .accepted();
    assert_eq!(
        shop.when(cancel(None))
            .rejected(Reason::OrderAlreadyShipped)
            .data["shipped_units"],
        1
    );

    let mut shop = Shop::new();
    shop.placed(vec![item("B", 2)]).receive(answer(0, false));
    assert_eq!(
        shop.when(cancel(None)).rejected(Reason::OrderEnded).data["order_status"],
        "rejected"
    );
    let mut shop = Shop::new();
    shop.placed(vec![item("B", 2)]).at(minute(30));
    assert_eq!(
        shop.when(cancel(None)).rejected(Reason::OrderEnded).data["order_status"],
        "expired"
    );
    let note = Some("x".repeat(501));
    shop.when(Cancel {
        note,
        ..cancel(None)
    })
    .rejected(Reason::TextOutOfRange);
}

#[test]
fn a_failed_payment_cancels_an_order_that_nothing_else_pays() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(authorized("p/1", gbp(250))).accepted();
    let outcome = shop.pay(failed("p/2", gbp(250)));
    assert_eq!(
        released(&outcome.decision),
        Some(ReleaseReason::PaymentFailed)
    );
    let cancelled = OrderCancelled {
        reason: CancelReason::PaymentFailed,
        reference: Some(reference("2")),
        note: None,
        refund_due_minor: 0,
    };
    assert_eq!(outcome.decision.events[1].body, order_event(cancelled));
    let accepted = outcome.then_types(&["OrderPaymentFailed", "OrderCancelled"]);
    assert_eq!(accepted.data["status"], "cancelled");
    let accepted = shop.pay(failed("p/2", gbp(250))).repeats(5, &[4, 5]);
    assert_eq!(accepted.data["status"], "cancelled");
    shop.when(cancel(None)).repeats(5, &[5]);
}

#[test]
fn a_failed_payment_cancels_nothing_while_another_is_under_way() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(authorized("q/1", gbp(250))).accepted();
    shop.pay(failed("p/1", gbp(250)))
        .then_types(&["OrderPaymentFailed"]);
    shop.pay(captured("q/2", gbp(1))).accepted();
    shop.pay(failed("q/3", gbp(249)))
        .then_types(&["OrderPaymentFailed"]);
    shop.pay(captured("q/4", gbp(249))).accepted();
    shop.pay(failed("q/5", gbp(1)))
        .then_types(&["OrderPaymentFailed"]);
    assert_eq!(shop.standing().status(), "paid");
}

#[test]
fn an_order_that_is_not_paid_in_time_expires() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(captured("p/1", gbp(249))).accepted();
    assert!(shop.at(minute(29)).is_empty());
    let decisions = shop.at(minute(30));
    let [decision] = decisions.as_slice() else {
        panic!("{decisions:?}")
    };
    let expired = OrderExpired {
        payment_deadline: minute(30),
        refund_due_minor: 249,
    };
    let bodies: Vec<_> = decision
        .events
        .iter()
        .map(|event| event.body.clone())
        .collect();
    assert_eq!(bodies, [order_event(expired), due("o", 249)]);
    assert_eq!(released(decision), Some(ReleaseReason::Expired));
    assert_eq!(shop.context.next_due(&shop.state), None);
    let outcome = shop.context.outcome(&shop.state, "o").expect("expired");
    assert_eq!(outcome.data["status"], "expired");
}

#[test]
fn an_order_that_waits_for_stock_expires_too() {
    let mut shop = Shop::new();
    shop.placed(vec![item("B", 1)]);
    assert_eq!(type_names(&shop.at(minute(30))[0]), ["OrderExpired"]);
}

#[test]
fn timers_go_off_a_few_at_a_time() {
    let mut shop = Shop::new();
    for id in ["o1", "o2", "o3"] {
        let opening = crate::CreateCart {
            cart_id: cart_id(id),
            ..Shop::opening(vec![])
        };
        shop.when(opening).accepted();
    }
    let later = minute(24 * 60);
    assert_eq!(shop.context.on_time(&shop.state, later, 2).len(), 2);
    assert_eq!(shop.context.on_time(&shop.state, minute(1), 2).len(), 0);
    assert_eq!(shop.at(later).len(), 3);
}
