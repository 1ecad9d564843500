//! What ending an order without a sale comes to: money that came in is owed back.

use cartwright_events::order::{OrderEvent, OrderRefundDue, RefundDueReason};
use cartwright_events::{OrderId, Reference};

use super::state::{Placed, Stage, Standing};
use crate::facts::Facts;

/// Where the order stands once it has ended in `stage`.
pub(super) fn ended(placed: &Placed, stage: Stage) -> Standing {
    Standing {
        stage,
        ..placed.standing
    }
}

/// Says that money is owed back, where more is owed `after` the end than before it. `reference` made
/// it due; the order's own id stands in for one.
pub(super) fn push_refund_due(
    facts: &mut Facts<OrderEvent>,
    order_id: &OrderId,
    placed: &Placed,
    after: &Standing,
    reference: Option<&Reference>,
) {
    let owed = after.owed_minor();
    let amount_minor = owed.saturating_sub(placed.standing.owed_minor());
    if amount_minor > 0 {
        facts.push(OrderRefundDue {
            payment_id: None,
            operation_id: reference
                .cloned()
                .unwrap_or_else(|| order_id.clone().into()),
            amount_minor,
            currency: placed.currency.clone(),
            reason: RefundDueReason::OrderCancelled,
            refund_due_minor: owed,
        });
    }
}
