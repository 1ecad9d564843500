//! The checkout: carts, and the orders that come from them.

pub mod cart;
pub mod command;
pub mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cartwright_events::cart::CartEvent;
use cartwright_events::order::OrderEvent;
use cartwright_events::{Context, Event, EventBody, Message, OrderId, PositionToken, Timestamp};

use crate::context::{
    Accepted, BoundedContext, Decision, EvolveError, Outgoing, Prices, Readiness,
};
use crate::facts::{Decided, misfit, nothing};
use crate::memory::{ENTRY_BYTES, keys_after};
use crate::settings::CheckoutSettings;
use cart::state::Cart;
use command::CheckoutCommand;
use order::state::{Order, Placed};
use serde::{Deserialize, Serialize};

/// The checkout context.
#[derive(Clone)]
pub struct Checkout {
    /// Its settings.
    pub settings: CheckoutSettings,
    prices: Arc<dyn Prices>,
}

/// What a timer is for, by the aggregate's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A cart is idle.
    Cart(String),
    /// An order is not paid.
    Order(String),
}

/// A cart and what became of it: an order has the id of its cart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CartAndOrder {
    cart: Option<Cart>,
    order: Option<Order>,
}

impl CartAndOrder {
    /// Bytes that both take in memory, about.
    fn size_hint(&self) -> usize {
        size_of::<Self>()
            + self.cart.as_ref().map_or(0, Cart::lines_size_hint)
            + self.order.as_ref().map_or(0, Order::parts_size_hint)
    }

    /// Neither changes but by a caller's command. So it is with money for an order that nobody knows,
    /// which would fill the memory for good otherwise.
    fn is_finished(&self) -> bool {
        let cart_is_closed = self.cart.as_ref().is_none_or(|cart| !cart.is_open());
        let placed = self.order.as_ref().and_then(Order::placed);
        cart_is_closed && placed.is_none_or(Placed::is_finished)
    }
}

/// The carts and orders of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckoutState {
    by_id: BTreeMap<String, CartAndOrder>,
    timers: BTreeSet<(Timestamp, Timer)>,
}

impl CheckoutState {
    /// The cart of that id.
    #[must_use]
    pub fn cart(&self, id: &str) -> Option<&Cart> {
        self.by_id.get(id)?.cart.as_ref()
    }

    /// All that is known under that order id.
    #[must_use]
    pub fn order(&self, id: &str) -> Option<&Order> {
        self.by_id.get(id)?.order.as_ref()
    }

    /// Moves an aggregate's timer.
    fn set_timer(&mut self, timer: Timer, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        let timer = match before {
            Some(before) => {
                let entry = (before, timer);
                self.timers.remove(&entry);
                entry.1
            }
            None => timer,
        };
        if let Some(after) = after {
            self.timers.insert((after, timer));
        }
    }
}

impl Checkout {
    /// With its settings and the process's price table.
    #[must_use]
    pub fn new(settings: CheckoutSettings, prices: Arc<dyn Prices>) -> Self {
        Self { settings, prices }
    }

    fn evolve_cart(
        &self,
        state: &mut CheckoutState,
        event: &Event,
        body: &CartEvent,
        seq: u64,
    ) -> Result<(), EvolveError> {
        let idle_ms = self.settings.cart_idle_ms;
        let id = &event.aggregate_id;
        let slot = &mut state.by_id.entry(id.clone()).or_default().cart;
        let before = slot
            .as_ref()
            .and_then(|cart| cart::abandon::due(cart, idle_ms));
        let after = match slot {
            Some(cart) => {
                cart.evolve(event, body, seq)?;
                cart::abandon::due(cart, idle_ms)
            }
            None => cart::abandon::due(slot.insert(Cart::open(event, body, seq)?), idle_ms),
        };
        state.set_timer(Timer::Cart(id.clone()), before, after);
        Ok(())
    }

    fn evolve_order(
        &self,
        state: &mut CheckoutState,
        event: &Event,
        body: &OrderEvent,
        seq: u64,
    ) -> Result<(), EvolveError> {
        let id = &event.aggregate_id;
        let slot = &mut state.by_id.entry(id.clone()).or_default().order;
        let order = slot.get_or_insert_default();
        let before = order.payment_due();
        order.evolve(event, body, seq)?;
        let after = order.payment_due();
        state.set_timer(Timer::Order(id.clone()), before, after);
        Ok(())
    }

    /// When each timer of a cart and its order is due.
    fn timers(&self, id: &str, known: &CartAndOrder) -> [(Timer, Option<Timestamp>); 2] {
        let idle_ms = self.settings.cart_idle_ms;
        let cart = known.cart.as_ref();
        let cart_due = cart.and_then(|cart| cart::abandon::due(cart, idle_ms));
        let order_due = known.order.as_ref().and_then(Order::payment_due);
        [
            (Timer::Cart(id.to_owned()), cart_due),
            (Timer::Order(id.to_owned()), order_due),
        ]
    }

    fn decide_timer(
        &self,
        state: &CheckoutState,
        timer: &Timer,
        now: Timestamp,
    ) -> Option<Decision> {
        match timer {
            Timer::Cart(id) => Some(cart::abandon::decide(state.cart(id)?, id, now)),
            Timer::Order(id) => {
                let order = state.order(id)?;
                let order_id = OrderId::new(id.as_str()).ok()?;
                let placed = order.placed()?;
                Some(order::expire::decide(
                    &self.settings,
                    &order_id,
                    order,
                    placed,
                    now,
                ))
            }
        }
    }
}

