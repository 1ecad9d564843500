//! A shopper: a script of commands, each sent until it is answered, sometimes twice at once.

use cartwright_domain::{
    Cancel, CatalogCommand, CheckOut, CheckoutCommand, CreateCart, CreateProduct, InventoryCommand,
    LineQuantity, NewItem, Pay, Price, ReceiveStock, Return, Ship,
};
use cartwright_events::order::PaymentKind;
use cartwright_events::{CartId, Currency, OrderId, Reference, Sku};
use cartwright_shard::{Outcome, Reply};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

/// SKUs of the simulated shop; the last one is scarce.
pub(crate) const SKUS: [&str; 4] = ["mug", "lamp", "chair", "hot"];
/// Price of one unit of everything.
pub(crate) const PRICE: i64 = 1_000;
/// Units received of a SKU.
pub(crate) const STOCK: i64 = 30;
/// Units received of the scarce SKU.
pub(crate) const SCARCE: i64 = 3;

/// A command to one of the contexts.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Catalog(CatalogCommand),
    Inventory(InventoryCommand),
    Checkout(CheckoutCommand),
}

/// A shopper (or the shop's owner) on the way through a script.
pub(crate) struct Shopper {
    pub(crate) name: String,
    script: Vec<Command>,
    step: usize,
    /// Replies that may still come for the present step.
    open: Vec<oneshot::Receiver<Reply>>,
    waited: u32,
    /// What was answered for each step, by idempotency key.
    pub(crate) answered: Vec<(String, Outcome)>,
}

/// What a shopper wants to do now.
pub(crate) enum Wish {
    /// Send this command under this key.
    Send(String, Command),
    /// Wait for an answer.
    Wait,
    /// Go home.
    Done,
}

impl Shopper {
    /// The owner, who fills the shelves.
    pub(crate) fn owner() -> Self {
        let mut script = Vec::new();
        for name in SKUS {
            let create = CreateProduct {
                sku: sku(name),
                name: name.to_owned(),
                description: None,
                price: price(PRICE),
            };
            script.push(Command::Catalog(CatalogCommand::CreateProduct(create)));
            let quantity = if name == "hot" { SCARCE } else { STOCK };
            let receive = ReceiveStock {
                sku: sku(name),
                quantity,
                reference: Some(reference("first")),
            };
            script.push(Command::Inventory(InventoryCommand::ReceiveStock(receive)));
        }
        Self::with("owner".to_owned(), script)
    }

    pub(crate) fn new(number: u64, rng: &mut SmallRng) -> Self {
        let name = format!("shopper-{number}");
        let script = script(&name, rng);
        Self::with(name, script)
    }

