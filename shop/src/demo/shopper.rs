//! A shopper: one cart, one order, one step after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cartwright_events::{PositionToken, Stream};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use thiserror::Error;

use super::catalog::{CURRENCY, Product};
use super::floor::Floor;
use crate::client::{Answer, CallError, Problem, Request, segment};

const COUNTRIES: [&str; 6] = [
    "United Kingdom",
    "Ireland",
    "France",
    "Germany",
    "Spain",
    "Norway",
];
/// How long a checkout may wait for its outcome at the service, in seconds.
const CHECKOUT_WAIT_SECONDS: u32 = 10;

/// A story could not go on.
#[derive(Debug, Error)]
pub enum StoryError {
    /// A step was refused, or nothing answered.
    #[error("{step}: {error}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why.
        error: CallError,
    },
    /// A step was answered otherwise than the story has it.
    #[error("{0}")]
    OffScript(String),
}

/// Result of a story's step.
pub type Step<T> = Result<T, StoryError>;

/// A shopper on the floor.
pub struct Shopper {
    /// The floor.
    pub floor: Arc<Floor>,
    /// The shopper's own chance.
    pub random: SmallRng,
    /// The cart, and so the order.
    pub id: String,
    /// Price of the order, in cents, after the checkout.
    pub total_minor: i64,
    customer: String,
    steps: u32,
    seen: PositionToken,
    answered: Instant,
}

/// Amount of money, as the API takes it.
#[must_use]
pub fn money(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": CURRENCY})
}

impl Shopper {
    /// Shopper `number` of a run with this seed.
    #[must_use]
    pub fn new(floor: &Arc<Floor>, seed: u64, number: usize) -> Self {
        Self {
            random: SmallRng::seed_from_u64(
                seed.wrapping_mul(1_000_003).wrapping_add(number as u64),
            ),
            id: format!("demo-{}-{number}", floor.run),
            total_minor: 0,
            customer: format!("shopper-{seed}-{}", number % 120),
            steps: 0,
            seen: PositionToken::default(),
            answered: Instant::now(),
            floor: Arc::clone(floor),
        }
    }

    /// Thinks for a moment.
    pub async fn think(&mut self) {
        let millis = self.random.random_range(40..400);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// A key for the shopper's next step.
    pub fn next_key(&mut self) -> String {
        self.steps += 1;
        let number = self.id.rsplit('-').next().unwrap_or_default();
        self.floor.key(&format!("{number}-{}", self.steps))
    }

    /// Sends a command and keeps its position.
    ///
    /// # Errors
    /// [`StoryError::Step`].
    pub async fn send(&mut self, step: &'static str, request: &Request) -> Step<Answer> {
        let result = self.floor.command(step, request).await;
        let answer = result.map_err(|error| StoryError::Step { step, error })?;
        self.keep(&answer);
        Ok(answer)
    }

    /// Keeps the position of an answer.
    pub fn keep(&mut self, answer: &Answer) {
        self.answered = Instant::now();
        if let Some(position) = &answer.position {
            if self.seen.seqs.is_empty() {
                self.seen.generation = position.generation;
            }
            self.seen.merge(position);
        }
    }

    /// Sends a command that has to be refused with `code`, and gives the refusal.
    ///
    /// # Errors
    /// [`StoryError`], also when it is accepted.
    pub async fn refused(
        &mut self,
        step: &'static str,
        code: &str,
        request: &Request,
    ) -> Step<Problem> {
        match self.floor.command(step, request).await {
            Err(CallError::Refused(problem)) if problem.code == code => Ok(*problem),
            Err(error) => Err(StoryError::Step { step, error }),
            Ok(_) => Err(StoryError::OffScript(format!(
                "{step}: accepted, {code} was due"
            ))),
        }
    }

    /// The request that opens the cart.
    pub fn cart_request(&mut self) -> Request {
        let country = COUNTRIES[self.random.random_range(0..COUNTRIES.len())];
        let mut body =
            json!({"cart_id": self.id, "currency": CURRENCY, "ship_to_country": country});
        if self.random.random_bool(0.85) {
            body["customer_id"] = json!(self.customer);
        }
        Request::post("/v1/carts", self.next_key(), &body)
    }

    /// Opens the cart.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn open_cart(&mut self) -> Step<()> {
        let request = self.cart_request();
        self.send("open cart", &request).await.map(drop)
    }

    /// The request that puts something into the cart at the price that the shopper saw.
    pub fn add_request(&mut self, product: &Product, quantity: i64) -> Request {
        let body = json!({
            "sku": product.sku,
            "quantity": quantity,
            "expected_price": money(product.price_minor),
        });
        let path = format!("/v1/carts/{}/items", segment(&self.id));
        Request::post(path, self.next_key(), &body)
    }

