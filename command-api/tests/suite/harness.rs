//! Builds the service on a log in memory, talks to it, and waits on conditions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use cartwright_command_api::app::{App, Running};
use cartwright_command_api::config::Config;
use cartwright_command_api::routes;
use cartwright_event_log::TopicPartition;
use cartwright_event_log::memory::MemoryLog;
use cartwright_events::codec::Codec;
use cartwright_events::{Context, Event, NODES_TOPIC, OWNERS_TOPIC, Stream};
use cartwright_service::health::Readiness;
use cartwright_service::{app, config, metrics};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Partitions of every context here.
pub const PARTITIONS: u32 = 2;

/// The longest that a condition is waited for: far more than it takes, so that only a failure
/// waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

const SETTINGS: &str = r#"
[http]
listen = "127.0.0.1:0"
[kafka]
bootstrap = "none"
[registry]
url = "none"
"#;

/// The settings of these tests, with `more` below them.
pub fn settings(more: &str) -> Config {
    let text = format!("{SETTINGS}{more}");
    let file = std::path::Path::new("test.toml");
    let config: Config = config::load_from(Some((file, &text)), "NONE__", []).unwrap();
    config.validate().unwrap();
    config
}

/// A log with every topic.
pub fn log() -> MemoryLog {
    let log = MemoryLog::waiting();
    for context in Context::ALL {
        let events = context.streams().iter().map(|stream| stream.topic());
        for topic in events.chain([
            context.inbox_topic(),
            context.journal_topic(),
            context.snapshots_topic(),
        ]) {
            log.create_topic(topic, PARTITIONS);
        }
        log.create_topic(context.snapshots_topic(), PARTITIONS);
    }
    for topic in [NODES_TOPIC, OWNERS_TOPIC] {
        log.create_topic(topic, 1);
    }
    log
}

/// Every event of a stream, over all partitions.
pub fn events_of(log: &MemoryLog, stream: Stream) -> Vec<Event> {
    let codec = Codec::fixed();
    (0..PARTITIONS)
        .flat_map(|p| {
            log.committed(&TopicPartition::new(stream.topic(), p))
                .unwrap()
        })
        .map(|record| codec.decode_event(stream, &record.value.unwrap()).unwrap())
        .collect()
}

/// A running service.
pub struct Service {
    pub log: MemoryLog,
    pub readiness: Readiness,
    pub router: Router,
    pub app: App,
    running: Option<Running>,
}

