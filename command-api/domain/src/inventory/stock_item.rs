//! The stock of a SKU: its state and how it evolves.

use std::collections::BTreeMap;

use cartwright_events::inventory::StockEvent;
use cartwright_events::{Event, OrderId, Reference, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::EvolveError;
use crate::facts::{misfit, must_be, must_follow};
use crate::memory::{Digest, ENTRY_BYTES, Written};

/// Units on hand and held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Level {
    /// Units that the books say lie in the warehouse; never negative.
    pub on_hand: i64,
    /// Units that orders hold; never negative.
    pub reserved: i64,
}

impl Level {
    /// Units that can be sold: on hand less reserved, never shown below zero.
    #[must_use]
    pub const fn available(self) -> i64 {
        let free = self.on_hand.saturating_sub(self.reserved);
        if free > 0 { free } else { 0 }
    }

    /// Units that are held but not there.
    #[must_use]
    pub const fn shortfall(self) -> i64 {
        let missing = self.reserved.saturating_sub(self.on_hand);
        if missing > 0 { missing } else { 0 }
    }

    /// What a caller is told.
    pub(super) fn data(self, sku: &str) -> Value {
        json!({
            "sku": sku,
            "on_hand": self.on_hand,
            "reserved": self.reserved,
            "available": self.available(),
            "shortfall": self.shortfall(),
        })
    }
}

/// A receipt or an adjustment that was booked under a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Booked {
    pub(super) content: Digest,
    pub(super) written: Written,
    /// The level after it.
    pub(super) level: Level,
}

/// The stock of a SKU as the inventory's writer needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StockItem {
    pub(super) version: u64,
    pub(super) level: Level,
    pub(super) held: BTreeMap<OrderId, i64>,
    pub(super) receipts: BTreeMap<Reference, Booked>,
    pub(super) adjustments: BTreeMap<Reference, Booked>,
}

/// The digest of what came in.
pub(super) fn receipt_content(quantity: i64) -> Digest {
    Digest::new().number(quantity)
}

/// The digest of a correction.
pub(super) fn adjustment_content(delta: i64, reason: &str) -> Digest {
    Digest::new().number(delta).text(reason)
}

impl StockItem {
    /// Units on hand and held.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Bytes that it takes in memory, about.
    pub(super) fn size_hint(&self) -> usize {
        let booked = self.receipts.len() + self.adjustments.len();
        let hold = size_of::<(OrderId, i64)>() + 2 * ENTRY_BYTES;
        let booking = size_of::<(Reference, Booked)>() + 2 * ENTRY_BYTES;
        size_of::<Self>() + self.held.len() * hold + booked * booking
    }

    /// Where earlier events stand.
    pub(super) fn seqs(written: &Written) -> Vec<(Stream, u64)> {
        written.seqs(Stream::Stock)
    }

    /// Units that `order` holds.
    pub(super) fn held_for(&self, order: &OrderId) -> i64 {
        self.held.get(order).copied().unwrap_or(0)
    }

    /// Applies `event`.
    pub(super) fn evolve(
        &mut self,
        event: &Event,
        body: &StockEvent,
        seq: u64,
    ) -> Result<(), EvolveError> {
        must_follow(event, self.version)?;
        let before = self.level;
        let after = self.level_after(event, body)?;
        if after.on_hand < 0 || after.reserved < 0 {
            return Err(misfit(
                event,
                format!("it takes the stock below zero: {after:?}"),
            ));
        }
        self.version = event.version;
        self.level = after;
        self.remember(event, body, before, seq)
    }

