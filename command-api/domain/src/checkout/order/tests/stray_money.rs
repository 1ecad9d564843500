//! Money in another currency, and for orders that nobody knows.

use cartwright_events::EventBody;
use cartwright_events::order::{OrderPaymentNoted, OrderRefundDue, PaymentKind, RefundDueReason};

use crate::reason::Reason;
use crate::testing::*;
use crate::{Cancel, Pay};

fn due(report: Pay, reason: RefundDueReason, refund_due_minor: i64) -> EventBody {
    order_event(OrderRefundDue {
        payment_id: Some(report.payment_id),
        operation_id: report.operation_id,
        amount_minor: report.amount.amount_minor,
        currency: report.amount.currency,
        reason,
        refund_due_minor,
    })
}

fn noted(report: Pay, reason: RefundDueReason) -> EventBody {
    order_event(OrderPaymentNoted {
        payment_id: report.payment_id,
        operation_id: report.operation_id,
        kind: report.kind,
        amount_minor: report.amount.amount_minor,
        currency: report.amount.currency,
        reason,
    })
}

#[test]
fn money_in_another_currency_pays_nothing_and_is_owed_back() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    let other = RefundDueReason::OtherCurrency;
    let report = captured("p/1", eur(250));
    let accepted = shop
        .pay(report.clone())
        .then([due(report.clone(), other, 0)]);
    assert_eq!(
        (
            accepted.data["status"].as_str(),
            accepted.data["captured_minor"].as_i64()
        ),
        (Some("confirmed"), Some(0))
    );
    shop.pay(report).repeats(3, &[3]);
    shop.pay(captured("p/1", gbp(250)))
        .rejected(Reason::OperationReused);
    for (operation, kind) in [
        ("p/2", PaymentKind::Refunded),
        ("p/3", PaymentKind::Authorized),
    ] {
        let report = payment(kind, operation, eur(250));
        shop.pay(report.clone()).then([noted(report, other)]);
    }
    assert_eq!(shop.standing().owed_minor(), 0);
}

#[test]
fn a_promise_in_another_currency_keeps_no_order_alive() {
    let mut shop = Shop::new();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(authorized("p/1", eur(250))).accepted();
    // Its failure concerns no payment of the order either.
    shop.pay(failed("p/2", eur(250)))
        .then_types(&["OrderPaymentNoted"]);
    shop.pay(failed("q/1", gbp(250)))
        .then_types(&["OrderPaymentFailed", "OrderCancelled"]);
}

#[test]
fn money_for_an_order_that_nobody_knows_is_recorded_once() {
    let mut shop = Shop::new();
    let unknown = RefundDueReason::UnknownOrder;
    let report = captured("p/1", gbp(250));
    let accepted = shop
        .pay(report.clone())
        .then([due(report.clone(), unknown, 0)]);
    assert_eq!(
        (accepted.version, accepted.data["status"].as_str()),
        (1, Some("unknown"))
    );
    shop.pay(report.clone()).repeats(1, &[1]);
    shop.pay(captured("p/1", gbp(251)))
        .rejected(Reason::OperationReused);
    for kind in [
        PaymentKind::Authorized,
        PaymentKind::Failed,
        PaymentKind::Refunded,
    ] {
        let report = payment(kind, &format!("p/{kind:?}"), gbp(250));
        shop.pay(report.clone()).then([noted(report, unknown)]);
    }
}

#[test]
fn money_that_came_before_the_order_goes_back_without_touching_its_balance() {
    let mut shop = Shop::new();
    shop.pay(captured("p/1", gbp(250))).accepted();
    shop.confirmed(vec![item("B", 1)]);
    let back = payment(PaymentKind::Refunded, "p/2", gbp(250));
    shop.pay(back.clone())
        .then([noted(back.clone(), RefundDueReason::UnknownOrder)]);
    assert_eq!(shop.standing().refunded_minor, 0);
    shop.pay(captured("q/1", gbp(250)))
        .then_types(&["OrderPaymentCaptured", "OrderPaid"]);
    shop.pay(back).repeats(4, &[4]);
    let cancel = Cancel {
        order_id: order_id("o"),
        reference: None,
        note: None,
        occurred_at: None,
    };
    // The shop owes what was paid for the order, and once that is back, nothing.
    shop.when(cancel)
        .then_types(&["OrderCancelled", "OrderRefundDue"]);
    assert_eq!(shop.standing().owed_minor(), 250);
    shop.pay(payment(PaymentKind::Refunded, "q/2", gbp(250)))
        .then_types(&["OrderPaymentRefunded"]);
    assert_eq!(shop.standing().owed_minor(), 0);
}

#[test]
fn a_payment_that_went_on_after_the_order_was_placed_is_on_its_balance() {
    let mut shop = Shop::new();
    shop.pay(captured("p/1", gbp(100))).accepted();
    shop.confirmed(vec![item("B", 1)]);
    shop.pay(captured("p/2", gbp(250))).accepted();
    shop.pay(payment(PaymentKind::Refunded, "p/3", gbp(100)))
        .then_types(&["OrderPaymentRefunded"]);
}

#[test]
fn an_order_that_is_placed_later_goes_on_from_there() {
    let mut shop = Shop::new();
    let early = captured("p/1", gbp(250));
    shop.pay(early.clone()).accepted();
    shop.pay(authorized("p/2", gbp(250))).accepted();
    let accepted = shop
        .cart(vec![item("B", 1)])
        .when(Shop::check_out())
        .accepted();
    assert_eq!(accepted.version, 3);
    shop.held(0);
    // What came before there was an order is due for refund and pays nothing, promises nothing.
    assert_eq!(shop.standing().captured_minor, 0);
    shop.pay(early).repeats(1, &[1]);
    shop.pay(failed("q/1", gbp(250)))
        .then_types(&["OrderPaymentFailed", "OrderCancelled"]);
}