impl Service {
    /// With every shard serving and prices loaded.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    pub async fn start_with(more: &str) -> Self {
        let service = Self::starting(log(), &settings(more));
        service.ready().await;
        service
    }

    /// Its shards are still taking over.
    pub fn starting(log: MemoryLog, config: &Config) -> Self {
        let readiness = Readiness::new();
        let (app, running) = App::start(config, &log, &Codec::fixed(), &readiness).unwrap();
        let metrics = metrics::install().unwrap();
        let router = app::assemble(
            routes::router(app.clone()),
            &config.http,
            &readiness,
            &metrics,
        );
        Self {
            log,
            readiness,
            router,
            app,
            running: Some(running),
        }
    }

    pub async fn ready(&self) {
        until(|| self.readiness.is_ready()).await;
    }

    /// Takes the threads, to stop them by hand.
    pub fn take_running(&mut self) -> Running {
        self.running.take().unwrap()
    }

    pub async fn send(&self, call: Call) -> Answer {
        Self::send_to(&self.router, call).await
    }

    pub async fn send_to(router: &Router, call: Call) -> Answer {
        let response = router.clone().oneshot(call.request()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub async fn accepted(&self, call: Call) -> Answer {
        let answer = self.send(call).await;
        assert!(
            answer.status.is_success(),
            "{} {}",
            answer.status,
            answer.text()
        );
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Call::new(Method::GET, path)).await
    }

    /// What `/metrics` says of a counter with these labels. All services of this process count together.
    pub async fn counted(&self, name: &str, labels: &str) -> u64 {
        let metrics = self.get("/metrics").await;
        let line = format!("{name}{{{labels}}} ");
        let mut lines = metrics.text().lines();
        let value = lines.find_map(|found| found.strip_prefix(&line));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Every event of a stream, over all partitions.
    pub fn events(&self, stream: Stream) -> Vec<Event> {
        events_of(&self.log, stream)
    }

    /// A product at `price_minor` pence with `stock` units; prices know it when this returns.
    pub async fn product(&self, sku: &str, price_minor: i64, stock: i64) -> String {
        let body = json!({"sku": sku, "name": format!("Product {sku}"),
            "price": {"amount_minor": price_minor, "currency": "GBP"}});
        let created = self.accepted(Call::post("/v1/products").json(&body)).await;
        let position = created.header("cartwright-position").unwrap().to_owned();
        if stock > 0 {
            let receipts = format!("/v1/stock/{sku}/receipts");
            self.accepted(Call::post(&receipts).json(&json!({"quantity": stock})))
                .await;
        }
        self.app
            .prices
            .holds(&position.parse().unwrap(), PATIENCE)
            .await
            .unwrap();
        position
    }

    /// A cart with one line; returns its id.
    pub async fn cart(&self, sku: &str, quantity: i64) -> String {
        let body = json!({"currency": "GBP", "items": [{"sku": sku, "quantity": quantity}]});
        let cart = self.accepted(Call::post("/v1/carts").json(&body)).await;
        cart.json()["id"].as_str().unwrap().to_owned()
    }

    /// A confirmed order of `quantity` units, its total in pence.
    pub async fn order(&self, sku: &str, quantity: i64) -> (String, i64) {
        let id = self.cart(sku, quantity).await;
        let checkout = Call::post(&format!("/v1/carts/{id}/checkout")).header("prefer", "wait=10");
        let order = self.accepted(checkout).await.json();
        assert_eq!(order["status"], "confirmed", "{order}");
        (id, order["total_minor"].as_i64().unwrap())
    }

    /// An order that is paid in full.
    pub async fn paid_order(&self, sku: &str, quantity: i64) -> String {
        let (id, total_minor) = self.order(sku, quantity).await;
        self.accepted(payment(&id, "op-1", "captured", total_minor))
            .await;
        id
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.log.clear_faults();
            let stopped = running.stop(PATIENCE);
            assert!(
                stopped || std::thread::panicking(),
                "the shards did not stop"
            );
        }
    }
}

/// A report of the payment provider.
pub fn payment(order: &str, operation: &str, kind: &str, amount_minor: i64) -> Call {
    Call::post(&format!("/v1/orders/{order}/payments")).json(&json!({
        "payment_id": "pay-1", "operation_id": operation, "kind": kind,
        "amount": {"amount_minor": amount_minor, "currency": "GBP"}}))
}

/// A request to be sent.
#[derive(Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Call {
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// A POST under a key of its own.
    pub fn post(path: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let key = format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self::new(Method::POST, path).key(&key)
    }

    pub fn put(path: &str) -> Self {
        Self::new(Method::PUT, path)
    }

    pub fn key(mut self, key: &str) -> Self {
        self.headers.retain(|(name, _)| name != "idempotency-key");
        self.header("idempotency-key", &format!("\"{key}\""))
    }

    pub fn without_key(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "idempotency-key");
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    pub fn text(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    pub fn request(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let media_named = self.headers.iter().any(|(name, _)| name == "content-type");
        if self.body.is_some() && !media_named {
            request = request.header("content-type", "application/json");
        }
        request
            .body(self.body.map_or(Body::empty(), Body::from))
            .unwrap()
    }
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The problem, which has to have this status and code.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), &body["code"]),
            (status, &json!(code)),
            "{body}"
        );
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(body["status"], status);
        body
    }

    /// The version and position of an accepted command, after checking what holds for all.
    pub fn stands(&self, status: u16, id: &str, version: u64) -> Value {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(
            (&body["id"], &body["version"]),
            (&json!(id), &json!(version)),
            "{body}"
        );
        assert_eq!(
            body["position"].as_str(),
            self.header("cartwright-position")
        );
        body
    }
}

/// Waits until the condition holds.
pub async fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < PATIENCE,
            "the condition did not come true"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
