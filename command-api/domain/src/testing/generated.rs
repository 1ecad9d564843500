//! Generated sequences of commands, messages and time over the whole shop, held against the ledger.

use cartwright_events::order::PaymentKind;
use cartwright_events::{Event, Stream};
use proptest::prelude::*;

use super::build::*;
use super::ledger::Ledger;
use super::scene::Outcome;
use super::whole_shop::WholeShop;
use crate::{
    AddItem, AdjustStock, Cancel, CatalogCommand, ChangeItem, ChangePrice, CheckOut,
    CheckoutCommand, CreateCart, CreateProduct, InventoryCommand, NewItem, Pay, ReceiveStock,
    RemoveItem, RetireProduct, Return, Ship,
};

const SKUS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// Something that happens in the shop.
#[derive(Debug, Clone)]
enum Step {
    Catalog(CatalogCommand),
    Inventory(InventoryCommand),
    Checkout(CheckoutCommand),
    Deliver(usize),
    Pass(i64),
}

/// A command that was accepted, with its version and the seqs of its events: a repeat says so too.
struct Done {
    step: Step,
    version: u64,
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
        }
        let shards = 1 + inventory + checkout;
        Self {
            shop,
            ledger: Ledger::default(),
            read: vec![0; shards as usize],
            done: Vec::new(),
        }
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
            let seqs: Vec<u64> = accepted.earlier.iter().map(|(_, seq)| *seq).collect();
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

/// Whether the command carries a reference that makes it safe to repeat at any time.
fn is_once_for_ever(step: &Step) -> bool {
    match step {
        Step::Catalog(command) => matches!(command, CatalogCommand::RetireProduct(_)),
        Step::Inventory(InventoryCommand::ReceiveStock(command)) => command.reference.is_some(),
        Step::Inventory(InventoryCommand::AdjustStock(command)) => command.reference.is_some(),
        Step::Checkout(command) => matches!(
            command,
            CheckoutCommand::CreateCart(_)
                | CheckoutCommand::CheckOut(_)
                | CheckoutCommand::Pay(_)
                | CheckoutCommand::Ship(_)
                | CheckoutCommand::Return(_)
                | CheckoutCommand::Cancel(_)
        ),
        Step::Deliver(_) | Step::Pass(_) => false,
    }
}

fn any_sku() -> impl Strategy<Value = &'static str> {
    // The first ones are hot.
    prop_oneof![3 => Just(SKUS[0]), 2 => Just(SKUS[1]), 1 => (2..SKUS.len()).prop_map(|i| SKUS[i])]
}

fn any_id() -> impl Strategy<Value = String> {
    (0..8).prop_map(|number| format!("o{number}"))
}

fn any_reference(kind: &'static str) -> impl Strategy<Value = String> {
    (0..6).prop_map(move |number| format!("{kind}{number}"))
}

fn any_item() -> impl Strategy<Value = NewItem> {
    let quote = prop::option::weighted(0.2, 1..40i64);
    (any_sku(), 1..4i64, quote).prop_map(|(name, quantity, quote)| NewItem {
        quoted_price: quote.map(gbp),
        ..item(name, quantity)
    })
}

fn any_lines() -> impl Strategy<Value = Vec<(u32, i64)>> {
    prop::collection::btree_map(1..4u32, 1..4i64, 1..3)
        .prop_map(|lines| lines.into_iter().collect())
}

fn catalog_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_sku(), 5..60i64).prop_map(|(name, price)| {
            Step::Catalog(ChangePrice { sku: sku(name), price: gbp(price) }.into())
        }),
        1 => Just(Step::Catalog(RetireProduct { sku: sku(SKUS[4]) }.into())),
    ]
}