    /// Puts something into the cart.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn add(&mut self, product: &Product, quantity: i64) -> Step<()> {
        let request = self.add_request(product, quantity);
        // Where the price was read it was known; the shop has to know it as well.
        let request = request.at(self.floor.position_of(Stream::Product).to_string());
        self.send("add item", &request).await.map(drop)
    }

    /// Changes a line to so many units.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn change(&mut self, line: u32, quantity: i64) -> Step<()> {
        let path = format!("/v1/carts/{}/items/{line}", segment(&self.id));
        let request = Request::put(path, self.next_key(), &json!({"quantity": quantity}));
        self.send("change item", &request).await.map(drop)
    }

    /// The request that makes an order of the cart.
    pub fn checkout_request(&mut self, expected_minor: Option<i64>) -> Request {
        let body = match expected_minor {
            Some(minor) => json!({"expected_total": money(minor)}),
            None => json!({}),
        };
        let path = format!("/v1/carts/{}/checkout", segment(&self.id));
        Request::post(path, self.next_key(), &body).wait(CHECKOUT_WAIT_SECONDS)
    }

    /// Makes an order of the cart. Says whether it is confirmed; otherwise it was out of stock.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn check_out(&mut self, request: &Request) -> Step<bool> {
        loop {
            let answer = self.send("checkout", request).await?;
            if answer.text("status") != "pending" {
                return self.checked_out(&answer);
            }
        }
    }

    /// Notes the outcome of a checkout.
    ///
    /// # Errors
    /// [`StoryError::OffScript`] when it is neither confirmed nor out of stock.
    pub fn checked_out(&mut self, answer: &Answer) -> Step<bool> {
        self.total_minor = answer.number("total_minor").unwrap_or_default();
        match answer.text("status") {
            "confirmed" => {
                self.now("confirmed");
                Ok(true)
            }
            "rejected" => {
                self.now("rejected");
                Ok(false)
            }
            other => Err(StoryError::OffScript(format!(
                "checkout of {}: {other}",
                self.id
            ))),
        }
    }

    /// Notes where the order stands.
    pub fn now(&self, status: &'static str) {
        self.floor.order(&self.id, status);
    }

    /// The request that reports an operation of the payment provider.
    pub fn payment_request(&mut self, kind: &str, amount_minor: i64) -> Request {
        let key = self.next_key();
        let body = json!({
            "payment_id": format!("{}-card", self.id),
            "operation_id": key,
            "kind": kind,
            "amount": money(amount_minor),
        });
        Request::post(self.order_path("payments"), key, &body)
    }

    /// Reports an operation of the payment provider.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn pay(&mut self, kind: &str, amount_minor: i64) -> Step<Answer> {
        let request = self.payment_request(kind, amount_minor);
        self.send("payment", &request).await
    }

    /// Ships these lines, or all that is left.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn ship(&mut self, lines: Option<Value>) -> Step<Answer> {
        let key = self.next_key();
        let mut body = json!({"shipment_id": key});
        if let Some(lines) = lines {
            body["lines"] = lines;
        }
        let request = Request::post(self.order_path("shipments"), key, &body);
        self.send("shipment", &request).await
    }

    /// Gives units of a line back, and gets back what is owed for them.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn give_back(&mut self, line: u32, quantity: i64) -> Step<()> {
        let key = self.next_key();
        let body = json!({
            "return_id": key,
            "lines": [{"line": line, "quantity": quantity}],
            "restock": self.random.random_bool(0.5),
        });
        let request = Request::post(self.order_path("returns"), key, &body);
        let returned = self.send("return", &request).await?;
        self.refund_due(&returned).await
    }

    /// Calls the order off.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn cancel(&mut self) -> Step<()> {
        let key = self.next_key();
        let body = json!({"reference": key, "note": "changed my mind"});
        let request = Request::post(self.order_path("cancel"), key, &body);
        let cancelled = self.send("cancel", &request).await?;
        self.now("cancelled");
        self.refund_due(&cancelled).await
    }

    async fn refund_due(&mut self, answer: &Answer) -> Step<()> {
        match answer.number("refund_due_minor") {
            Some(due) if due > 0 => self.pay("refunded", due).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Reads the order at the position of the last answer, and notes how long that took to be
    /// possible.
    ///
    /// # Errors
    /// [`StoryError`].
    pub async fn look(&mut self) -> Step<Answer> {
        let path = format!("/v1/orders/{}", segment(&self.id));
        let request = Request::get(path).at(self.seen.to_string());
        let seen = self.floor.queries.call(&request).await;
        let seen = seen.map_err(|error| StoryError::Step {
            step: "look",
            error,
        })?;
        self.floor.stats.visible(self.answered.elapsed());
        Ok(seen)
    }

    fn order_path(&self, what: &str) -> String {
        format!("/v1/orders/{}/{what}", segment(&self.id))
    }
}