impl BoundedContext for Checkout {
    const CONTEXT: Context = Context::Checkout;
    type State = CheckoutState;
    type Snapshot = CartAndOrder;
    type Command = CheckoutCommand;

    fn key(command: &CheckoutCommand) -> &str {
        command.id()
    }

    fn decide(&self, state: &CheckoutState, command: &CheckoutCommand, now: Timestamp) -> Decided {
        use CheckoutCommand as C;
        let (settings, prices) = (&self.settings, self.prices.as_ref());
        let cart = state.cart(command.id());
        let order = state.order(command.id());
        match command {
            C::CreateCart(command) => cart::create::decide(settings, prices, cart, command, now),
            C::AddItem(command) => cart::add_item::decide(settings, prices, cart, command, now),
            C::ChangeItem(command) => cart::change_item::decide(settings, cart, command, now),
            C::RemoveItem(command) => cart::remove_item::decide(cart, command, now),
            C::CheckOut(command) => {
                cart::check_out::decide(settings, prices, cart, order, command, now)
            }
            C::Pay(command) => order::pay::decide(settings, order, command, now),
            C::Ship(command) => order::ship::decide(settings, order, command, now),
            C::Return(command) => order::return_goods::decide(settings, order, command, now),
            C::Cancel(command) => order::cancel::decide(settings, order, command, now),
        }
    }

    fn readiness(&self, command: &CheckoutCommand, after: Option<&PositionToken>) -> Readiness {
        match command.needs_prices() {
            true => self.prices.readiness(after),
            false => Readiness::Ready,
        }
    }

    fn version(&self, state: &CheckoutState, command: &CheckoutCommand) -> u64 {
        use CheckoutCommand as C;
        match command {
            C::CreateCart(_)
            | C::AddItem(_)
            | C::ChangeItem(_)
            | C::RemoveItem(_)
            | C::CheckOut(_) => state.cart(command.id()).map_or(0, |cart| cart.version),
            C::Pay(_) | C::Ship(_) | C::Return(_) | C::Cancel(_) => {
                state.order(command.id()).map_or(0, Order::version)
            }
        }
    }

    fn receive(&self, state: &CheckoutState, message: &Message, now: Timestamp) -> Decision {
        match message {
            Message::ReservationAnswer(answer) => {
                let order = state.order(answer.order_id.as_str());
                order::answer::decide(&self.settings, order, answer, now)
            }
            _ => nothing(),
        }
    }

    /// Nobody waits for what an answer leads to but the order itself, which will expire.
    fn give_up(&self, _: &Message, _: &str) -> Vec<Outgoing> {
        Vec::new()
    }

    fn evolve(
        &self,
        state: &mut CheckoutState,
        event: &Event,
        seq: u64,
    ) -> Result<(), EvolveError> {
        match &event.body {
            EventBody::Cart(body) => self.evolve_cart(state, event, body, seq),
            EventBody::Order(body) => self.evolve_order(state, event, body, seq),
            _ => Err(misfit(event, "it is no event of a cart or an order")),
        }
    }

    fn next_due(&self, state: &CheckoutState) -> Option<Timestamp> {
        state.timers.first().map(|(due, _)| *due)
    }

    fn on_time(&self, state: &CheckoutState, now: Timestamp, most: usize) -> Vec<Decision> {
        state
            .timers
            .iter()
            .take_while(|(due, _)| *due <= now)
            .filter_map(|(_, timer)| self.decide_timer(state, timer, now))
            .take(most)
            .collect()
    }

    fn ids_after<'a>(
        &self,
        state: &'a CheckoutState,
        after: Option<&str>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a str> + 'a> {
        keys_after(&state.by_id, after)
    }

    fn count(&self, state: &CheckoutState) -> usize {
        state.by_id.len()
    }

    fn holds(&self, state: &CheckoutState, id: &str) -> bool {
        state.by_id.contains_key(id)
    }

    fn size_hint(&self, state: &CheckoutState, id: &str) -> usize {
        let known = state.by_id.get(id);
        // A timer has the id as well.
        known.map_or(0, |known| known.size_hint() + 2 * (ENTRY_BYTES + id.len()))
    }

    fn snapshot(&self, state: &CheckoutState, id: &str) -> Option<CartAndOrder> {
        state.by_id.get(id).cloned()
    }

    fn restore(&self, state: &mut CheckoutState, id: &str, snapshot: CartAndOrder) {
        self.forget(state, id);
        for (timer, due) in self.timers(id, &snapshot) {
            state.set_timer(timer, None, due);
        }
        state.by_id.insert(id.to_owned(), snapshot);
    }

    fn forget(&self, state: &mut CheckoutState, id: &str) {
        if let Some(known) = state.by_id.remove(id) {
            for (timer, due) in self.timers(id, &known) {
                state.set_timer(timer, due, None);
            }
        }
    }

    fn is_finished(&self, state: &CheckoutState, id: &str) -> bool {
        state.by_id.get(id).is_some_and(CartAndOrder::is_finished)
    }

    fn outcome(&self, state: &CheckoutState, aggregate_id: &str) -> Option<Accepted> {
        let order_id = OrderId::new(aggregate_id).ok()?;
        order::outcome(&order_id, state.order(aggregate_id)?)
    }
}
