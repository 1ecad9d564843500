//! All contexts together in memory: several shards each, their events in order, and the messages
//! between them waiting in inboxes until they are delivered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cartwright_events::catalog::ProductEvent;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, EventBody, Message, Timestamp};

use super::build::{minute, sku};
use super::prices::TestPrices;
use super::scene::{Outcome, Scene};
use crate::context::Decision;
use crate::{
    Catalog, CatalogCommand, Checkout, CheckoutCommand, CheckoutSettings, Inventory,
    InventoryCommand, InventorySettings,
};

pub(crate) struct WholeShop {
    pub(crate) catalog: Scene<Catalog>,
    pub(crate) inventory: Vec<Scene<Inventory>>,
    pub(crate) checkout: Vec<Scene<Checkout>>,
    prices: Arc<TestPrices>,
    inboxes: HashMap<(Context, u32), VecDeque<Message>>,
    pub(crate) now: Timestamp,
}

impl WholeShop {
    pub(crate) fn new(inventory_partitions: u32, checkout_partitions: u32) -> Self {
        let prices = Arc::new(TestPrices::default());
        let now = minute(0);
        let stock = Inventory {
            settings: InventorySettings {
                inventory_partitions,
                checkout_partitions,
            },
        };
        let settings = CheckoutSettings {
            allow_quoted_prices: true,
            inventory_partitions,
            max_line_quantity: 50,
            ..CheckoutSettings::default()
        };
        let checkout = Checkout::new(settings, prices.clone());
        Self {
            catalog: Scene::new(Catalog::default(), now),
            inventory: (0..inventory_partitions)
                .map(|_| Scene::new(stock.clone(), now))
                .collect(),
            checkout: (0..checkout_partitions)
                .map(|_| Scene::new(checkout.clone(), now))
                .collect(),
            prices,
            inboxes: HashMap::new(),
            now,
        }
    }

    pub(crate) fn catalog(&mut self, command: impl Into<CatalogCommand>) -> Outcome {
        let outcome = self.catalog.when(command);
        for event in &outcome.decision.events {
            match &event.body {
                EventBody::Product(ProductEvent::Created(body)) => {
                    self.prices.set(&event.aggregate_id, body.price_minor);
                }
                EventBody::Product(ProductEvent::PriceChanged(body)) => {
                    self.prices.set(&event.aggregate_id, body.price_minor);
                }
                _ => self.prices.retire(&event.aggregate_id),
            }
        }
        outcome
    }

    pub(crate) fn inventory(&mut self, command: impl Into<InventoryCommand>) -> Outcome {
        let command = command.into();
        let shard = partition_of(command.sku().as_str(), self.inventory.len() as u32);
        let outcome = self.inventory[shard as usize].when(command);
        self.send(&outcome.decision);
        outcome
    }

    pub(crate) fn checkout(&mut self, command: impl Into<CheckoutCommand>) -> Outcome {
        let command = command.into();
        let shard = partition_of(command.id(), self.checkout.len() as u32);
        let outcome = self.checkout[shard as usize].when(command);
        self.send(&outcome.decision);
        outcome
    }

    /// Delivers the oldest message of one of the inboxes that have any; false when none has.
    pub(crate) fn deliver(&mut self, choice: usize) -> bool {
        let mut waiting: Vec<(Context, u32)> = self
            .inboxes
            .iter()
            .filter(|(_, inbox)| !inbox.is_empty())
            .map(|(address, _)| *address)
            .collect();
        waiting.sort_unstable();
        if waiting.is_empty() {
            return false;
        }
        let (context, shard) = waiting[choice % waiting.len()];
        let message = self
            .inboxes
            .get_mut(&(context, shard))
            .and_then(VecDeque::pop_front)
            .unwrap();
        assert_eq!(message.target(), context);
        let decision = match context {
            Context::Inventory => self.inventory[shard as usize].receive(message),
            Context::Checkout => self.checkout[shard as usize].receive(message),
            Context::Catalog => panic!("no message is for the catalog: {message:?}"),
        };
        self.send(&decision);
        true
    }

    /// Time passes and timers go off.
    pub(crate) fn pass(&mut self, minutes: i64) {
        self.now = self.now.plus_millis(minutes * 60_000);
        self.catalog.at(self.now);
        for shard in &mut self.inventory {
            shard.at(self.now);
        }
        let mut decisions = Vec::new();
        for shard in &mut self.checkout {
            decisions.extend(shard.at(self.now));
        }
        for decision in &decisions {
            self.send(decision);
        }
    }

    /// Everything that can still happen by itself happens.
    pub(crate) fn settle(&mut self) {
        for _ in 0..4 {
            while self.deliver(0) {}
            self.pass(48 * 60);
        }
        assert!(!self.deliver(0), "messages go round for ever");
    }

    /// Units on hand and held for orders, of a SKU.
    pub(crate) fn level(&self, name: &str) -> (i64, i64) {
        let shard = partition_of(name, self.inventory.len() as u32);
        let item = self.inventory[shard as usize].state.item(&sku(name));
        item.map_or((0, 0), |item| (item.level().on_hand, item.level().reserved))
    }

    fn send(&mut self, decision: &Decision) {
        for outgoing in &decision.messages {
            let address = (outgoing.message.target(), outgoing.partition);
            // Messages survive their wire form too.
            let mut bytes = Vec::new();
            cartwright_events::wire::Wire::encode(&outgoing.message, &mut bytes);
            let message = cartwright_events::wire::Wire::decode_all(&bytes).unwrap();
            assert_eq!(outgoing.message, message);
            self.inboxes.entry(address).or_default().push_back(message);
        }
    }
}