    /// The level that `event` results in, computed and compared with what the event carries.
    fn level_after(&self, event: &Event, body: &StockEvent) -> Result<Level, EvolveError> {
        let Level { on_hand, reserved } = self.level;
        let (carried, on_hand, reserved) = match body {
            StockEvent::Received(e) => (
                (e.on_hand, e.reserved),
                on_hand.checked_add(e.quantity),
                Some(reserved),
            ),
            StockEvent::Adjusted(e) => (
                (e.on_hand, e.reserved),
                on_hand.checked_add(e.delta),
                Some(reserved),
            ),
            StockEvent::Reserved(e) => (
                (e.on_hand, e.reserved),
                Some(on_hand),
                reserved.checked_add(e.quantity),
            ),
            StockEvent::ReservationRejected(e) => {
                ((e.on_hand, e.reserved), Some(on_hand), Some(reserved))
            }
            StockEvent::Released(e) => (
                (e.on_hand, e.reserved),
                Some(on_hand),
                reserved.checked_sub(e.quantity),
            ),
            StockEvent::Shipped(e) => {
                let booked = e.quantity.checked_sub(e.unbooked);
                let unheld = e.quantity.min(self.held_for(&e.order_id));
                (
                    (e.on_hand, e.reserved),
                    booked.and_then(|booked| on_hand.checked_sub(booked)),
                    reserved.checked_sub(unheld),
                )
            }
            StockEvent::Restocked(e) => (
                (e.on_hand, e.reserved),
                on_hand.checked_add(e.quantity),
                Some(reserved),
            ),
            StockEvent::ShortfallChanged(e) => {
                must_be(event, "shortfall", e.shortfall, self.level.shortfall())?;
                ((e.on_hand, e.reserved), Some(on_hand), Some(reserved))
            }
        };
        must_be(event, "on_hand", Some(carried.0), on_hand)?;
        must_be(event, "reserved", Some(carried.1), reserved)?;
        Ok(Level {
            on_hand: carried.0,
            reserved: carried.1,
        })
    }

    /// Keeps holds and references.
    fn remember(
        &mut self,
        event: &Event,
        body: &StockEvent,
        before: Level,
        seq: u64,
    ) -> Result<(), EvolveError> {
        match body {
            StockEvent::Received(e) => {
                let booked = self.booked(receipt_content(e.quantity), before, seq);
                remember(event, &mut self.receipts, e.reference.as_ref(), booked)
            }
            StockEvent::Adjusted(e) => {
                let booked = self.booked(adjustment_content(e.delta, &e.reason), before, seq);
                remember(event, &mut self.adjustments, e.reference.as_ref(), booked)
            }
            StockEvent::Reserved(e) => {
                if e.quantity <= 0 || self.held.insert(e.order_id.clone(), e.quantity).is_some() {
                    return Err(misfit(
                        event,
                        "the order holds units already, or asks for none",
                    ));
                }
                Ok(())
            }
            StockEvent::Released(e) => must_be(
                event,
                "quantity",
                Some(e.quantity),
                self.held.remove(&e.order_id),
            ),
            StockEvent::Shipped(e) => {
                let left = self.held_for(&e.order_id).saturating_sub(e.quantity);
                if left > 0 {
                    self.held.insert(e.order_id.clone(), left);
                } else {
                    self.held.remove(&e.order_id);
                }
                Ok(())
            }
            StockEvent::ReservationRejected(_)
            | StockEvent::Restocked(_)
            | StockEvent::ShortfallChanged(_) => Ok(()),
        }
    }

    /// What to remember of the event that was just applied: it and, where it changed the shortfall,
    /// the event that says so and always follows it.
    fn booked(&self, content: Digest, before: Level, seq: u64) -> Booked {
        let mut written = Written::one(self.version, seq);
        if before.shortfall() != self.level.shortfall() {
            written.add(self.version.saturating_add(1), seq.saturating_add(1));
        }
        Booked {
            content,
            written,
            level: self.level,
        }
    }
}

fn remember(
    event: &Event,
    known: &mut BTreeMap<Reference, Booked>,
    reference: Option<&Reference>,
    booked: Booked,
) -> Result<(), EvolveError> {
    let Some(reference) = reference else {
        return Ok(());
    };
    match known.insert(reference.clone(), booked) {
        None => Ok(()),
        Some(_) => Err(misfit(
            event,
            format!("reference {reference} was used before"),
        )),
    }
}