fn inventory_step(adjust: bool) -> impl Strategy<Value = Step> {
    let with_reference = || prop::option::weighted(0.5, any_reference("b"));
    let receive = (any_sku(), 1..10i64, with_reference()).prop_map(|(name, quantity, named)| {
        let reference = named.as_deref().map(reference);
        Step::Inventory(
            ReceiveStock {
                sku: sku(name),
                quantity,
                reference,
            }
            .into(),
        )
    });
    let correct = (any_sku(), -8..6i64, with_reference()).prop_map(move |(name, delta, named)| {
        let reference = named.as_deref().map(reference);
        let reason = "counted".to_owned();
        let delta = if adjust { delta } else { 0 }; // zero is refused
        Step::Inventory(
            AdjustStock {
                sku: sku(name),
                delta,
                reason,
                reference,
            }
            .into(),
        )
    });
    prop_oneof![2 => receive, 1 => correct]
}

fn cart_step() -> impl Strategy<Value = Step> {
    let create = (any_id(), prop::collection::vec(any_item(), 0..4)).prop_map(|(id, items)| {
        CheckoutCommand::from(CreateCart {
            cart_id: cart_id(&id),
            customer_id: None,
            currency: currency("GBP"),
            ship_to_country: None,
            external_reference: None,
            items,
        })
    });
    let add = (any_id(), any_item()).prop_map(|(id, item)| {
        CheckoutCommand::from(AddItem {
            cart_id: cart_id(&id),
            item,
        })
    });
    let change = (any_id(), 1..4u32, 1..5i64).prop_map(|(id, line, quantity)| {
        CheckoutCommand::from(ChangeItem {
            cart_id: cart_id(&id),
            line,
            quantity,
        })
    });
    let remove = (any_id(), 1..4u32).prop_map(|(id, line)| {
        CheckoutCommand::from(RemoveItem {
            cart_id: cart_id(&id),
            line,
        })
    });
    let check_out = any_id().prop_map(|id| {
        CheckoutCommand::from(CheckOut {
            cart_id: cart_id(&id),
            expected_total: None,
            occurred_at: None,
        })
    });
    prop_oneof![4 => create, 2 => add, 1 => change, 1 => remove, 5 => check_out]
        .prop_map(Step::Checkout)
}

fn order_step() -> impl Strategy<Value = Step> {
    let amount = prop_oneof![3 => Just(gbp(200)), 3 => (1..60i64).prop_map(gbp), 1 => (1..9i64).prop_map(eur)];
    let kind = prop_oneof![
        4 => Just(PaymentKind::Captured),
        2 => Just(PaymentKind::Refunded),
        1 => Just(PaymentKind::Authorized),
        1 => Just(PaymentKind::Failed),
    ];
    let pay = (
        any_id(),
        any_reference("p"),
        any_reference("q"),
        kind,
        amount,
    )
        .prop_map(|(id, payment_id, operation_id, kind, amount)| {
            CheckoutCommand::from(Pay {
                order_id: order_id(&id),
                payment_id: reference(&payment_id),
                operation_id: reference(&operation_id),
                kind,
                amount,
                occurred_at: None,
            })
        });
    let ship = (any_id(), any_reference("s"), prop::option::of(any_lines())).prop_map(
        |(id, name, units)| {
            CheckoutCommand::from(Ship {
                order_id: order_id(&id),
                shipment_id: reference(&name),
                lines: units.as_deref().map(lines),
                occurred_at: None,
            })
        },
    );
    let bring_back = (any_id(), any_reference("r"), any_lines(), any::<bool>()).prop_map(
        |(id, name, units, restock)| {
            CheckoutCommand::from(Return {
                order_id: order_id(&id),
                return_id: reference(&name),
                lines: lines(&units),
                restock,
                occurred_at: None,
            })
        },
    );
    let cancel = any_id().prop_map(|id| {
        CheckoutCommand::from(Cancel {
            order_id: order_id(&id),
            reference: None,
            note: None,
            occurred_at: None,
        })
    });
    prop_oneof![5 => pay, 3 => ship, 2 => bring_back, 1 => cancel].prop_map(Step::Checkout)
}

fn any_step(adjust: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => catalog_step(),
        4 => inventory_step(adjust),
        8 => cart_step(),
        8 => order_step(),
        9 => (0..8usize).prop_map(Step::Deliver),
        1 => (1..40i64).prop_map(Step::Pass),
    ]
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
