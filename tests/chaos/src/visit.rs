//! What a client does in the shop.

use rand::Rng;
use rand::rngs::SmallRng;
use reqwest::Method;
use serde_json::{Value, json};

/// What is sold. The last one is scarce.
pub(crate) const SKUS: [&str; 6] = ["mug", "lamp", "chair", "desk", "clock", "hot"];
/// What is sold at prices that change; only in carts that clients share.
pub(crate) const BARGAIN: &str = "bargain";
const PRICE: i64 = 1_000;
const PLENTY: i64 = 1_000_000;
const FEW: i64 = 25;

/// What a client wants.
pub(crate) struct Wish {
    /// The aggregate's kind and what is asked of it, for the history.
    pub(crate) what: &'static str,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) aggregate: String,
    pub(crate) body: Value,
    /// Sent to be queued (`Prefer: respond-async`).
    pub(crate) queued: bool,
    /// The version that the aggregate has to be at (`If-Match`).
    pub(crate) at_version: Option<u64>,
}

pub(crate) fn wish(what: &'static str, path: String, aggregate: &str, body: Value) -> Wish {
    Wish {
        what,
        method: Method::POST,
        path,
        aggregate: aggregate.to_owned(),
        body,
        queued: false,
        at_version: None,
    }
}

pub(crate) fn money(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": "GBP"})
}

/// Products, then their stock.
pub(crate) fn opening() -> Vec<Wish> {
    let all = || SKUS.into_iter().chain([BARGAIN]);
    let products = all().map(|sku| {
        let body = json!({"sku": sku, "name": sku, "price": money(PRICE)});
        wish("product.create", "/v1/products".to_owned(), sku, body)
    });
    let stock = all().map(|sku| {
        let quantity = if sku == "hot" { FEW } else { PLENTY };
        let body = json!({"quantity": quantity, "reference": "opening"});
        wish(
            "stock.receive",
            format!("/v1/stock/{sku}/receipts"),
            sku,
            body,
        )
    });
    products.chain(stock).collect()
}

/// A cart, its checkout, and what follows: mostly paid and sent, some of it sent back; sometimes cancelled or
/// unpaid.
pub(crate) fn visit(cart: &str, rng: &mut SmallRng) -> Vec<Wish> {
    let sku = SKUS[rng.random_range(0..SKUS.len())];
    let other = SKUS[rng.random_range(0..SKUS.len() - 1)];
    let quantity = rng.random_range(1..=2);
    let item = |sku: &str, quantity: i64| json!({"sku": sku, "quantity": quantity});
    let total = (quantity + 1) * PRICE;
    let mut wishes = vec![
        wish(
            "cart.create",
            "/v1/carts".to_owned(),
            cart,
            json!({"cart_id": cart, "currency": "GBP", "items": [item(sku, quantity)]}),
        ),
        Wish {
            queued: rng.random_range(0..4) == 0,
            ..wish(
                "cart.add",
                format!("/v1/carts/{cart}/items"),
                cart,
                item(other, 1),
            )
        },
        wish(
            "cart.checkout",
            format!("/v1/carts/{cart}/checkout"),
            cart,
            json!({}),
        ),
    ];
    match rng.random_range(0..5) {
        0 => wishes.push(cancel(cart)),
        1 => wishes.push(pay(cart, "failed", "failed", total)),
        _ => {
            wishes.extend([pay(cart, "captured", "captured", total), ship(cart)]);
            if rng.random_range(0..3) == 0 {
                wishes.push(send_back(cart, "back", true));
                wishes.push(pay(cart, "refunded", "refunded", PRICE));
            }
        }
    }
    wishes
}

/// Something that comes late, for an order that was left alone for a while: goods come back, money comes
/// in or is reported again, it is called off. Some of it is refused, some is a repeat. `number` is new.
pub(crate) fn late(order: &str, number: u64, rng: &mut SmallRng) -> Wish {
    match rng.random_range(0..4) {
        0 => send_back(order, &format!("late-{number}"), rng.random()),
        1 => pay(order, &format!("late-{number}"), "captured", PRICE),
        // As most of them were paid: the same operation, be it with the same amount or another one.
        2 => pay(
            order,
            "captured",
            "captured",
            rng.random_range(2..=3) * PRICE,
        ),
        _ => cancel(order),
    }
}

fn of_order(what: &'static str, order: &str, end: &str, body: Value) -> Wish {
    wish(what, format!("/v1/orders/{order}/{end}"), order, body)
}

pub(crate) fn pay(order: &str, operation: &str, kind: &str, amount_minor: i64) -> Wish {
    let body = json!({
        "payment_id": "payment", "operation_id": operation, "kind": kind,
        "amount": money(amount_minor),
    });
    of_order("order.pay", order, "payments", body)
}

pub(crate) fn ship(order: &str) -> Wish {
    let body = json!({"shipment_id": "parcel"});
    of_order("order.ship", order, "shipments", body)
}

fn send_back(order: &str, return_id: &str, restock: bool) -> Wish {
    let lines = [json!({"line": 1, "quantity": 1})];
    let body = json!({"return_id": return_id, "lines": lines, "restock": restock});
    of_order("order.return", order, "returns", body)
}

fn cancel(order: &str) -> Wish {
    of_order(
        "order.cancel",
        order,
        "cancel",
        json!({"reference": "enough"}),
    )
}
