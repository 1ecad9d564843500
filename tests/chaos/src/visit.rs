//! What a client does in the shop.

use rand::Rng;
use rand::rngs::SmallRng;
use reqwest::Method;
use serde_json::{Value, json};

/// What is sold. The last one is scarce.
const SKUS: [&str; 6] = ["mug", "lamp", "chair", "desk", "clock", "hot"];
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
}

fn wish(what: &'static str, path: String, aggregate: &str, body: Value) -> Wish {
    Wish {
        what,
        method: Method::POST,
        path,
        aggregate: aggregate.to_owned(),
        body,
        queued: false,
    }
}

fn money(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": "GBP"})
}

/// Products, then their stock.
pub(crate) fn opening() -> Vec<Wish> {
    let products = SKUS.map(|sku| {
        let body = json!({"sku": sku, "name": sku, "price": money(PRICE)});
        wish("product.create", "/v1/products".to_owned(), sku, body)
    });
    let stock = SKUS.map(|sku| {
        let quantity = if sku == "hot" { FEW } else { PLENTY };
        let body = json!({"quantity": quantity, "reference": "opening"});
        wish(
            "stock.receive",
            format!("/v1/stock/{sku}/receipts"),
            sku,
            body,
        )
    });
    products.into_iter().chain(stock).collect()
}

/// A cart, its checkout, and what follows: mostly paid and sent, some of it sent back; sometimes cancelled or
/// unpaid.
pub(crate) fn visit(cart: &str, rng: &mut SmallRng) -> Vec<Wish> {
    let sku = SKUS[rng.random_range(0..SKUS.len())];
    let other = SKUS[rng.random_range(0..SKUS.len() - 1)];
    let quantity = rng.random_range(1..=2);
    let order = |end: &str| format!("/v1/orders/{cart}/{end}");
    let pay = |kind: &str, amount| {
        let body = json!({
            "payment_id": "payment", "operation_id": kind, "kind": kind, "amount": money(amount),
        });
        wish("order.pay", order("payments"), cart, body)
    };
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
        0 => wishes.push(wish(
            "order.cancel",
            order("cancel"),
            cart,
            json!({"reference": "enough"}),
        )),
        1 => wishes.push(pay("failed", total)),
        _ => {
            wishes.push(pay("captured", total));
            wishes.push(wish(
                "order.ship",
                order("shipments"),
                cart,
                json!({"shipment_id": "parcel"}),
            ));
            if rng.random_range(0..3) == 0 {
                let back = json!({
                    "return_id": "back", "lines": [{"line": 1, "quantity": 1}], "restock": true,
                });
                wishes.push(wish("order.return", order("returns"), cart, back));
                wishes.push(pay("refunded", PRICE));
            }
        }
    }
    wishes
}
