//! A shopper: a script of commands, each sent until it is answered, sometimes twice at once.

use std::collections::{BTreeMap, BTreeSet};

use cartwright_domain::{
    AddItem, Cancel, CatalogCommand, ChangeItem, CheckOut, CheckoutCommand, CreateCart,
    CreateProduct, InventoryCommand, LineQuantity, NewItem, Pay, Price, ReceiveStock, RemoveItem,
    Return, Ship,
};
use cartwright_events::order::PaymentKind;
use cartwright_events::{CartId, Currency, OrderId, Reference, Sku};
use cartwright_shard::{Outcome, Reply};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

use crate::ticket::{Ticket, Tickets};

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

/// A step of a script.
struct Step {
    command: Command,
    /// What it says about the cart's version, if it says anything.
    if_match: Option<IfMatch>,
}

impl From<Command> for Step {
    fn from(command: Command) -> Self {
        Self {
            command,
            if_match: None,
        }
    }
}

/// Which version of its cart a shopper wants to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfMatch {
    /// The one that it was told last.
    Latest,
    /// The one before that, as a client that has missed a change would.
    Stale,
}

/// What a shopper asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The idempotency key.
    pub(crate) key: String,
    pub(crate) command: Command,
    /// The version that its cart has to have.
    pub(crate) expected_version: Option<u64>,
}

/// A shopper (or the shop's owner) on the way through a script.
pub(crate) struct Shopper {
    pub(crate) name: String,
    script: Vec<Step>,
    step: usize,
    /// Replies that may still come, by the key that they answer.
    open: Vec<(String, oneshot::Receiver<Reply>)>,
    /// Replies to a key that came with another request.
    misuses: Vec<(String, oneshot::Receiver<Reply>)>,
    /// Of commands whose decision it does not wait for.
    pub(crate) tickets: Tickets,
    waited: u32,
    /// What was answered, by idempotency key.
    pub(crate) answered: BTreeMap<String, Outcome>,
}

