//! The inventory as it runs in a simulation: the real one, unless a bug is planted in its decisions.

use std::collections::BTreeMap;

use cartwright_domain::{
    Accepted, BoundedContext, Decision, EvolveError, Inventory, InventoryState, Outgoing, Rejection,
};
use cartwright_events::inventory::{ReleaseReason, StockEvent};
use cartwright_events::messages::ReleaseStock;
use cartwright_events::{Context, Event, EventBody, Message, OrderId, Sku, Timestamp};

use crate::bug::Bug;

/// How long the bug lets inventory hold.
const PATIENCE_MS: i64 = 60_000;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct SimInventory {
    pub(crate) inner: Inventory,
    pub(crate) bug: Option<Bug>,
}

/// The real state, and since when what is held.
#[derive(Debug, Default)]
pub(crate) struct SimInventoryState {
    inner: InventoryState,
    held: BTreeMap<(OrderId, Sku), Timestamp>,
}

impl SimInventory {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn remember(&self, state: &mut SimInventoryState, event: &Event) {
        let EventBody::Stock(body) = &event.body else {
            return;
        };
        let Ok(sku) = Sku::new(event.aggregate_id.as_str()) else {
            return;
        };
        match body {
            StockEvent::Reserved(body) => {
                let key = (body.order_id.clone(), sku);
                state.held.insert(key, event.occurred_at);
            }
            StockEvent::Released(body) => drop(state.held.remove(&(body.order_id.clone(), sku))),
            StockEvent::Shipped(body) => drop(state.held.remove(&(body.order_id.clone(), sku))),
            _ => {}
        }
    }
}

impl BoundedContext for SimInventory {
    const CONTEXT: Context = Context::Inventory;
    type State = SimInventoryState;
    type Snapshot = <Inventory as BoundedContext>::Snapshot;
    type Command = <Inventory as BoundedContext>::Command;

    fn key(command: &Self::Command) -> &str {
        Inventory::key(command)
    }

    fn decide(
        &self,
        state: &Self::State,
        command: &Self::Command,
        now: Timestamp,
    ) -> Result<(Decision, Accepted), Rejection> {
        let (mut decision, accepted) = self.inner.decide(&state.inner, command, now)?;
        if self.has(Bug::AcceptWithoutEffect) {
            decision.events.clear();
        }
        Ok((decision, accepted))
    }

    fn version(&self, state: &Self::State, command: &Self::Command) -> u64 {
        self.inner.version(&state.inner, command)
    }

    fn receive(&self, state: &Self::State, message: &Message, now: Timestamp) -> Decision {
        let mut decision = self.inner.receive(&state.inner, message, now);
        if self.has(Bug::ReleaseTwice) && matches!(message, Message::ReleaseStock(_)) {
            let again = decision.events.clone();
            decision.events.extend(again.into_iter().map(|mut event| {
                event.version += 1;
                event
            }));
        }
        if self.has(Bug::YesWithoutStock) {
            for outgoing in &mut decision.messages {
                if let Message::ReservationAnswer(answer) = &mut outgoing.message {
                    answer.held = true;
                    answer.shortages.clear();
                }
            }
        }
        decision
    }

    fn give_up(&self, message: &Message, reason: &str) -> Vec<Outgoing> {
        self.inner.give_up(message, reason)
    }

    fn evolve(&self, state: &mut Self::State, event: &Event, seq: u64) -> Result<(), EvolveError> {
        if self.has(Bug::ExpireAtInventory) {
            self.remember(state, event);
        }
        self.inner.evolve(&mut state.inner, event, seq)
    }

    fn next_due(&self, state: &Self::State) -> Option<Timestamp> {
        let since = state.held.values().min()?;
        Some(since.plus_millis(PATIENCE_MS))
    }

    fn on_time(&self, state: &Self::State, now: Timestamp, most: usize) -> Vec<Decision> {
        let due = state
            .held
            .iter()
            .filter(|(_, since)| since.plus_millis(PATIENCE_MS) <= now);
        due.take(most.min(1))
            .map(|((order_id, sku), _)| {
                let release = Message::ReleaseStock(ReleaseStock {
                    order_id: order_id.clone(),
                    skus: vec![sku.clone()],
                    reason: ReleaseReason::Expired,
                });
                self.inner.receive(&state.inner, &release, now)
            })
            .collect()
    }

    fn ids_after<'a>(
        &self,
        state: &'a Self::State,
        after: Option<&str>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a str> + 'a> {
        self.inner.ids_after(&state.inner, after)
    }

    fn count(&self, state: &Self::State) -> usize {
        self.inner.count(&state.inner)
    }

    fn holds(&self, state: &Self::State, aggregate_id: &str) -> bool {
        self.inner.holds(&state.inner, aggregate_id)
    }

    fn snapshot(&self, state: &Self::State, aggregate_id: &str) -> Option<Self::Snapshot> {
        self.inner.snapshot(&state.inner, aggregate_id)
    }

    fn restore(&self, state: &mut Self::State, aggregate_id: &str, snapshot: Self::Snapshot) {
        self.inner.restore(&mut state.inner, aggregate_id, snapshot);
    }

    fn forget(&self, state: &mut Self::State, aggregate_id: &str) {
        self.inner.forget(&mut state.inner, aggregate_id);
    }

    fn is_finished(&self, state: &Self::State, aggregate_id: &str) -> bool {
        self.inner.is_finished(&state.inner, aggregate_id)
    }

    fn outcome(&self, state: &Self::State, aggregate_id: &str) -> Option<Accepted> {
        self.inner.outcome(&state.inner, aggregate_id)
    }
}
