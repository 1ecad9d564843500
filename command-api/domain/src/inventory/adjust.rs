//! The books are corrected.

use cartwright_events::inventory::StockAdjusted;
use cartwright_events::{Reference, Sku, Timestamp};
use serde::{Deserialize, Serialize};

use super::booking::Booking;
use super::stock_item::{Level, StockItem, adjustment_content};
use super::{reference_reused, repeat_of};
use crate::checks;
use crate::facts::Decided;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Correct the books to what a count found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    /// What was counted.
    pub sku: Sku,
    /// Units to add or (negative) to take off; not zero. On hand cannot go below zero.
    pub delta: i64,
    /// Why, in the shop's words: 1 to 200 characters, not blank.
    pub reason: String,
    /// The correction's reference, remembered for ever among the SKU's adjustments. The edge makes
    /// one from the caller's idempotency key where the caller gives none.
    #[serde(default)]
    pub reference: Option<Reference>,
}

/// Most characters of a reason.
pub const MAX_REASON_CHARS: usize = 200;

pub(super) fn decide(item: Option<&StockItem>, command: &AdjustStock, now: Timestamp) -> Decided {
    let AdjustStock {
        sku,
        delta,
        reason,
        reference,
    } = command;
    checks::text("reason", reason, MAX_REASON_CHARS)?;
    if *delta == 0 {
        let detail = "delta must not be zero";
        return Err(Rejection::new(Reason::QuantityOutOfRange, detail).field("delta"));
    }

    let booked = reference
        .as_ref()
        .and_then(|reference| item?.adjustments.get(reference));
    if let Some(booked) = booked {
        return if booked.content == adjustment_content(*delta, reason) {
            Ok(repeat_of(sku, booked))
        } else {
            Err(reference_reused("reference", reference.as_ref()))
        };
    }
    let before = item.map_or(Level::default(), StockItem::level);
    let on_hand = checks::in_range("delta", before.on_hand.checked_add(*delta))?;
    if on_hand < 0 {
        let detail = format!(
            "{} units of {sku} are on hand, {delta} cannot be booked",
            before.on_hand
        );
        return Err(Rejection::new(Reason::StockBelowZero, detail)
            .field("delta")
            .with("on_hand", before.on_hand));
    }
    let level = Level {
        on_hand,
        reserved: before.reserved,
    };
    let mut booking = Booking::new(sku.as_str(), item, now);
    let body = StockAdjusted {
        delta: *delta,
        reason: reason.clone(),
        reference: reference.clone(),
        on_hand: level.on_hand,
        reserved: level.reserved,
    };
    booking.push(body, level);
    Ok(booking.answered(level.data(sku.as_str())))
}
