//! A shop whose events are what the domain decides, in a log as shards write it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cartwright_domain::{
    BoundedContext, Cancel, CheckOut, Checkout, CheckoutCommand, CheckoutSettings, CheckoutState,
    CreateCart, Decision, Inventory, InventoryCommand, InventorySettings, InventoryState, NewItem,
    Pay, Price, PricedProduct, Prices, ReceiveStock, Rejection, Ship,
};
use cartwright_events::order::PaymentKind;
use cartwright_events::{
    CartId, Context, Currency, Message, OrderId, Reference, Sku, Stream, Timestamp,
};

use crate::log::{PARTITIONS, TestLog};

pub struct Shop {
    pub log: TestLog,
    checkout: (Checkout, CheckoutState),
    inventory: (Inventory, InventoryState),
    seqs: BTreeMap<Stream, u64>,
    messages: VecDeque<Message>,
}

/// Everything costs 50 EUR cents.
struct OnePrice;

impl Prices for OnePrice {
    fn product(&self, _: &Sku) -> Option<PricedProduct> {
        Some(PricedProduct {
            name: "Thing".to_owned(),
            price_minor: 50,
            currency: currency("EUR"),
            catalog_seq: 1,
            retired: false,
        })
    }
}

pub fn currency(code: &str) -> Currency {
    Currency::new(code).expect("a currency")
}

fn order_id(id: &str) -> OrderId {
    OrderId::new(id).expect("an id")
}

fn reference(text: &str) -> Reference {
    Reference::new(text).expect("a reference")
}

/// What the payment provider reports of payment `p`; the amount is in minor units.
pub fn report(order: &str, operation: &str, kind: PaymentKind, amount: i64, code: &str) -> Pay {
    report_of("p", order, operation, kind, amount, code)
}

/// The same of another payment.
pub fn report_of(
    payment: &str,
    order: &str,
    operation: &str,
    kind: PaymentKind,
    amount: i64,
    code: &str,
) -> Pay {
    Pay {
        order_id: order_id(order),
        payment_id: reference(payment),
        operation_id: reference(operation),
        kind,
        amount: Price {
            amount_minor: amount,
            currency: currency(code),
        },
        occurred_at: None,
    }
}

pub fn cancel(order: &str) -> CheckoutCommand {
    CheckoutCommand::Cancel(Cancel {
        order_id: order_id(order),
        reference: None,
        note: None,
        occurred_at: None,
    })
}

/// All of it.
pub fn ship(order: &str) -> CheckoutCommand {
    CheckoutCommand::Ship(Ship {
        order_id: order_id(order),
        shipment_id: reference("all"),
        lines: None,
        occurred_at: None,
    })
}

impl Shop {
    /// With nine cups on the shelf.
    pub fn new() -> Self {
        let settings = CheckoutSettings {
            inventory_partitions: PARTITIONS,
            ..CheckoutSettings::default()
        };
        let inventory = Inventory {
            settings: InventorySettings {
                inventory_partitions: PARTITIONS,
                checkout_partitions: PARTITIONS,
            },
        };
        let mut shop = Self {
            log: TestLog::new(),
            checkout: (
                Checkout::new(settings, Arc::new(OnePrice)),
                CheckoutState::default(),
            ),
            inventory: (inventory, InventoryState::default()),
            seqs: BTreeMap::new(),
            messages: VecDeque::new(),
        };
        let receipt = InventoryCommand::ReceiveStock(ReceiveStock {
            sku: Sku::new("cup").expect("a sku"),
            quantity: 9,
            reference: None,
        });
        let (inventory, state) = &shop.inventory;
        let decided = inventory.decide(state, &receipt, Timestamp::now());
        let (decision, _) = decided.expect("accepted");
        shop.take("receipt", &decision);
        shop
    }

    /// Order `id` of two cups, confirmed.
    pub fn order(&mut self, id: &str) {
        let cart_id = CartId::new(id).expect("an id");
        self.checkout(CheckoutCommand::CreateCart(CreateCart {
            cart_id: cart_id.clone(),
            customer_id: None,
            currency: currency("EUR"),
            ship_to_country: None,
            external_reference: None,
            items: vec![NewItem {
                sku: Sku::new("cup").expect("a sku"),
                quantity: 2,
                expected_price: None,
                quoted_price: None,
            }],
        }));
        self.checkout(CheckoutCommand::CheckOut(CheckOut {
            cart_id,
            expected_total: None,
            occurred_at: None,
        }));
    }

    /// The provider reports.
    pub fn pay(&mut self, report: Pay) {
        self.checkout(CheckoutCommand::Pay(report));
    }

    /// A command is accepted, and all that it leads to happens.
    pub fn checkout(&mut self, command: CheckoutCommand) {
        if let Err(rejection) = self.ask(command) {
            panic!("{rejection:?}");
        }
    }

    /// A command is decided; one that is refused is in the journal alone.
    pub fn ask(&mut self, command: CheckoutCommand) -> Result<(), Rejection> {
        let (checkout, state) = &self.checkout;
        match checkout.decide(state, &command, Timestamp::now()) {
            Ok((decision, _)) => self.take("command", &decision),
            Err(rejection) => {
                self.log.reject("refused", command.id(), &rejection);
                return Err(rejection);
            }
        }
        while let Some(message) = self.messages.pop_front() {
            let now = Timestamp::now();
            let decision = match message.target() {
                Context::Inventory => self.inventory.0.receive(&self.inventory.1, &message, now),
                _ => self.checkout.0.receive(&self.checkout.1, &message, now),
            };
            self.take("message", &decision);
        }
        Ok(())
    }

    fn take(&mut self, command: &str, decision: &Decision) {
        if decision.events.is_empty() && decision.messages.is_empty() {
            return;
        }
        for event in &decision.events {
            let seq = self.seqs.entry(event.body.stream()).or_default();
            *seq += 1;
            let evolved = match event.body.stream() {
                Stream::Stock => self.inventory.0.evolve(&mut self.inventory.1, event, *seq),
                _ => self.checkout.0.evolve(&mut self.checkout.1, event, *seq),
            };
            evolved.expect("it fits");
        }
        let messages = decision.messages.iter();
        let messages: Vec<_> = messages
            .map(|outgoing| (outgoing.partition, outgoing.message.clone()))
            .collect();
        self.log.commit(command, &decision.events, &messages);
        let sent = messages.into_iter().map(|(_, message)| message);
        self.messages.extend(sent);
    }
}