    fn with(name: String, script: Vec<Command>) -> Self {
        Self {
            name,
            script,
            step: 0,
            open: Vec::new(),
            waited: 0,
            answered: Vec::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.step >= self.script.len()
    }

    /// Takes what has been answered and says what comes next.
    ///
    /// # Errors
    /// When two answers to one key differ.
    pub(crate) fn next(&mut self) -> Result<Wish, String> {
        let key = format!("{}/{}", self.name, self.step);
        let mut open = Vec::new();
        for mut receiver in std::mem::take(&mut self.open) {
            match receiver.try_recv() {
                Ok(Reply::Decided(outcome)) => self.settle(&key, outcome)?,
                Ok(Reply::KeyReused) => {
                    return Err(format!("{key} is a first use, and was refused as a reuse"));
                }
                Ok(Reply::Failed { reason }) => {
                    return Err(format!("{key} failed inside: {reason}"));
                }
                // Whatever happened to it, a retry under the same key is safe.
                Ok(Reply::Unknown { .. } | Reply::DeadlinePassed | Reply::Overloaded { .. })
                | Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => open.push(receiver),
            }
        }
        let settled = self
            .answered
            .last()
            .is_some_and(|(answered, _)| *answered == key);
        if settled && open.is_empty() {
            self.step += 1;
            self.waited = 0;
        } else if settled || (!open.is_empty() && self.waited < 40) {
            self.open = open;
            self.waited += 1;
            return Ok(Wish::Wait);
        } else {
            // The connection timed out; the command may still take effect.
            self.waited = 0;
        }
        let key = format!("{}/{}", self.name, self.step);
        Ok(self
            .script
            .get(self.step)
            .map_or(Wish::Done, |command| Wish::Send(key, command.clone())))
    }

    pub(crate) fn expect(&mut self, reply: oneshot::Receiver<Reply>) {
        self.open.push(reply);
    }

    fn settle(&mut self, key: &str, outcome: Outcome) -> Result<(), String> {
        match self.answered.last() {
            Some((answered, earlier)) if answered == key => {
                if *earlier != outcome {
                    return Err(format!(
                        "{key} was answered {earlier:?} and then {outcome:?}"
                    ));
                }
            }
            _ => self.answered.push((key.to_owned(), outcome)),
        }
        Ok(())
    }
}

fn script(name: &str, rng: &mut SmallRng) -> Vec<Command> {
    let quantity = rng.random_range(1..=3);
    let mut items = vec![item(SKUS[rng.random_range(0..SKUS.len())], quantity)];
    if rng.random_bool(0.5) {
        items.push(item(SKUS[rng.random_range(0..SKUS.len())], 1));
    }
    let total = items.iter().map(|item| item.quantity * PRICE).sum();
    let cart_id = CartId::new(name).expect("an id");
    let order_id = OrderId::from(cart_id.clone());
    let create = CreateCart {
        cart_id: cart_id.clone(),
        customer_id: None,
        currency: currency(),
        ship_to_country: None,
        external_reference: None,
        items,
    };
    let check_out = CheckOut {
        cart_id,
        expected_total: None,
        occurred_at: None,
    };
    let pay = |operation: &str, kind, amount| {
        CheckoutCommand::Pay(Pay {
            order_id: order_id.clone(),
            payment_id: reference("payment"),
            operation_id: reference(operation),
            kind,
            amount: price(amount),
            occurred_at: None,
        })
    };
    let ship = |id: &str, lines| {
        CheckoutCommand::Ship(Ship {
            order_id: order_id.clone(),
            shipment_id: reference(id),
            lines,
            occurred_at: None,
        })
    };
    let one = vec![LineQuantity {
        line: 1,
        quantity: 1,
    }];
    let mut script = vec![
        CheckoutCommand::CreateCart(create),
        CheckoutCommand::CheckOut(check_out),
    ];
    match rng.random_range(0..8) {
        // Never pays.
        0 => {}
        1 => script.push(pay("fail", PaymentKind::Failed, total)),
        2 => script.push(CheckoutCommand::Cancel(Cancel {
            order_id: order_id.clone(),
            reference: Some(reference("cancel")),
            note: None,
            occurred_at: None,
        })),
        // Money that arrives oddly.
        3 => script.extend([
            pay("refund", PaymentKind::Refunded, 10),
            pay("capture", PaymentKind::Captured, total + 5),
            pay("capture-2", PaymentKind::Captured, total),
            pay("authorize", PaymentKind::Authorized, total),
        ]),
        4 => script.extend([
            pay("authorize", PaymentKind::Authorized, total),
            pay("capture", PaymentKind::Captured, total),
            ship("one", Some(one.clone())),
            ship("rest", None),
        ]),
        5 => script.extend([
            pay("capture", PaymentKind::Captured, total),
            ship("all", None),
            CheckoutCommand::Return(Return {
                order_id: order_id.clone(),
                return_id: reference("return"),
                lines: one.clone(),
                restock: rng.random_bool(0.5),
                occurred_at: None,
            }),
            pay("refund", PaymentKind::Refunded, PRICE),
        ]),
        _ => script.extend([
            pay("capture", PaymentKind::Captured, total),
            ship("all", None),
        ]),
    }
    script.into_iter().map(Command::Checkout).collect()
}

fn item(name: &str, quantity: i64) -> NewItem {
    NewItem {
        sku: sku(name),
        quantity,
        expected_price: None,
        quoted_price: None,
    }
}

fn sku(text: &str) -> Sku {
    Sku::new(text).expect("a SKU")
}

fn reference(text: &str) -> Reference {
    Reference::new(text).expect("a reference")
}

fn currency() -> Currency {
    Currency::new("GBP").expect("a currency")
}

fn price(amount_minor: i64) -> Price {
    Price {
        amount_minor,
        currency: currency(),
    }
}
