//! Orders by id and by customer.

use cartwright_events::order::{OrderCreated, OrderEvent, OrderRefundDue, PaymentKind};
use cartwright_events::{Currency, Envelope, Event, EventBody, Reference};
use cartwright_read_model::rows::stage;
use cartwright_read_model::tables::{
    ORDER_DUES, ORDER_DUES_1, ORDER_PAYMENTS, ORDER_RETURNS, ORDER_SHIPMENTS, ORDERS,
    ORDERS_BY_CUSTOMER,
};
use cartwright_read_model::{RowOp, Value};

use crate::json;
use crate::outcome::Outcome;

type Cells = Vec<(&'static str, Value)>;

/// Order events to the order's row, the customer's list, and a row for each payment operation,
/// shipment, return and refund due.
pub(crate) fn fold(_: &Envelope, event: &Event) -> Outcome {
    facts(event, due_op)
}

/// Version 1, which did not hold dues of two payments apart.
pub(crate) fn fold_1(_: &Envelope, event: &Event) -> Outcome {
    facts(event, due_op_1)
}

/// What both versions make of an event; `due_op` makes the row of a refund due.
fn facts(event: &Event, due_op: fn(&Event, &OrderRefundDue) -> RowOp) -> Outcome {
    let EventBody::Order(order) = &event.body else {
        return Outcome::wrong_stream(event.body.type_name());
    };
    let mut cells: Cells = vec![
        ("version", event.version.into()),
        ("updated_at", event.occurred_at.into()),
    ];
    cells.extend(order_cells(event, order));
    let key = [event.aggregate_id.as_str().into()];
    let mut ops = vec![RowOp::upsert(&ORDERS, key, cells)];
    ops.extend(match order {
        OrderEvent::RefundDue(due) => Some(due_op(event, due)),
        _ => part_op(event, order),
    });
    Outcome::emit(ops)
}

/// What the event says about the order as a whole. Sums are left to the events that carry them: an
/// order may have been owed money before it was made.
fn order_cells(event: &Event, order: &OrderEvent) -> Cells {
    match order {
        OrderEvent::Created(created) => created_cells(event, created),
        OrderEvent::Confirmed(confirmed) => vec![
            ("stage", stage::CONFIRMED.into()),
            ("payment_deadline", confirmed.payment_deadline.into()),
        ],
        OrderEvent::Rejected(rejected) => vec![
            ("stage", stage::REJECTED.into()),
            ("reason", rejected.reason.as_str().into()),
            ("shortages", json::cell(&rejected.shortages)),
        ],
        OrderEvent::PaymentAuthorized(authorized) => {
            vec![("payment_deadline", authorized.payment_deadline.into())]
        }
        OrderEvent::PaymentCaptured(captured) => {
            vec![("captured_minor", captured.captured_minor.into())]
        }
        OrderEvent::Paid(paid) => vec![
            ("paid_at", event.occurred_at.into()),
            ("captured_minor", paid.captured_minor.into()),
        ],
        OrderEvent::PaymentFailed(_) | OrderEvent::PaymentNoted(_) => vec![],
        OrderEvent::PaymentRefunded(refunded) => vec![
            ("refunded_minor", refunded.refunded_minor.into()),
            ("refund_due_minor", refunded.refund_due_minor.into()),
        ],
        OrderEvent::RefundDue(due) => vec![("refund_due_minor", due.refund_due_minor.into())],
        OrderEvent::Shipped(shipped) => vec![
            ("shipped_units", shipped.shipped_units.into()),
            ("fully_shipped", shipped.fully_shipped.into()),
        ],
        OrderEvent::Returned(returned) => vec![
            ("returned_units", returned.returned_units.into()),
            ("refund_due_minor", returned.refund_due_minor.into()),
        ],
        OrderEvent::Cancelled(cancelled) => vec![
            ("stage", stage::CANCELLED.into()),
            ("reason", cancelled.reason.as_str().into()),
            ("refund_due_minor", cancelled.refund_due_minor.into()),
        ],
        OrderEvent::Expired(expired) => vec![
            ("stage", stage::EXPIRED.into()),
            ("refund_due_minor", expired.refund_due_minor.into()),
        ],
    }
}

fn created_cells(event: &Event, created: &OrderCreated) -> Cells {
    vec![
        ("cart_id", (&created.cart_id).into()),
        ("customer_id", created.customer_id.as_ref().into()),
        ("currency", (&created.currency).into()),
        ("ship_to_country", created.ship_to_country.as_ref().into()),
        (
            "external_reference",
            created.external_reference.as_ref().into(),
        ),
        ("lines", json::cell(&created.lines)),
        ("units", created.units.into()),
        ("total_minor", created.total_minor.into()),
        ("payment_deadline", created.payment_deadline.into()),
        ("stage", stage::CREATED.into()),
        ("created_at", event.occurred_at.into()),
    ]
}

/// The row of its own that the event makes beside the order's.
fn part_op(event: &Event, order: &OrderEvent) -> Option<RowOp> {
    match order {
        OrderEvent::Created(created) => customer_op(event, created),
        OrderEvent::PaymentAuthorized(of) => Some(payment_op(
            event,
            PaymentKind::Authorized,
            (&of.payment_id, &of.operation_id),
            (of.amount_minor, &of.currency),
            None,
        )),
        OrderEvent::PaymentCaptured(of) => Some(payment_op(
            event,
            PaymentKind::Captured,
            (&of.payment_id, &of.operation_id),
            (of.amount_minor, &of.currency),
            None,
        )),
        OrderEvent::PaymentFailed(of) => Some(payment_op(
            event,
            PaymentKind::Failed,
            (&of.payment_id, &of.operation_id),
            (of.amount_minor, &of.currency),
            None,
        )),
        OrderEvent::PaymentRefunded(of) => Some(payment_op(
            event,
            PaymentKind::Refunded,
            (&of.payment_id, &of.operation_id),
            (of.amount_minor, &of.currency),
            None,
        )),
        OrderEvent::PaymentNoted(of) => Some(payment_op(
            event,
            of.kind,
            (&of.payment_id, &of.operation_id),
            (of.amount_minor, &of.currency),
            Some(of.reason.as_str()),
        )),
        OrderEvent::Shipped(shipped) => Some(RowOp::upsert(
            &ORDER_SHIPMENTS,
            [
                event.aggregate_id.as_str().into(),
                (&shipped.shipment_id).into(),
            ],
            [
                ("lines", json::cell(&shipped.lines)),
                ("occurred_at", event.occurred_at.into()),
            ],
        )),
        OrderEvent::Returned(returned) => Some(RowOp::upsert(
            &ORDER_RETURNS,
            [
                event.aggregate_id.as_str().into(),
                (&returned.return_id).into(),
            ],
            [
                ("lines", json::cell(&returned.lines)),
                ("charge_minor", returned.charge_minor.into()),
                ("currency", (&returned.currency).into()),
                ("restock", returned.restock.into()),
                ("occurred_at", event.occurred_at.into()),
            ],
        )),
        OrderEvent::Confirmed(_)
        | OrderEvent::Rejected(_)
        | OrderEvent::Paid(_)
        | OrderEvent::RefundDue(_)
        | OrderEvent::Cancelled(_)
        | OrderEvent::Expired(_) => None,
    }
}

/// A guest's order is in nobody's list.
fn customer_op(event: &Event, created: &OrderCreated) -> Option<RowOp> {
    let customer = created.customer_id.as_ref()?;
    Some(RowOp::upsert(
        &ORDERS_BY_CUSTOMER,
        [
            customer.into(),
            event.occurred_at.into(),
            event.aggregate_id.as_str().into(),
        ],
        [
            ("currency", (&created.currency).into()),
            ("ship_to_country", created.ship_to_country.as_ref().into()),
            (
                "external_reference",
                created.external_reference.as_ref().into(),
            ),
            ("units", created.units.into()),
            ("total_minor", created.total_minor.into()),
        ],
    ))
}

fn payment_op(
    event: &Event,
    kind: PaymentKind,
    (payment_id, operation_id): (&Reference, &Reference),
    (amount_minor, currency): (i64, &Currency),
    note: Option<&str>,
) -> RowOp {
    RowOp::upsert(
        &ORDER_PAYMENTS,
        [
            event.aggregate_id.as_str().into(),
            payment_id.into(),
            operation_id.into(),
        ],
        [
            ("kind", kind.as_str().into()),
            ("amount_minor", amount_minor.into()),
            ("currency", currency.into()),
            ("note", note.into()),
            ("occurred_at", event.occurred_at.into()),
        ],
    )
}

fn due_op(event: &Event, due: &OrderRefundDue) -> RowOp {
    RowOp::upsert(
        &ORDER_DUES,
        [event.aggregate_id.as_str().into(), event.version.into()],
        [
            ("operation_id", (&due.operation_id).into()),
            ("reason", due.reason.as_str().into()),
            ("payment_id", due.payment_id.as_ref().into()),
            ("amount_minor", due.amount_minor.into()),
            ("currency", (&due.currency).into()),
            ("occurred_at", event.occurred_at.into()),
        ],
    )
}

fn due_op_1(event: &Event, due: &OrderRefundDue) -> RowOp {
    RowOp::upsert(
        &ORDER_DUES_1,
        [
            event.aggregate_id.as_str().into(),
            (&due.operation_id).into(),
            due.reason.as_str().into(),
        ],
        [
            ("payment_id", due.payment_id.as_ref().into()),
            ("amount_minor", due.amount_minor.into()),
            ("currency", (&due.currency).into()),
            ("occurred_at", event.occurred_at.into()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cartwright_events::Timestamp;
    use cartwright_events::order::RefundDueReason;

    use super::*;

    /// Providers number the operations of each payment anew.
    #[test]
    fn dues_of_two_payments_whose_operations_have_one_id_are_two_rows() {
        let due = |version, payment: &str| Event {
            aggregate_id: "o-1".to_owned(),
            version,
            occurred_at: Timestamp::EPOCH,
            body: EventBody::Order(OrderEvent::RefundDue(OrderRefundDue {
                payment_id: Some(Reference::new(payment).unwrap()),
                operation_id: Reference::new("capture").unwrap(),
                amount_minor: 300,
                currency: Currency::new("EUR").unwrap(),
                reason: RefundDueReason::Excess,
                refund_due_minor: 300,
            })),
        };
        let rows = |due_op: fn(&Event, &OrderRefundDue) -> RowOp| {
            let ops = [due(3, "p"), due(4, "q")].map(|event| facts(&event, due_op));
            let ops = ops.into_iter().flat_map(|outcome| match outcome {
                Outcome::Emit(ops) => ops,
                other => panic!("{other:?}"),
            });
            let dues = ops.filter(|op| op.table().name != ORDERS.name);
            dues.map(|op| format!("{:?}", op.key()))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(rows(due_op).len(), 2);
        assert_eq!(rows(due_op_1).len(), 1, "as it was");
    }
}
