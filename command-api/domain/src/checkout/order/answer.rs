//! Inventory answers: one partition after the other holds its part, or the order is rejected.
//!
//! Partitions are asked in their order, each when the one before has said yes. That two orders for
//! the last units of two SKUs each get one and both fail cannot happen then, and an order needs to
//! remember no answer: which partition says yes tells who is next.

use cartwright_events::Timestamp;
use cartwright_events::inventory::ReleaseReason;
use cartwright_events::messages::ReservationAnswer;
use cartwright_events::order::{
    OrderConfirmed, OrderEvent, OrderPaid, OrderRejected, RejectReason,
};

use super::end::{ended, push_refund_due};
use super::messages::{release, reserve};
use super::state::{Order, Placed, Stage};
use crate::context::Decision;
use crate::facts::{Facts, nothing};
use crate::settings::CheckoutSettings;

/// Decides an answer. An order that is no longer pending was confirmed before or has told inventory
/// to let go, behind the request that is answered here: nothing is left to do.
pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    order: Option<&Order>,
    answer: &ReservationAnswer,
    now: Timestamp,
) -> Decision {
    let Some((order, placed)) = order.and_then(|order| Some((order, order.placed()?))) else {
        return nothing();
    };
    let partitions = placed.partitions(settings.inventory_partitions);
    if placed.standing.stage != Stage::Pending
        || !partitions.contains_key(&answer.inventory_partition)
    {
        return nothing();
    }
    if !answer.held {
        return rejected(settings, order, placed, answer, now);
    }
    let next = partitions
        .range(answer.inventory_partition.saturating_add(1)..)
        .next();
    match next {
        Some((partition, skus)) => Decision {
            events: Vec::new(),
            messages: vec![reserve(&answer.order_id, *partition, skus)],
        },
        None => confirmed(order, placed, answer, now),
    }
}

/// All is held. Money that came in before counts now.
fn confirmed(
    order: &Order,
    placed: &Placed,
    answer: &ReservationAnswer,
    now: Timestamp,
) -> Decision {
    let standing = placed.standing;
    let mut facts = Facts::<OrderEvent>::new(answer.order_id.as_str(), order.version, now);
    facts.push(OrderConfirmed {
        total_minor: standing.total_minor,
        currency: placed.currency.clone(),
        payment_deadline: placed.payment_deadline,
    });
    if standing.captured_minor >= standing.total_minor {
        facts.push(OrderPaid {
            total_minor: standing.total_minor,
            captured_minor: standing.captured_minor,
            currency: placed.currency.clone(),
        });
    }
    facts.silent(Vec::new())
}

/// Something is missing: what the partitions before it hold is released.
fn rejected(
    settings: &CheckoutSettings,
    order: &Order,
    placed: &Placed,
    answer: &ReservationAnswer,
    now: Timestamp,
) -> Decision {
    let order_id = &answer.order_id;
    let mut facts = Facts::<OrderEvent>::new(order_id.as_str(), order.version, now);
    facts.push(OrderRejected {
        reason: match answer.failure {
            Some(_) => RejectReason::InventoryFailed,
            None => RejectReason::OutOfStock,
        },
        shortages: answer.shortages.clone(),
    });
    let after = ended(placed, Stage::Rejected);
    push_refund_due(&mut facts, order_id, placed, &after, None);
    let before_it = |partition| partition < answer.inventory_partition;
    let count = settings.inventory_partitions;
    facts.silent(release(
        order_id,
        placed,
        count,
        ReleaseReason::Rejected,
        before_it,
    ))
}
