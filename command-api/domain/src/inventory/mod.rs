//! The inventory: what lies in the warehouse and what orders hold of it.
//!
//! For every SKU: on_hand = received + adjusted + restocked − (shipped − unbooked), never negative.
//! Inventory knows no time: it holds for an order until the order tells it otherwise.

pub mod adjust;
mod booking;
pub mod command;
pub mod receive;
mod release;
mod reserve;
mod restock;
mod ship;
pub mod stock_item;

use std::collections::BTreeMap;

use cartwright_events::messages::{ReservationAnswer, ReserveStock};
use cartwright_events::order::Shortage;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Event, EventBody, Message, Reference, Sku, Timestamp};

use crate::context::{Accepted, BoundedContext, Decision, EvolveError, Outgoing};
use crate::facts::{Decided, misfit, nothing, repeat};
use crate::memory::{ENTRY_BYTES, keys_after};
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::InventorySettings;
use command::InventoryCommand;
use stock_item::{Booked, StockItem};

/// The inventory context.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Its settings.
    pub settings: InventorySettings,
}

/// The stock of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InventoryState {
    items: BTreeMap<String, StockItem>,
}

impl InventoryState {
    /// The stock of a SKU; `None` when nothing ever happened to it.
    #[must_use]
    pub fn item(&self, sku: &Sku) -> Option<&StockItem> {
        self.items.get(sku.as_str())
    }
}

impl Inventory {
    fn answer(
        &self,
        request: &ReserveStock,
        held: bool,
        shortages: Vec<Shortage>,
        failure: Option<&str>,
    ) -> ReservationAnswer {
        // All SKUs of a request live in the partition that it was sent to.
        let first = request.items.first().map_or("", |item| item.sku.as_str());
        ReservationAnswer {
            order_id: request.order_id.clone(),
            inventory_partition: partition_of(first, self.settings.inventory_partitions),
            held,
            shortages,
            failure: failure.map(str::to_owned),
        }
    }

    fn send(&self, answer: ReservationAnswer) -> Outgoing {
        let order = answer.order_id.as_str();
        Outgoing {
            partition: partition_of(order, self.settings.checkout_partitions),
            message: answer.into(),
        }
    }
}

impl BoundedContext for Inventory {
    const CONTEXT: Context = Context::Inventory;
    type State = InventoryState;
    type Snapshot = StockItem;
    type Command = InventoryCommand;

    fn key(command: &InventoryCommand) -> &str {
        command.sku().as_str()
    }

    fn decide(
        &self,
        state: &InventoryState,
        command: &InventoryCommand,
        now: Timestamp,
    ) -> Decided {
        let item = state.item(command.sku());
        match command {
            InventoryCommand::ReceiveStock(command) => receive::decide(item, command, now),
            InventoryCommand::AdjustStock(command) => adjust::decide(item, command, now),
        }
    }

    fn version(&self, state: &InventoryState, command: &InventoryCommand) -> u64 {
        state.item(command.sku()).map_or(0, |item| item.version)
    }

    fn receive(&self, state: &InventoryState, message: &Message, now: Timestamp) -> Decision {
        let events = match message {
            Message::ReserveStock(request) => {
                let answer = |held, shortages| self.answer(request, held, shortages, None);
                return reserve::decide(state, request, answer, |answer| self.send(answer), now);
            }
            Message::ReleaseStock(message) => release::decide(state, message, now),
            Message::ShipStock(message) => ship::decide(state, message, now),
            Message::RestockReturn(message) => restock::decide(state, message, now),
            Message::ReservationAnswer(_) | Message::SubmitCommand(_) => return nothing(),
        };
        Decision {
            events,
            messages: Vec::new(),
        }
    }

    /// Only a reservation has somebody who waits for its answer.
    fn give_up(&self, message: &Message, reason: &str) -> Vec<Outgoing> {
        match message {
            Message::ReserveStock(request) => {
                vec![self.send(self.answer(request, false, Vec::new(), Some(reason)))]
            }
            _ => Vec::new(),
        }
    }

    fn evolve(
        &self,
        state: &mut InventoryState,
        event: &Event,
        seq: u64,
    ) -> Result<(), EvolveError> {
        let EventBody::Stock(body) = &event.body else {
            return Err(misfit(event, "it is no event of stock"));
        };
        if let Some(item) = state.items.get_mut(&event.aggregate_id) {
            return item.evolve(event, body, seq);
        }
        let mut item = StockItem::default();
        item.evolve(event, body, seq)?;
        state.items.insert(event.aggregate_id.clone(), item);
        Ok(())
    }

    fn next_due(&self, _: &InventoryState) -> Option<Timestamp> {
        None
    }

    fn on_time(&self, _: &InventoryState, _: Timestamp, _: usize) -> Vec<Decision> {
        Vec::new()
    }

    fn ids_after<'a>(
        &self,
        state: &'a InventoryState,
        after: Option<&str>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a str> + 'a> {
        keys_after(&state.items, after)
    }

    fn count(&self, state: &InventoryState) -> usize {
        state.items.len()
    }

    fn holds(&self, state: &InventoryState, sku: &str) -> bool {
        state.items.contains_key(sku)
    }

    fn size_hint(&self, state: &InventoryState, sku: &str) -> usize {
        let item = state.items.get(sku);
        item.map_or(0, |item| item.size_hint() + ENTRY_BYTES + sku.len())
    }

    fn snapshot(&self, state: &InventoryState, sku: &str) -> Option<StockItem> {
        state.items.get(sku).cloned()
    }

    fn restore(&self, state: &mut InventoryState, sku: &str, item: StockItem) {
        state.items.insert(sku.to_owned(), item);
    }

    fn forget(&self, state: &mut InventoryState, sku: &str) {
        state.items.remove(sku);
    }

    /// The next order can be for any SKU.
    fn is_finished(&self, _: &InventoryState, _: &str) -> bool {
        false
    }

    fn outcome(&self, _: &InventoryState, _: &str) -> Option<Accepted> {
        None
    }
}

/// The answer to a receipt or an adjustment that was booked before.
fn repeat_of(sku: &Sku, booked: &Booked) -> (Decision, Accepted) {
    let data = booked.level.data(sku.as_str());
    let written = &booked.written;
    repeat(
        sku.as_str(),
        written.version,
        StockItem::seqs(written),
        data,
    )
}

/// A reference was used before with other content.
pub(crate) fn reference_reused(field: &str, reference: Option<&Reference>) -> Rejection {
    let reference = reference.map_or("", Reference::as_str);
    let detail = format!("{field} {reference} was used before with other content");
    Rejection::new(Reason::ReferenceReused, detail)
        .field(field)
        .with(field, reference)
}

#[cfg(test)]
mod tests;
