//! Generated sequences of commands, messages and time over the whole shop, held against the ledger.

mod steps;

use cartwright_events::{Event, Stream};
use proptest::prelude::*;

use super::build::*;
use super::ledger::Ledger;
use super::scene::Outcome;
use super::whole_shop::WholeShop;
use crate::{CheckoutCommand, CreateProduct, ReceiveStock};
use steps::{SKUS, Step, any_step, is_once_for_ever};

/// A command that was accepted, with its version and the seqs of its events: a repeat says so too.
struct Done {
    step: Step,
    version: u64,
    stream: Stream,
    seqs: Vec<u64>,
}

struct Run {
    shop: WholeShop,
    ledger: Ledger,
    read: Vec<usize>,
    done: Vec<Done>,
}

impl Run {
    fn new(inventory: u32, checkout: u32) -> Self {
        let mut shop = WholeShop::new(inventory, checkout);
        for (index, name) in SKUS.iter().enumerate() {
            let command = CreateProduct {
                sku: sku(name),
                name: format!("product {name}"),
                description: None,
                price: gbp(10 * (index as i64 + 1)),
            };
            shop.catalog(command).accepted();
            let command = ReceiveStock {
                sku: sku(name),
                quantity: [20, 10, 4, 2, 1][index],
                reference: None,
            };
            shop.inventory(command).accepted();
        }
        let shards = 1 + inventory + checkout;
        let mut run = Self {
            shop,
            ledger: Ledger::default(),
            read: vec![0; shards as usize],
            done: Vec::new(),
        };
        run.read_on();
        run
    }

    fn apply(&mut self, step: &Step) -> Option<Outcome> {
        match step.clone() {
            Step::Catalog(command) => Some(self.shop.catalog(command)),
            Step::Inventory(command) => Some(self.shop.inventory(command)),
            Step::Checkout(command) => Some(self.shop.checkout(command)),
            Step::Deliver(choice) => {
                self.shop.deliver(choice);
                None
            }
            Step::DeliverAll => {
                while self.shop.deliver(0) {}
                None
            }
            Step::Pass(minutes) => {
                self.shop.pass(minutes);
                None
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let outcome = self.apply(step);
        let written = self.read_on();
        if let Some(outcome) = outcome
            && let Ok(accepted) = outcome.answer
            && is_once_for_ever(step)
            && !written.is_empty()
        {
            let stream = match step {
                Step::Catalog(_) => Stream::Product,
                Step::Inventory(_) => Stream::Stock,
                Step::Checkout(CheckoutCommand::CreateCart(_)) => Stream::Cart,
                _ => Stream::Order,
            };
            let seqs = written
                .iter()
                .filter(|(event, _)| event.body.stream() == stream)
                .map(|(_, seq)| *seq)
                .collect();
            self.done.push(Done {
                step: step.clone(),
                version: accepted.version,
                stream,
                seqs,
            });
        }
    }

    /// Lets the ledger read what was written since; says what it was.
    fn read_on(&mut self) -> Vec<(Event, u64)> {
        let shop = &self.shop;
        let logs = std::iter::once(&shop.catalog.log)
            .chain(shop.inventory.iter().map(|shard| &shard.log))
            .chain(shop.checkout.iter().map(|shard| &shard.log));
        let mut new = Vec::new();
        for (log, read) in logs.zip(&mut self.read) {
            new.extend_from_slice(&log[*read..]);
            *read = log.len();
        }
        for (event, _) in &new {
            self.ledger.read(event);
        }
        self.ledger.check();
        new
    }

    /// Every reference that was used answers with what happened then, and nothing happens.
    fn repeat_all(&mut self) {
        for done in std::mem::take(&mut self.done) {
            let outcome = self.apply(&done.step).expect("a command");
            assert!(outcome.decision.events.is_empty(), "{:?}", done.step);
            assert!(outcome.decision.messages.is_empty(), "{:?}", done.step);
            let accepted = outcome
                .answer
                .unwrap_or_else(|refused| panic!("{refused:?}: {:?}", done.step));
            let seqs: Vec<u64> = accepted
                .earlier
                .iter()
                .filter(|(stream, _)| *stream == done.stream)
                .map(|(_, seq)| *seq)
                .collect();
            assert_eq!(
                (accepted.version, seqs),
                (done.version, done.seqs),
                "{:?}",
                done.step
            );
        }
    }

    /// Left alone, every order ends or is paid, and only what is paid and not shipped stays held.
    fn finish(mut self) -> usize {
        self.repeat_all();
        self.shop.settle();
        self.read_on();
        let mut paid = 0;
        for (id, order) in self.ledger.orders.iter().filter(|(_, order)| order.placed) {
            let over = order.paid || order.finals.len() == 1;
            assert!(over, "order {id} is left open: {order:?}");
            paid += usize::from(order.paid);
            for (name, units) in &order.units {
                let held = self
                    .ledger
                    .stock
                    .get(name)
                    .and_then(|stock| stock.held.get(id));
                let shipped = order.shipped.get(name).copied().unwrap_or(0);
                let expected = if order.finals.is_empty() {
                    units - shipped
                } else {
                    0
                };
                assert_eq!(
                    held.copied().unwrap_or(0),
                    expected,
                    "{name} of {id}: {order:?}"
                );
            }
        }
        for (name, stock) in &self.ledger.stock {
            assert_eq!(
                self.shop.level(name),
                (stock.on_hand, stock.reserved()),
                "{name}"
            );
        }
        for shard in &self.shop.checkout {
            assert_eq!(shard.refolded(), shard.state);
        }
        paid
    }
}

fn run(inventory: u32, checkout: u32, steps: &[Step]) -> usize {
    let mut run = Run::new(inventory, checkout);
    for step in steps {
        run.step(step);
    }
    run.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_sums_hold(
        (inventory, checkout) in (1..4u32, 1..3u32),
        steps in prop::collection::vec(any_step(true), 1..200),
    ) {
        run(inventory, checkout, &steps);
    }

    #[test]
    fn without_corrections_nothing_is_sold_that_is_not_there(
        (inventory, checkout) in (1..4u32, 1..3u32),
        steps in prop::collection::vec(any_step(false), 1..200),
    ) {
        run(inventory, checkout, &steps);
    }
}

/// The generated sequences reach what they are to test.
#[test]
fn generated_sequences_reach_every_event() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use std::collections::BTreeSet;

    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    let mut paid = 0;
    for _ in 0..60 {
        let steps = prop::collection::vec(any_step(true), 200)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut run = Run::new(3, 2);
        for step in &steps {
            run.step(step);
        }
        run.shop.settle();
        let shop = &run.shop;
        let logs = shop.inventory.iter().flat_map(|shard| &shard.log);
        let logs = logs.chain(shop.checkout.iter().flat_map(|shard| &shard.log));
        seen.extend(logs.map(|(event, _)| event.body.type_name()));
        paid += run.finish();
    }
    let all = [
        cartwright_events::inventory::StockEvent::TYPE_NAMES,
        cartwright_events::cart::CartEvent::TYPE_NAMES,
        cartwright_events::order::OrderEvent::TYPE_NAMES,
    ];
    // Nobody here expects a new total, so nothing is repriced: the cart's own tests see to that.
    let missing: Vec<&str> = all
        .concat()
        .into_iter()
        .filter(|name| *name != "CartItemRepriced" && !seen.contains(name))
        .collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
    assert!(paid > 30, "{paid} orders were paid");
}