/// What a shopper wants to do now.
pub(crate) enum Wish {
    /// Send this.
    Send(Asked),
    /// Ask with this ticket for what became of the command under this key.
    Ask(String, Ticket),
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
            script.push(Command::Catalog(CatalogCommand::CreateProduct(create)).into());
            let quantity = if name == "hot" { SCARCE } else { STOCK };
            let receive = ReceiveStock {
                sku: sku(name),
                quantity,
                reference: Some(reference("first")),
            };
            script.push(Command::Inventory(InventoryCommand::ReceiveStock(receive)).into());
        }
        Self::with("owner".to_owned(), script)
    }

    pub(crate) fn new(number: u64, rng: &mut SmallRng) -> Self {
        let name = format!("shopper-{number}");
        let script = script(&name, rng);
        Self::with(name, script)
    }

    fn with(name: String, script: Vec<Step>) -> Self {
        Self {
            name,
            script,
            step: 0,
            open: Vec::new(),
            misuses: Vec::new(),
            tickets: Tickets::default(),
            waited: 0,
            answered: BTreeMap::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.step >= self.script.len()
    }

    /// The step whose command checks the cart out; none for the owner.
    pub(crate) fn checked_out(&self) -> Option<&Outcome> {
        let is_checkout = |step: &Step| {
            matches!(
                step.command,
                Command::Checkout(CheckoutCommand::CheckOut(_))
            )
        };
        // The last one: one before it asked for a version that there was no more.
        let step = self.script.iter().rposition(is_checkout)?;
        self.answered.get(&self.key(step))
    }

    fn key(&self, step: usize) -> String {
        format!("{}/{step}", self.name)
    }

    /// An earlier request, for the network to deliver once more.
    pub(crate) fn earlier(&self, choice: usize) -> Option<Asked> {
        self.asked(choice.checked_rem(self.step)?)
    }

    /// What is asked for by a step whose earlier ones have been answered.
    fn asked(&self, step: usize) -> Option<Asked> {
        let Step { command, if_match } = self.script.get(step)?;
        let expected_version = if_match.zip(self.told_version(step));
        Some(Asked {
            key: self.key(step),
            command: command.clone(),
            expected_version: expected_version.map(|(if_match, told)| match if_match {
                IfMatch::Latest => told,
                IfMatch::Stale => told - 1,
            }),
        })
    }

    /// The version of the cart that was told last before a step.
    fn told_version(&self, step: usize) -> Option<u64> {
        let told = |step| match self.answered.get(&self.key(step)) {
            Some(Outcome::Accepted(answer)) => Some(answer.version),
            Some(Outcome::Rejected(_)) | None => None,
        };
        (0..step).rev().find_map(told)
    }

    /// Every key that was sent with a version so far, with that version and whether it was known to be
    /// an old one.
    pub(crate) fn versions_asked_for(&self) -> Vec<(String, u64, bool)> {
        let steps = 0..self.script.len().min(self.step + 1);
        steps
            .filter_map(|step| {
                let Asked {
                    key,
                    expected_version,
                    ..
                } = self.asked(step)?;
                let is_stale = self.script[step].if_match == Some(IfMatch::Stale);
                Some((key, expected_version?, is_stale))
            })
            .collect()
    }

    /// Takes what has been answered and says what comes next.
    ///
    /// # Errors
    /// When two answers to one key differ.
    pub(crate) fn next(&mut self) -> Result<Wish, String> {
        self.listen()?;
        let key = self.key(self.step);
        let waits = self.open.iter().any(|(waiting, _)| *waiting == key);
        if self.answered.contains_key(&key) {
            self.step += 1;
            self.waited = 0;
        } else if waits && self.waited < 6 {
            self.waited += 1;
            return Ok(Wish::Wait);
        } else if let Some(ticket) = self.tickets.next_question(&key) {
            return Ok(Wish::Ask(key, ticket));
        } else {
            // The connection timed out; the command may still take effect.
            self.waited = 0;
        }
        Ok(self.asked(self.step).map_or(Wish::Done, Wish::Send))
    }

    /// Takes every answer that has come.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(crate) fn listen(&mut self) -> Result<(), String> {
        for (key, mut receiver) in std::mem::take(&mut self.open) {
            match receiver.try_recv() {
                Ok(Reply::Decided(outcome)) => self.settle(&key, outcome)?,
                Ok(Reply::KeyReused) => {
                    return Err(format!("{key} was refused as the reuse of a key"));
                }
                Ok(Reply::Failed { reason }) => {
                    return Err(format!("{key} failed inside: {reason}"));
                }
                // Whatever happened to it, a retry under the same key is safe.
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => self.open.push((key, receiver)),
            }
        }
        for (key, outcome) in self.tickets.listen()? {
            self.settle(&key, outcome)?;
        }
        for (key, mut receiver) in std::mem::take(&mut self.misuses) {
            match receiver.try_recv() {
                Ok(Reply::Decided(_)) => {
                    return Err(format!(
                        "{key} with another request was answered as the first"
                    ));
                }
                Err(oneshot::error::TryRecvError::Empty) => self.misuses.push((key, receiver)),
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn expect(&mut self, key: &str, reply: oneshot::Receiver<Reply>) {
        self.open.push((key.to_owned(), reply));
    }

    pub(crate) fn expect_refusal(&mut self, key: &str, reply: oneshot::Receiver<Reply>) {
        self.misuses.push((key.to_owned(), reply));
    }

    fn settle(&mut self, key: &str, outcome: Outcome) -> Result<(), String> {
        match self.answered.get(key) {
            Some(earlier) if *earlier != outcome => Err(format!(
                "{key} was answered {earlier:?} and then {outcome:?}"
            )),
            Some(_) => Ok(()),
            None => {
                self.answered.insert(key.to_owned(), outcome);
                Ok(())
            }
        }
    }
}

fn script(name: &str, rng: &mut SmallRng) -> Vec<Step> {
    let quantity = rng.random_range(1..=3);
    let mut items = vec![item(SKUS[rng.random_range(0..SKUS.len())], quantity)];
    if rng.random_bool(0.5) {
        items.push(item(SKUS[rng.random_range(0..SKUS.len())], 1));
    }
    let cart_id = CartId::new(name).expect("an id");
    let changes = cart_changes(&cart_id, &items, rng);
    let total = items.iter().map(|item| item.quantity * PRICE).sum();
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
    let mut script = vec![CheckoutCommand::CreateCart(create)];
    script.extend(changes);
    script.push(CheckoutCommand::CheckOut(check_out));
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
    with_versions(script, rng)
}

/// Lets some of the changes to the cart say which version of it they are for, after a try with an old
/// one now and then.
fn with_versions(script: Vec<CheckoutCommand>, rng: &mut SmallRng) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for command in script {
        let changes_cart = matches!(
            command,
            CheckoutCommand::AddItem(_)
                | CheckoutCommand::ChangeItem(_)
                | CheckoutCommand::RemoveItem(_)
                | CheckoutCommand::CheckOut(_)
        );
        let command = Command::Checkout(command);
        let if_match = (changes_cart && rng.random_bool(0.4)).then_some(IfMatch::Latest);
        if if_match.is_some() && rng.random_bool(0.3) {
            steps.push(Step {
                command: command.clone(),
                if_match: Some(IfMatch::Stale),
            });
        }
        steps.push(Step { command, if_match });
    }
    steps
}

/// Something put into the cart, and taken out again, so that it costs what it did.
fn cart_changes(cart_id: &CartId, items: &[NewItem], rng: &mut SmallRng) -> Vec<CheckoutCommand> {
    let spare = SKUS
        .iter()
        .find(|name| items.iter().all(|item| item.sku.as_str() != **name));
    let (Some(spare), true) = (spare, rng.random_bool(0.6)) else {
        return Vec::new();
    };
    let distinct: BTreeSet<&Sku> = items.iter().map(|item| &item.sku).collect();
    let line = u32::try_from(distinct.len() + 1).expect("few lines");
    let cart_id = || cart_id.clone();
    let mut changes = vec![CheckoutCommand::AddItem(AddItem {
        cart_id: cart_id(),
        item: item(spare, 2),
    })];
    for quantity in [5, 1].into_iter().take(rng.random_range(0..3)) {
        changes.push(CheckoutCommand::ChangeItem(ChangeItem {
            cart_id: cart_id(),
            line,
            quantity,
        }));
    }
    changes.push(CheckoutCommand::RemoveItem(RemoveItem {
        cart_id: cart_id(),
        line,
    }));
    changes
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
