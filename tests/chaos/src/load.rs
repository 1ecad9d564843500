//! Clients under load, and the history of what they asked and were told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::ground::Ground;

const SKUS: [&str; 6] = ["mug", "lamp", "chair", "desk", "clock", "hot"];
const PRICE: i64 = 1_000;
/// How long a client goes on trying one command.
const PATIENCE: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(25);

/// The load and what became of it.
pub(crate) struct Load {
    http: reqwest::Client,
    nodes: Vec<String>,
    history: Mutex<BufWriter<File>>,
    began: Instant,
    seed: u64,
    stopped: AtomicBool,
    operations: AtomicU64,
    /// Attempts by outcome.
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    /// When something was last answered with success, and every time it was.
    answered: Mutex<Vec<Instant>>,
}

/// What a client wants.
struct Wish {
    what: &'static str,
    method: Method,
    path: String,
    aggregate: String,
    body: Value,
}

impl Load {
    pub(crate) fn new(ground: &Ground, seed: u64) -> anyhow::Result<Self> {
        let history = File::create(ground.history()).context("creating the history")?;
        let nodes = 0..ground.nodes.len();
        Ok(Self {
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(12))
                .build()?,
            nodes: nodes
                .map(|node| format!("http://127.0.0.1:{}", ground.node_port(node)))
                .collect(),
            history: Mutex::new(BufWriter::new(history)),
            began: Instant::now(),
            seed,
            stopped: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            outcomes: Mutex::default(),
            answered: Mutex::default(),
        })
    }

    /// Products and stock; `hot` is scarce.
    pub(crate) async fn open_the_shop(&self) -> anyhow::Result<()> {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        for sku in SKUS {
            let product = wish(
                "product.create",
                Method::POST,
                "/v1/products".to_owned(),
                sku,
                json!({"sku": sku, "name": sku, "price": money(PRICE)}),
            );
            let done = self.ask("owner", &product, &mut rng).await;
            anyhow::ensure!(done.is_some(), "product {sku} could not be made");
            let quantity = if sku == "hot" { 25 } else { 1_000_000 };
            let receipt = wish(
                "stock.receive",
                Method::POST,
                format!("/v1/stock/{sku}/receipts"),
                sku,
                json!({"quantity": quantity, "reference": "opening"}),
            );
            let done = self.ask("owner", &receipt, &mut rng).await;
            anyhow::ensure!(done.is_some(), "stock of {sku} could not be received");
        }
        Ok(())
    }

    pub(crate) fn start(self: &Arc<Self>, clients: u64) -> Vec<JoinHandle<()>> {
        (0..clients)
            .map(|client| {
                let load = Arc::clone(self);
                tokio::spawn(async move { load.client(client).await })
            })
            .collect()
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    async fn client(&self, client: u64) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (client + 1).wrapping_mul(0x9e37_79b9));
        let name = format!("client-{client}");
        let mut visit = 0_u64;
        while !self.stopped.load(Ordering::SeqCst) {
            visit += 1;
            for wish in visit_of(&format!("cart-{}-{client}-{visit}", self.seed), &mut rng) {
                if self.ask(&name, &wish, &mut rng).await.is_none() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Sends a command under one key until it is decided. `None` when it was refused or nobody knows.
    async fn ask(&self, client: &str, wish: &Wish, rng: &mut SmallRng) -> Option<Value> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst);
        let key = format!("key-{}-{number}", self.seed);
        self.note(client, &key, wish, "invoke", &json!({}));
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let node = &self.nodes[rng.random_range(0..self.nodes.len())];
            match self.attempt(node, &key, wish).await {
                Attempt::Ok(status, body) => {
                    self.count("ok");
                    lock(&self.answered).push(Instant::now());
                    let told = json!({"status": status, "body": body});
                    self.note(client, &key, wish, "ok", &told);
                    return Some(body);
                }
                Attempt::Refused(status, body) => {
                    self.count("refused");
                    let told = json!({"status": status, "body": body});
                    self.note(client, &key, wish, "fail", &told);
                    return None;
                }
                Attempt::Again(why) => {
                    self.count(why);
                    tokio::time::sleep(Duration::from_millis(rng.random_range(50..300))).await;
                }
            }
        }
        self.note(client, &key, wish, "unknown", &json!({}));
        None
    }

    async fn attempt(&self, node: &str, key: &str, wish: &Wish) -> Attempt {
        let sent = self
            .http
            .request(wish.method.clone(), format!("{node}{}", wish.path))
            .header("Idempotency-Key", format!("\"{key}\""))
            .header("Prefer", "wait=2")
            .json(&wish.body)
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) if error.is_timeout() => return Attempt::Again("unknown: timed out"),
            Err(error) if error.is_connect() => return Attempt::Again("no connection"),
            Err(_) => return Attempt::Again("unknown: connection broke"),
        };
        let status = response.status().as_u16();
        let Ok(body) = response.json::<Value>().await else {
            return Attempt::Again("unknown: answer broke off");
        };
        match status {
            200..300 => Attempt::Ok(status, body),
            503 => Attempt::Again("503"),
            429 => Attempt::Again("429"),
            500..600 => Attempt::Again("unknown: 5xx"),
            // The price table of a node that has just started may be behind.
            404 if body["code"] == "unknown_product" => Attempt::Again("product not seen yet"),
            _ => Attempt::Refused(status, body),
        }
    }

    fn note(&self, client: &str, key: &str, wish: &Wish, event: &str, told: &Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = json!({
            // Of one process, so that order in it is real.
            "at_us": u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            "time_ms": now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
            "client": client, "event": event, "op": wish.what, "key": key,
            "aggregate": wish.aggregate, "request": wish.body, "told": told,
        });
        let mut history = lock(&self.history);
        let _ = writeln!(history, "{line}").and_then(|()| history.flush());
    }

    fn count(&self, outcome: &'static str) {
        *lock(&self.outcomes).entry(outcome).or_default() += 1;
    }

    pub(crate) fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.outcomes).clone()
    }

    /// The longest time without a success that touches what lies between `from` and `to`.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let answered = lock(&self.answered);
        let begin = answered.partition_point(|at| *at < from).saturating_sub(1);
        let mut longest = Duration::ZERO;
        let mut last = answered.get(begin).copied().unwrap_or(from);
        for at in answered[begin..].iter().copied().chain([to]) {
            longest = longest.max(at.saturating_duration_since(last));
            if at > to {
                break;
            }
            last = last.max(at);
        }
        longest
    }
}

