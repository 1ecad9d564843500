//! Stock, folded from inventory's events.

use std::collections::{BTreeMap, HashMap};

use cartwright_events::inventory::StockEvent;

use crate::audit::Audit;

/// A SKU's books.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockEntry {
    /// Units on hand.
    pub on_hand: i64,
    /// Units held, by order.
    pub holds: BTreeMap<String, i64>,
    /// Units that came in: received, put back, corrected.
    pub came_in: i64,
    /// Units that left and were on the books.
    pub left: i64,
}

impl StockEntry {
    /// Units held for all orders.
    #[must_use]
    pub fn reserved(&self) -> i64 {
        self.holds.values().sum()
    }
}

/// All SKUs, and what inventory has to keep.
#[derive(Debug, Default)]
pub struct StockLedger {
    skus: BTreeMap<String, StockEntry>,
    held: HashMap<String, i64>,
    shipped: HashMap<String, i64>,
    /// What came in less what left is on hand, in every event.
    pub conserved: Audit,
    /// Units on hand are never negative.
    pub never_negative: Audit,
    /// Reserved is the sum of open holds, in every event.
    pub reserved_is_holds: Audit,
    /// Nothing is reserved that was not available.
    pub never_oversold: Audit,
}

impl StockLedger {
    /// The SKU's books.
    #[must_use]
    pub fn sku(&self, sku: &str) -> Option<&StockEntry> {
        self.skus.get(sku)
    }

    /// All SKUs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.skus.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.skus.is_empty()
    }

    /// Units that are held for an order.
    #[must_use]
    pub fn held_for(&self, order_id: &str) -> i64 {
        self.held.get(order_id).copied().unwrap_or_default()
    }

    /// Units that left for an order.
    #[must_use]
    pub fn shipped_for(&self, order_id: &str) -> i64 {
        self.shipped.get(order_id).copied().unwrap_or_default()
    }

    /// Takes an event of a SKU.
    pub fn take(&mut self, sku: &str, event: &StockEvent) {
        let entry = self.skus.entry(sku.to_owned()).or_default();
        let before = entry.clone();
        let held = |order_id: &str| before.holds.get(order_id).copied().unwrap_or_default();
        let said = match event {
            StockEvent::Received(body) => {
                entry.on_hand += body.quantity;
                entry.came_in += body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::Adjusted(body) => {
                entry.on_hand += body.delta;
                entry.came_in += body.delta;
                (body.on_hand, body.reserved)
            }
            StockEvent::Restocked(body) => {
                entry.on_hand += body.quantity;
                entry.came_in += body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::Reserved(body) => {
                let available = before.on_hand - before.reserved();
                self.never_oversold.check(body.quantity <= available, || {
                    format!(
                        "{sku}: {} reserved of {available} for {}",
                        body.quantity, body.order_id
                    )
                });
                *entry.holds.entry(body.order_id.to_string()).or_default() += body.quantity;
                *self.held.entry(body.order_id.to_string()).or_default() += body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::ReservationRejected(body) => {
                let available = (before.on_hand - before.reserved()).max(0);
                self.never_oversold.check(body.quantity > available, || {
                    format!("{sku}: {} refused of {available}", body.quantity)
                });
                (body.on_hand, body.reserved)
            }
            StockEvent::Released(body) => {
                let order_id = body.order_id.as_str();
                self.reserved_is_holds
                    .check(held(order_id) >= body.quantity, || {
                        format!(
                            "{sku}: {} released for {order_id}, {} held",
                            body.quantity,
                            held(order_id)
                        )
                    });
                entry.let_go(order_id, body.quantity);
                *self.held.entry(order_id.to_owned()).or_default() -= body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::Shipped(body) => {
                let order_id = body.order_id.as_str();
                self.reserved_is_holds
                    .check(held(order_id) >= body.quantity, || {
                        format!(
                            "{sku}: {} shipped for {order_id}, {} held",
                            body.quantity,
                            held(order_id)
                        )
                    });
                entry.let_go(order_id, body.quantity);
                entry.on_hand -= body.quantity - body.unbooked;
                entry.left += body.quantity - body.unbooked;
                *self.held.entry(order_id.to_owned()).or_default() -= body.quantity;
                *self.shipped.entry(order_id.to_owned()).or_default() += body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::ShortfallChanged(body) => (body.on_hand, body.reserved),
        };
        let entry = &*entry;
        self.conserved.check(
            entry.on_hand == said.0 && entry.came_in - entry.left == said.0,
            || {
                let StockEntry {
                    on_hand,
                    came_in,
                    left,
                    ..
                } = entry;
                format!(
                    "{sku}: {} on hand by the event, {on_hand} by its past ({came_in} − {left})",
                    said.0
                )
            },
        );
        self.never_negative
            .check(said.0 >= 0, || format!("{sku}: {} on hand", said.0));
        self.reserved_is_holds
            .check(entry.reserved() == said.1, || {
                format!(
                    "{sku}: {} reserved by the event, {} held",
                    said.1,
                    entry.reserved()
                )
            });
    }
}

impl StockEntry {
    fn let_go(&mut self, order_id: &str, quantity: i64) {
        if let Some(held) = self.holds.get_mut(order_id) {
            *held -= quantity;
            if *held == 0 {
                self.holds.remove(order_id);
            }
        }
    }
}
