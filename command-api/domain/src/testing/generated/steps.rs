//! What can happen in the shop, and how likely.

use cartwright_events::order::PaymentKind;
use proptest::prelude::*;

use crate::testing::build::*;
use crate::{
    AddItem, AdjustStock, Cancel, CatalogCommand, ChangeItem, ChangePrice, CheckOut,
    CheckoutCommand, CreateCart, InventoryCommand, NewItem, Pay, ReceiveStock, RemoveItem,
    RetireProduct, Return, Ship,
};

/// What is sold.
pub(super) const SKUS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// Something that happens in the shop.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Catalog(CatalogCommand),
    Inventory(InventoryCommand),
    Checkout(CheckoutCommand),
    Deliver(usize),
    DeliverAll,
    Pass(i64),
}

/// Whether the command carries a reference that makes it safe to repeat at any time.
pub(super) fn is_once_for_ever(step: &Step) -> bool {
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
        Step::Deliver(_) | Step::DeliverAll | Step::Pass(_) => false,
    }
}

fn any_sku() -> impl Strategy<Value = &'static str> {
    // The first ones are hot.
    prop_oneof![3 => Just(SKUS[0]), 2 => Just(SKUS[1]), 1 => (2..SKUS.len()).prop_map(|i| SKUS[i])]
}

fn any_id() -> impl Strategy<Value = String> {
    (0..6).prop_map(|number| format!("o{number}"))
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
    let receive = (any_sku(), 1..20i64, with_reference()).prop_map(|(name, quantity, named)| {
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
    let correct = (any_sku(), -20..6i64, with_reference()).prop_map(move |(name, delta, named)| {
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
    let amount = prop_oneof![3 => Just(gbp(500)), 3 => (1..60i64).prop_map(gbp), 1 => (1..9i64).prop_map(eur)];
    let kind = prop_oneof![
        6 => Just(PaymentKind::Captured),
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
    prop_oneof![8 => pay, 6 => ship, 6 => bring_back, 1 => cancel].prop_map(Step::Checkout)
}

pub(super) fn any_step(adjust: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => catalog_step(),
        4 => inventory_step(adjust),
        8 => cart_step(),
        8 => order_step(),
        8 => (0..8usize).prop_map(Step::Deliver),
        2 => Just(Step::DeliverAll),
        1 => (1..40i64).prop_map(Step::Pass),
    ]
}
