//! Goods come in.

use cartwright_events::inventory::StockReceived;
use cartwright_events::{Reference, Sku, Timestamp};
use serde::{Deserialize, Serialize};

use super::booking::Booking;
use super::stock_item::{Level, StockItem, receipt_content};
use super::{reference_reused, repeat_of};
use crate::checks;
use crate::facts::Decided;

/// Book goods that came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveStock {
    /// What came in.
    pub sku: Sku,
    /// Units; above zero.
    pub quantity: i64,
    /// The delivery's reference, remembered for ever among the SKU's receipts: with it a retry is
    /// safe for ever, without it every call is a delivery of its own. The edge makes one from the
    /// caller's idempotency key where the caller gives none.
    #[serde(default)]
    pub reference: Option<Reference>,
}

pub(super) fn decide(item: Option<&StockItem>, command: &ReceiveStock, now: Timestamp) -> Decided {
    let ReceiveStock {
        sku,
        quantity,
        reference,
    } = command;
    checks::quantity("quantity", *quantity, i64::MAX)?;

    let booked = reference
        .as_ref()
        .and_then(|reference| item?.receipts.get(reference));
    if let Some(booked) = booked {
        return if booked.content == receipt_content(*quantity) {
            Ok(repeat_of(sku, booked))
        } else {
            Err(reference_reused("reference", reference.as_ref()))
        };
    }
    let before = item.map_or(Level::default(), StockItem::level);
    let level = Level {
        on_hand: checks::in_range("quantity", before.on_hand.checked_add(*quantity))?,
        reserved: before.reserved,
    };
    let mut booking = Booking::new(sku.as_str(), item, now);
    let body = StockReceived {
        quantity: *quantity,
        reference: reference.clone(),
        on_hand: level.on_hand,
        reserved: level.reserved,
    };
    booking.push(body, level);
    Ok(booking.answered(level.data(sku.as_str())))
}
