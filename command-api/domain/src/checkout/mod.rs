//! The checkout: carts, and the orders that come from them.

pub mod cart;
pub mod command;
pub mod order;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cartwright_events::cart::CartEvent;
use cartwright_events::order::OrderEvent;
use cartwright_events::{Context, Event, EventBody, Message, OrderId, Timestamp};

use crate::context::{Accepted, BoundedContext, Decision, EvolveError, Outgoing, Prices};
use crate::facts::{Decided, misfit, nothing};
use crate::settings::CheckoutSettings;
use cart::state::Cart;
use command::CheckoutCommand;
use order::state::Order;

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

/// The carts and orders of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckoutState {
    carts: HashMap<String, Cart>,
    orders: HashMap<String, Order>,
    timers: BTreeSet<(Timestamp, Timer)>,
}

impl CheckoutState {
    /// The cart of that id.
    #[must_use]
    pub fn cart(&self, id: &str) -> Option<&Cart> {
        self.carts.get(id)
    }

    /// All that is known under that order id.
    #[must_use]
    pub fn order(&self, id: &str) -> Option<&Order> {
        self.orders.get(id)
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
        let (before, after) = match state.carts.get_mut(id) {
            Some(cart) => {
                let before = cart::abandon::due(cart, idle_ms);
                cart.evolve(event, body, seq)?;
                (before, cart::abandon::due(cart, idle_ms))
            }
            None => {
                let cart = Cart::open(event, body, seq)?;
                let after = cart::abandon::due(&cart, idle_ms);
                state.carts.insert(id.clone(), cart);
                (None, after)
            }
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
        let order = state.orders.entry(id.clone()).or_default();
        let before = order.payment_due();
        order.evolve(event, body, seq)?;
        let after = order.payment_due();
        state.set_timer(Timer::Order(id.clone()), before, after);
        Ok(())
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

    fn outcome(&self, state: &CheckoutState, aggregate_id: &str) -> Option<Accepted> {
        let order_id = OrderId::new(aggregate_id).ok()?;
        order::outcome(&order_id, state.order(aggregate_id)?)
    }
}
