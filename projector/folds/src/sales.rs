//! Facts for sales reports.

use std::collections::BTreeMap;

use cartwright_events::order::{OrderCreated, OrderEvent, OrderPaymentRefunded, OrderReturned};
use cartwright_events::{Envelope, Event, EventBody, Sku};
use cartwright_read_model::tables::{
    SALES_LINES, SALES_ORDERS, SALES_ORDERS_1, SALES_REFUND_SHARES, SALES_RETURNED_LINES,
};
use cartwright_read_model::{RowOp, Table, Value};

use crate::outcome::Outcome;

/// Order events to facts: the order with its lines, when it was paid and when all of it had left,
/// shares of refunds, returned lines.
pub(crate) fn fold(_: &Envelope, event: &Event) -> Outcome {
    match &event.body {
        EventBody::Order(OrderEvent::Shipped(shipped)) if shipped.fully_shipped => {
            happened_at(&SALES_ORDERS, event, "shipped_at")
        }
        _ => facts(&SALES_ORDERS, event),
    }
}

/// Version 1, which knew nothing of shipments.
pub(crate) fn fold_1(_: &Envelope, event: &Event) -> Outcome {
    facts(&SALES_ORDERS_1, event)
}

/// Says in `column` of the order's row when the event happened.
fn happened_at(orders: &'static Table, event: &Event, column: &'static str) -> Outcome {
    Outcome::emit(vec![RowOp::upsert(
        orders,
        [event.aggregate_id.as_str().into()],
        [(column, event.occurred_at.into())],
    )])
}

/// What both versions make of an event.
fn facts(orders: &'static Table, event: &Event) -> Outcome {
    let EventBody::Order(order) = &event.body else {
        return Outcome::wrong_stream(event.body.type_name());
    };
    match order {
        OrderEvent::Created(created) => created_ops(orders, event, created),
        OrderEvent::Paid(_) => happened_at(orders, event, "paid_at"),
        OrderEvent::PaymentRefunded(refunded) => refunded_ops(event, refunded),
        OrderEvent::Returned(returned) => returned_ops(event, returned),
        OrderEvent::Confirmed(_)
        | OrderEvent::Rejected(_)
        | OrderEvent::PaymentAuthorized(_)
        | OrderEvent::PaymentCaptured(_)
        | OrderEvent::PaymentFailed(_)
        | OrderEvent::RefundDue(_)
        | OrderEvent::PaymentNoted(_)
        | OrderEvent::Shipped(_)
        | OrderEvent::Cancelled(_)
        | OrderEvent::Expired(_) => Outcome::Drop("changes no sale"),
    }
}

fn created_ops(orders: &'static Table, event: &Event, created: &OrderCreated) -> Outcome {
    let order_id = Value::from(event.aggregate_id.as_str());
    let mut ops = Vec::with_capacity(1 + created.lines.len());
    ops.push(RowOp::upsert(
        orders,
        [order_id.clone()],
        [
            ("customer_id", created.customer_id.as_ref().into()),
            ("country", created.ship_to_country.as_ref().into()),
            ("currency", (&created.currency).into()),
            ("occurred_at", event.occurred_at.into()),
            ("units", created.units.into()),
            ("total_minor", created.total_minor.into()),
        ],
    ));
    ops.extend(created.lines.iter().map(|line| {
        RowOp::upsert(
            &SALES_LINES,
            [order_id.clone(), line.line.into()],
            [
                ("sku", (&line.sku).into()),
                ("quantity", line.quantity.into()),
                ("charge_minor", line.line_total_minor.into()),
            ],
        )
    }));
    Outcome::emit(ops)
}

/// A refund names a line twice when it settles two returns of it: one row a line, with the sum.
fn refunded_ops(event: &Event, refunded: &OrderPaymentRefunded) -> Outcome {
    let shares = refunded.shares.iter();
    let sums = sum_by_line(shares.map(|share| (share.line, &share.sku, [share.amount_minor])));
    let sums = match sums {
        Ok(sums) => sums,
        Err(reason) => return Outcome::Reject(reason),
    };
    let ops = sums.into_iter().map(|(line, (sku, [amount_minor]))| {
        RowOp::upsert(
            &SALES_REFUND_SHARES,
            [
                event.aggregate_id.as_str().into(),
                (&refunded.payment_id).into(),
                (&refunded.operation_id).into(),
                line.into(),
            ],
            [
                ("sku", sku.into()),
                ("country", refunded.ship_to_country.as_ref().into()),
                ("currency", (&refunded.currency).into()),
                ("occurred_at", event.occurred_at.into()),
                ("amount_minor", amount_minor.into()),
            ],
        )
    });
    Outcome::emit(ops.collect())
}

fn returned_ops(event: &Event, returned: &OrderReturned) -> Outcome {
    let lines = returned.lines.iter();
    let sums = sum_by_line(lines.map(|of| (of.line, &of.sku, [of.quantity, of.charge_minor])));
    let sums = match sums {
        Ok(sums) => sums,
        Err(reason) => return Outcome::Reject(reason),
    };
    let ops = sums
        .into_iter()
        .map(|(line, (sku, [quantity, charge_minor]))| {
            RowOp::upsert(
                &SALES_RETURNED_LINES,
                [
                    event.aggregate_id.as_str().into(),
                    (&returned.return_id).into(),
                    line.into(),
                ],
                [
                    ("sku", sku.into()),
                    ("country", returned.ship_to_country.as_ref().into()),
                    ("currency", (&returned.currency).into()),
                    ("occurred_at", event.occurred_at.into()),
                    ("quantity", quantity.into()),
                    ("charge_minor", charge_minor.into()),
                ],
            )
        });
    Outcome::emit(ops.collect())
}

/// Adds up what is said about each line.
fn sum_by_line<'a, const N: usize>(
    parts: impl Iterator<Item = (u32, &'a Sku, [i64; N])>,
) -> Result<BTreeMap<u32, (&'a Sku, [i64; N])>, String> {
    let mut sums: BTreeMap<u32, (&Sku, [i64; N])> = BTreeMap::new();
    for (line, sku, amounts) in parts {
        let (first_sku, sum) = sums.entry(line).or_insert((sku, [0; N]));
        if *first_sku != sku {
            return Err(format!("line {line} is {first_sku} and {sku}"));
        }
        for (total, amount) in sum.iter_mut().zip(amounts) {
            *total = total
                .checked_add(amount)
                .ok_or_else(|| format!("the amounts of line {line} overflow"))?;
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_twice_about_a_line_adds_up() {
        let cup = Sku::new("cup").unwrap();
        let sums = sum_by_line([(1, &cup, [3]), (2, &cup, [4]), (1, &cup, [5])].into_iter());
        let sums: Vec<_> = sums.unwrap().into_iter().collect();
        assert_eq!(sums, [(1, (&cup, [8])), (2, (&cup, [4]))]);
    }

    #[test]
    fn a_sum_that_overflows_and_a_line_with_two_products_are_refused() {
        let (cup, hat) = (Sku::new("cup").unwrap(), Sku::new("hat").unwrap());
        assert!(sum_by_line([(1, &cup, [i64::MAX]), (1, &cup, [1])].into_iter()).is_err());
        assert!(sum_by_line([(1, &cup, [1]), (1, &hat, [1])].into_iter()).is_err());
    }
}
