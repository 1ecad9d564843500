//! Writing the events of a SKU so that a changed shortfall is never left unsaid.

use cartwright_events::inventory::{StockEvent, StockShortfallChanged};
use cartwright_events::{Event, Timestamp};
use serde_json::Value;

use super::stock_item::{Level, StockItem};
use crate::context::{Accepted, Decision};
use crate::facts::Facts;

/// The events of one SKU in one decision, with the level that they lead to.
pub(super) struct Booking {
    facts: Facts<StockEvent>,
    level: Level,
}

impl Booking {
    /// For a SKU as it stands; one that was never seen has nothing.
    pub(super) fn new(sku: &str, item: Option<&StockItem>, now: Timestamp) -> Self {
        Self {
            facts: Facts::new(sku, item.map_or(0, |item| item.version), now),
            level: item.map_or(Level::default(), StockItem::level),
        }
    }

    /// Adds an event that leads to `level` and, where the shortfall changes by it, the event that
    /// says so.
    pub(super) fn push(&mut self, body: impl Into<StockEvent>, level: Level) {
        self.facts.push(body);
        if level.shortfall() != self.level.shortfall() {
            self.facts.push(StockShortfallChanged {
                shortfall: level.shortfall(),
                on_hand: level.on_hand,
                reserved: level.reserved,
            });
        }
        self.level = level;
    }

    /// The events.
    pub(super) fn into_events(self) -> Vec<Event> {
        self.facts.into_events()
    }

    /// As the outcome of a command.
    pub(super) fn answered(self, data: Value) -> (Decision, Accepted) {
        self.facts.answered(Vec::new(), data)
    }
}
