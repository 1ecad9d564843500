//! The part of the shop's HTTP API that an import uses, in memory: enough to tell whether a client
//! repeats itself safely. Every third call or so fails, before or after it had its effect.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

#[derive(Default, Clone, Debug, PartialEq)]
pub struct Order {
    pub lines: Vec<(String, i64, i64)>,
    pub total: i64,
    pub status: String,
    pub captured: i64,
    pub refunded: i64,
    pub returned: BTreeMap<i64, i64>,
}

#[derive(Default, Debug)]
pub struct Shop {
    pub products: BTreeMap<String, Value>,
    pub stock: BTreeMap<String, i64>,
    pub orders: BTreeMap<String, Order>,
    /// Every thing that happened, by its reference.
    once: HashMap<String, Value>,
    /// What was decided under each idempotency key, and for which request.
    by_key: HashMap<String, (String, Result<Value, &'static str>)>,
    pub refuse_sku: Option<String>,
    pub refuse_quoted_prices: bool,
    /// The order that expires before it is paid.
    pub expire_next: Option<String>,
    /// The order whose deadline passes just before its money comes.
    pub pay_too_late: Option<String>,
    /// Refunds are heard of and never answered.
    pub refunds_hang: bool,
    pub refunds_asked_for: u64,
}

#[derive(Clone, Default)]
pub struct FakeShop {
    pub shop: Arc<Mutex<Shop>>,
    calls: Arc<AtomicU64>,
    /// One call in so many fails; 0: none.
    fail_one_in: Arc<AtomicU64>,
}

impl FakeShop {
    /// Serves on a free port; returns its URL.
    pub async fn serve(self, fail_one_in: u64) -> String {
        self.fail_one_in.store(fail_one_in, Ordering::Relaxed);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/v1/products", post(product))
            .route("/v1/stock/{sku}/receipts", post(receipt))
            .route("/v1/carts", post(cart))
            .route("/v1/carts/{id}/checkout", post(checkout))
            .route("/v1/orders/{id}/payments", post(payment))
            .route("/v1/orders/{id}/shipments", post(shipment))
            .route("/v1/orders/{id}/returns", post(goods_back))
            .route("/v1/orders/{id}", get(view))
            .route("/v1/reports/sales", get(view))
            .with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn refund_hangs(&self) -> bool {
        let mut shop = self.shop.lock().unwrap();
        shop.refunds_asked_for += 1;
        shop.refunds_hang
    }

    /// Does `work` once for each `reference` and answers, or fails now and then.
    fn answer(
        &self,
        headers: &HeaderMap,
        reference: String,
        body: &Bytes,
        work: impl FnOnce(&mut Shop, &Value) -> Result<Value, &'static str>,
    ) -> Response {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let one_in = self.fail_one_in.load(Ordering::Relaxed);
        let fails = one_in > 0 && call % one_in == one_in - 1;
        if fails && call.is_multiple_of(2) {
            let retry = [("retry-after", "0")];
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                retry,
                "{\"code\":\"overloaded\"}",
            )
                .into_response();
        }
        let key = headers
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok())
            .unwrap_or("");
        assert!(
            key.len() > 2 && key.starts_with('"') && key.ends_with('"'),
            "key {key:?}"
        );
        let body: Value = serde_json::from_slice(body).unwrap();
        let mut shop = self.shop.lock().unwrap();
        let asked = format!("{reference} {body}");
        let result = match shop.by_key.get(key).cloned() {
            Some((of, _)) if of != asked => Err("idempotency_key_reused"),
            Some((_, decided)) => decided,
            None => {
                let decided = shop.decide(&reference, &asked, &body, work);
                shop.by_key.insert(key.to_owned(), (asked, decided.clone()));
                decided
            }
        };
        let answer = match result {
            Ok(answer) => shop.as_it_stands(&reference, answer),
            Err(code) => return refusal(code),
        };
        if fails {
            // It happened, and nobody hears of it.
            return (
                StatusCode::GATEWAY_TIMEOUT,
                "{\"code\":\"unknown_outcome\"}",
            )
                .into_response();
        }
        let position = format!("g1:o0={}", shop.once.len());
        (
            StatusCode::OK,
            [("cartwright-position", position)],
            answer.to_string(),
        )
            .into_response()
    }
}

impl Shop {
    /// Does `work` unless it was done before.
    fn decide(
        &mut self,
        reference: &str,
        asked: &str,
        body: &Value,
        work: impl FnOnce(&mut Shop, &Value) -> Result<Value, &'static str>,
    ) -> Result<Value, &'static str> {
        if let Some(earlier) = self.once.get(asked) {
            return Ok(earlier.clone());
        }
        if self.once.contains_key(reference) {
            return Err(match reference.starts_with("product ") {
                true => "product_exists",
                false => "reference_reused",
            });
        }
        let answer = work(self, body)?;
        self.once.insert(asked.to_owned(), answer.clone());
        self.once.insert(reference.to_owned(), Value::Null);
        Ok(answer)
    }

    /// A checkout is answered with what its order is by now.
    fn as_it_stands(&self, reference: &str, mut answer: Value) -> Value {
        let order = reference.strip_prefix("checkout ");
        if let Some(order) = order.and_then(|id| self.orders.get(id)) {
            let has_ended = order.status == "expired";
            let due = if has_ended {
                order.captured - order.refunded
            } else {
                0
            };
            answer["status"] = json!(order.status);
            answer["refund_due_minor"] = json!(due);
        }
        answer
    }
}

