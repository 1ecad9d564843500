//! What shoppers and the shop's owner set out to do.

use std::collections::BTreeSet;

use cartwright_domain::{
    AddItem, Cancel, CatalogCommand, ChangeItem, CheckOut, CheckoutCommand, CreateCart,
    CreateProduct, InventoryCommand, LineQuantity, NewItem, Pay, Price, ReceiveStock, RemoveItem,
    Return, Ship,
};
use cartwright_events::order::PaymentKind;
use cartwright_events::{CartId, Currency, OrderId, Reference, Sku};
use rand::Rng;
use rand::rngs::SmallRng;

/// SKUs of the simulated shop; the last one is scarce.
const SKUS: [&str; 4] = ["mug", "lamp", "chair", "hot"];
/// Price of one unit of everything.
pub(crate) const PRICE: i64 = 1_000;
/// Units received of a SKU.
const STOCK: i64 = 30;
/// Units received of the scarce SKU.
const SCARCE: i64 = 3;

/// A command to one of the contexts.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Catalog(CatalogCommand),
    Inventory(InventoryCommand),
    Checkout(CheckoutCommand),
}

/// A step of a script.
pub(crate) struct Step {
    pub(crate) command: Command,
    /// What it says about the cart's version, if it says anything.
    pub(crate) if_match: Option<IfMatch>,
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
pub(crate) enum IfMatch {
    /// The one that it was told last.
    Latest,
    /// The one before that, as a client that has missed a change would.
    Stale,
}

/// The owner fills the shelves.
pub(crate) fn of_owner() -> Vec<Step> {
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
    script
}

/// A shopper fills a cart, makes an order of it, pays or does not, and what follows.
pub(crate) fn of_shopper(name: &str, rng: &mut SmallRng) -> Vec<Step> {
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
