//! An order is called off.

use cartwright_events::inventory::ReleaseReason;
use cartwright_events::order::{CancelReason, OrderCancelled, OrderEvent};
use cartwright_events::{OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};

use super::end::{ended, push_refund_due};
use super::messages::release;
use super::state::{Order, Stage, data};
use super::{not_ended, placed};
use crate::checks;
use crate::facts::{Decided, Facts, repeat};
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// Call off an order of which nothing was shipped. A second time is a repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// The order.
    pub order_id: OrderId,
    /// The caller's reference.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// The caller's words: up to 500 characters.
    #[serde(default)]
    pub note: Option<String>,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}

/// Most characters of a note.
pub const MAX_NOTE_CHARS: usize = 500;

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    order: Option<&Order>,
    command: &Cancel,
    now: Timestamp,
) -> Decided {
    let Cancel {
        order_id,
        reference,
        note,
        occurred_at,
    } = command;
    let at = checks::business_time(*occurred_at, settings.allow_occurred_at, now)?;
    checks::at_most("note", note.as_deref().unwrap_or_default(), MAX_NOTE_CHARS)?;
    let (order, placed) = placed(order, order_id)?;
    let standing = placed.standing;
    if let (Stage::Cancelled, Some(cancelled)) = (standing.stage, &placed.ended) {
        let data = data(order_id, &placed.currency, &standing);
        return Ok(repeat(
            order_id.as_str(),
            cancelled.version,
            Order::seqs(cancelled),
            data,
        ));
    }
    not_ended(order_id, &standing)?;
    if standing.shipped_units > 0 {
        let detail = format!(
            "{} units of order {order_id} have left",
            standing.shipped_units
        );
        return Err(Rejection::new(Reason::OrderAlreadyShipped, detail)
            .with("shipped_units", standing.shipped_units));
    }

    let after = ended(placed, Stage::Cancelled);
    let mut facts = Facts::<OrderEvent>::new(order_id.as_str(), order.version, at);
    facts.push(OrderCancelled {
        reason: CancelReason::Requested,
        reference: reference.clone(),
        note: note.clone(),
        refund_due_minor: after.owed_minor(),
    });
    push_refund_due(&mut facts, order_id, placed, &after, reference.as_ref());
    let count = settings.inventory_partitions;
    let messages = release(order_id, placed, count, ReleaseReason::Cancelled, |_| true);
    Ok(facts.answered(messages, data(order_id, &placed.currency, &after)))
}