enum Attempt {
    Ok(u16, Value),
    Refused(u16, Value),
    Again(&'static str),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wish(what: &'static str, method: Method, path: String, aggregate: &str, body: Value) -> Wish {
    Wish {
        what,
        method,
        path,
        aggregate: aggregate.to_owned(),
        body,
    }
}

fn money(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": "GBP"})
}

/// What a client does in the shop.
fn visit_of(cart: &str, rng: &mut SmallRng) -> Vec<Wish> {
    let sku = SKUS[rng.random_range(0..SKUS.len())];
    let other = SKUS[rng.random_range(0..SKUS.len() - 1)];
    let quantity = rng.random_range(1..=2);
    let post = |what, path: String, body| wish(what, Method::POST, path, cart, body);
    let order = |end: &str| format!("/v1/orders/{cart}/{end}");
    let pay = |kind: &str, amount| {
        let body = json!({
            "payment_id": "payment", "operation_id": kind, "kind": kind, "amount": money(amount),
        });
        post("order.pay", order("payments"), body)
    };
    let item = |sku: &str, quantity: i64| json!({"sku": sku, "quantity": quantity});
    let total = (quantity + 1) * PRICE;
    let mut wishes = vec![
        post(
            "cart.create",
            "/v1/carts".to_owned(),
            json!({"cart_id": cart, "currency": "GBP", "items": [item(sku, quantity)]}),
        ),
        post(
            "cart.add",
            format!("/v1/carts/{cart}/items"),
            item(other, 1),
        ),
        post(
            "cart.checkout",
            format!("/v1/carts/{cart}/checkout"),
            json!({}),
        ),
    ];
    match rng.random_range(0..5) {
        0 => wishes.push(post(
            "order.cancel",
            order("cancel"),
            json!({"reference": "enough"}),
        )),
        1 => wishes.push(pay("failed", total)),
        _ => {
            wishes.push(pay("captured", total));
            wishes.push(post(
                "order.ship",
                order("shipments"),
                json!({"shipment_id": "parcel"}),
            ));
        }
    }
    wishes
}