fn refusal(code: &'static str) -> Response {
    let status = match code {
        "idempotency_key_reused" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::CONFLICT,
    };
    let problem = json!({"status": status.as_u16(), "code": code, "title": "no"});
    (status, problem.to_string()).into_response()
}

async fn view(headers: HeaderMap) -> Response {
    assert!(headers.contains_key("cartwright-position"));
    "{}".into_response()
}

async fn product(State(fake): State<FakeShop>, headers: HeaderMap, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let sku = asked["sku"].as_str().unwrap().to_owned();
    fake.answer(&headers, format!("product {sku}"), &body, |shop, body| {
        shop.products.insert(sku, body.clone());
        Ok(json!({}))
    })
}

async fn receipt(
    State(fake): State<FakeShop>,
    Path(sku): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    fake.answer(
        &headers,
        format!("receipt {sku} {}", asked["reference"]),
        &body,
        |shop, body| {
            *shop.stock.entry(sku).or_default() += body["quantity"].as_i64().unwrap();
            Ok(json!({}))
        },
    )
}

async fn cart(State(fake): State<FakeShop>, headers: HeaderMap, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let id = asked["cart_id"].as_str().unwrap().to_owned();
    fake.answer(&headers, format!("cart {id}"), &body, |shop, body| {
        if shop.refuse_quoted_prices {
            return Err("quoted_price_not_allowed");
        }
        let mut order = Order::default();
        for item in body["items"].as_array().unwrap() {
            let sku = item["sku"].as_str().unwrap();
            if shop.refuse_sku.as_deref() == Some(sku) || !shop.products.contains_key(sku) {
                return Err("unknown_product");
            }
            let quantity = item["quantity"].as_i64().unwrap();
            let price = item["quoted_price"]["amount_minor"].as_i64().unwrap();
            order.total += quantity * price;
            order.lines.push((sku.to_owned(), quantity, price));
        }
        shop.orders.insert(id, order);
        Ok(json!({}))
    })
}

async fn checkout(
    State(fake): State<FakeShop>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert!(headers["prefer"].to_str().unwrap().starts_with("wait="));
    fake.answer(&headers, format!("checkout {id}"), &body, |shop, body| {
        let Shop {
            orders,
            stock,
            expire_next,
            ..
        } = shop;
        let order = orders.get_mut(&id).ok_or("unknown_cart")?;
        if expire_next.as_ref() == Some(&id) {
            order.status = "expired".to_owned();
            return Ok(json!({"order_id": id}));
        }
        if body["expected_total"]["amount_minor"] != order.total {
            return Err("total_changed");
        }
        let mut after = stock.clone();
        for (sku, quantity, _) in &order.lines {
            *after.entry(sku.clone()).or_default() -= quantity;
        }
        order.status = "confirmed".to_owned();
        if after.values().any(|left| *left < 0) {
            order.status = "rejected".to_owned();
        } else {
            *stock = after;
        }
        Ok(json!({"order_id": id, "shortages": [{}]}))
    })
}

async fn payment(
    State(fake): State<FakeShop>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    if asked["kind"] == "refunded" && fake.refund_hangs() {
        return std::future::pending().await;
    }
    fake.answer(
        &headers,
        format!("payment {id} {}", asked["operation_id"]),
        &body,
        |shop, body| {
            let order = shop.orders.get_mut(&id).ok_or("unknown_order")?;
            if shop.pay_too_late.as_ref() == Some(&id) && order.status == "confirmed" {
                order.status = "expired".to_owned();
                for (sku, quantity, _) in &order.lines {
                    *shop.stock.entry(sku.clone()).or_default() += quantity;
                }
            }
            let amount = body["amount"]["amount_minor"].as_i64().unwrap();
            match body["kind"].as_str() {
                Some("captured") => order.captured += amount,
                Some("refunded") => order.refunded += amount,
                other => panic!("{other:?}"),
            }
            Ok(json!({}))
        },
    )
}

async fn shipment(
    State(fake): State<FakeShop>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    fake.answer(&headers, format!("shipment {id}"), &body, |shop, _| {
        let order = shop.orders.get_mut(&id).ok_or("unknown_order")?;
        if order.status == "expired" {
            return Err("order_ended");
        }
        if order.status != "confirmed" || order.captured != order.total {
            return Err("order_not_paid");
        }
        order.status = "shipped".to_owned();
        Ok(json!({}))
    })
}

async fn goods_back(
    State(fake): State<FakeShop>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    fake.answer(
        &headers,
        format!("return {id} {}", asked["return_id"]),
        &body,
        |shop, body| {
            let order = shop.orders.get_mut(&id).ok_or("unknown_order")?;
            if order.status != "shipped" {
                return Err("return_exceeds_shipped");
            }
            for line in body["lines"].as_array().unwrap() {
                let number = line["line"].as_i64().unwrap();
                let returned = order.returned.entry(number).or_default();
                *returned += line["quantity"].as_i64().unwrap();
                if *returned > order.lines[usize::try_from(number).unwrap() - 1].1 {
                    return Err("return_exceeds_shipped");
                }
            }
            Ok(json!({}))
        },
    )
}
