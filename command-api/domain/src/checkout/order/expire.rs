//! An order that is not paid in time expires.

use cartwright_events::inventory::ReleaseReason;
use cartwright_events::order::{OrderEvent, OrderExpired};
use cartwright_events::{OrderId, Timestamp};

use super::end::{ended, push_refund_due};
use super::messages::release;
use super::state::{Order, Placed, Stage};
use crate::context::Decision;
use crate::facts::Facts;
use crate::settings::CheckoutSettings;

/// Ends an open order whose deadline has passed and lets go of what it holds.
pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    order_id: &OrderId,
    order: &Order,
    placed: &Placed,
    now: Timestamp,
) -> Decision {
    let after = ended(placed, Stage::Expired);
    let mut facts = Facts::<OrderEvent>::new(order_id.as_str(), order.version, now);
    facts.push(OrderExpired {
        payment_deadline: placed.payment_deadline,
        refund_due_minor: after.owed_minor(),
    });
    push_refund_due(&mut facts, order_id, placed, &after, None);
    let count = settings.inventory_partitions;
    facts.silent(release(
        order_id,
        placed,
        count,
        ReleaseReason::Expired,
        |_| true,
    ))
}
