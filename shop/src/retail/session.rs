//! What an import shares between its tasks, and the commands that it is made of.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use cartwright_events::{PositionToken, Stream};
use serde_json::{Value, json};

use super::book::{Book, Invoice};
use super::naming::Naming;
use super::plan::Plan;
use super::rejects::Later;
use super::rule::Rule;
use super::summary::Outcome;
use crate::client::{Answer, Api, CallError, Problem, Request, part_of, segment};

/// The currency of every retail file.
pub const CURRENCY: &str = "GBP";
/// How long a checkout may wait for its outcome at the service, in seconds.
pub const CHECKOUT_WAIT_SECONDS: u32 = 10;
/// Most characters of a product's name.
const MAX_NAME_CHARS: usize = 500;

/// A running import.
pub struct Session {
    /// Where commands go.
    pub commands: Api,
    /// The file.
    pub book: Book,
    /// What follows from it.
    pub plan: Plan,
    /// What things are called.
    pub naming: Naming,
    /// The most units of a SKU to receive.
    pub limit_stock: Option<i64>,
    /// Digest of the file.
    pub digest_hex: String,
    /// Work done, for the display: products first, then invoices.
    pub done: AtomicU64,
    /// What became of each invoice.
    outcomes: Vec<AtomicU8>,
    /// Which attempt at an order led to the outcome.
    attempts: Vec<AtomicU8>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    position: PositionToken,
    refusals: Later,
    /// By number of the SKU: which step about it was refused, and why.
    left_out: HashMap<u32, (String, Problem)>,
    /// (cancellation, order) of returns that the shop refused.
    refused_returns: HashSet<(u32, u32)>,
}

impl Session {
    /// A session in which nothing was sent yet.
    #[must_use]
    pub fn new(
        commands: Api,
        book: Book,
        plan: Plan,
        naming: Naming,
        limit_stock: Option<i64>,
        digest_hex: String,
    ) -> Self {
        let invoices = book.invoices.len();
        Self {
            commands,
            book,
            plan,
            naming,
            limit_stock,
            digest_hex,
            done: AtomicU64::new(0),
            outcomes: (0..invoices)
                .map(|_| AtomicU8::new(Outcome::Refused as u8))
                .collect(),
            attempts: (0..invoices).map(|_| AtomicU8::new(1)).collect(),
            state: Mutex::default(),
        }
    }

    /// The invoice.
    #[must_use]
    pub fn invoice(&self, index: u32) -> &Invoice {
        &self.book.invoices[index as usize]
    }

    /// What became of an invoice; refused as long as it is not finished.
    #[must_use]
    pub fn outcome(&self, index: u32) -> Outcome {
        match self.outcomes[index as usize].load(Ordering::Acquire) {
            done if done == Outcome::Done as u8 => Outcome::Done,
            short if short == Outcome::OutOfStock as u8 => Outcome::OutOfStock,
            _ => Outcome::Refused,
        }
    }

    /// Notes what became of an invoice.
    pub fn set_outcome(&self, index: u32, outcome: Outcome) {
        self.outcomes[index as usize].store(outcome as u8, Ordering::Release);
    }

    /// The cart and order id of an invoice, by the attempt that succeeded.
    #[must_use]
    pub fn order_id(&self, index: u32) -> String {
        let attempt = self.attempts[index as usize].load(Ordering::Acquire);
        self.naming.cart(&self.invoice(index).number, attempt)
    }

    /// Starts another attempt at an order. Returns its number.
    pub fn next_attempt(&self, index: u32) -> u8 {
        self.attempts[index as usize].fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Notes that the shop refused something of an invoice, for the report of rejects.
    pub fn refused(&self, index: u32, step: &str, problem: &Problem) {
        let mut detail = format!("{step}: {problem}");
        if let Some(errors) = problem.more.get("errors") {
            detail = format!("{detail} {errors}");
        }
        let row = self.invoice(index).row;
        self.state()
            .refusals
            .entry(row)
            .and_modify(|(_, earlier)| *earlier = format!("{earlier}; {detail}"))
            .or_insert((Rule::RejectedByShop, detail));
    }

    /// Notes that the shop refused a SKU, or its stock.
    pub fn leave_out(&self, sku_number: u32, step: &str, problem: &Problem) {
        let step = format!("{step} of {}", self.book.skus.text(sku_number));
        let refused = (step, problem.clone());
        self.state().left_out.insert(sku_number, refused);
    }

    /// The step that was refused about the first SKU of an invoice that was left out, and why.
    #[must_use]
    pub fn left_out(&self, index: u32) -> Option<(String, Problem)> {
        let state = self.state();
        let mut lines = self.invoice(index).lines.iter();
        lines.find_map(|line| state.left_out.get(&line.sku).cloned())
    }

    /// Notes that a return was refused.
    pub fn refused_return(&self, cancellation: u32, order: u32) {
        self.state().refused_returns.insert((cancellation, order));
    }

    /// Whether a return was refused.
    #[must_use]
    pub fn is_refused_return(&self, cancellation: u32, order: u32) -> bool {
        self.state()
            .refused_returns
            .contains(&(cancellation, order))
    }

    /// The refusals so far.
    #[must_use]
    pub fn refusals(&self) -> Later {
        self.state().refusals.clone()
    }

    /// Everything that the import has written so far, as one position.
    #[must_use]
    pub fn position(&self) -> PositionToken {
        self.state().position.clone()
    }

    /// The part of the position that a reader of `stream` needs.
    #[must_use]
    pub fn position_of(&self, stream: Stream) -> PositionToken {
        part_of(self.position(), stream)
    }

    /// Sends a command and keeps its position.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send(&self, request: &Request) -> Result<Answer, CallError> {
        let answer = self.commands.call(request).await?;
        if let Some(position) = &answer.position {
            let mut state = self.state();
            if state.position.seqs.is_empty() {
                state.position.generation = position.generation;
            }
            state.position.merge(position);
        }
        Ok(answer)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Enters a SKU into the catalog.
    #[must_use]
    pub fn create_product(&self, sku_number: u32) -> Request {
        let sku = self.book.skus.text(sku_number);
        let product = &self.book.products[sku_number as usize];
        let body = json!({
            "sku": **sku,
            "name": product_name(product.name.as_deref(), sku),
            "price": money(product.first_price_minor),
        });
        Request::post("/v1/products", self.naming.key("product", sku), &body)
    }

    /// Receives a SKU's stock for the whole file; none when no order asks for it.
    #[must_use]
    pub fn receive_stock(&self, sku_number: u32) -> Option<Request> {
        let demand = self.plan.demand[sku_number as usize];
        let units = if demand > 0 {
            self.limit_stock.unwrap_or(demand)
        } else {
            0
        };
        if units <= 0 {
            return None;
        }
        let sku = self.book.skus.text(sku_number);
        let reference = self.naming.receipt(&self.digest_hex, units);
        let body = json!({"quantity": units, "reference": reference});
        let path = format!("/v1/stock/{}/receipts", segment(sku));
        let key = self.naming.key(&format!("receipt-{reference}"), sku);
        Some(Request::post(path, key, &body))
    }

    /// Opens the cart of an invoice with all its lines.
    #[must_use]
    pub fn create_cart(&self, index: u32, catalog_position: &str) -> Request {
        let invoice = self.invoice(index);
        let items: Vec<Value> = invoice
            .lines
            .iter()
            .map(|line| {
                json!({
                    "sku": **self.book.sku(line),
                    "quantity": line.quantity,
                    "quoted_price": money(line.unit_price_minor),
                })
            })
            .collect();
        let cart_id = self.order_id(index);
        let mut body = json!({
            "cart_id": cart_id,
            "currency": CURRENCY,
            "external_reference": &*invoice.number,
            "items": items,
        });
        if let Some(customer) = invoice.customer {
            body["customer_id"] = json!(**self.book.customers.text(customer));
        }
        if let Some(country) = invoice.country {
            body["ship_to_country"] = json!(**self.book.countries.text(country));
        }
        let request = Request::post("/v1/carts", self.naming.key("cart", &cart_id), &body);
        if catalog_position.ends_with(':') {
            request
        } else {
            request.at(catalog_position)
        }
    }

    /// Makes an order of it, and waits for what becomes of the order.
    #[must_use]
    pub fn check_out(&self, index: u32) -> Request {
        let invoice = self.invoice(index);
        let body = json!({
            "expected_total": money(invoice.total_minor()),
            "occurred_at": invoice.occurred_at,
        });
        let cart_id = self.order_id(index);
        let path = format!("/v1/carts/{}/checkout", segment(&cart_id));
        Request::post(path, self.naming.key("checkout", &cart_id), &body)
            .wait(CHECKOUT_WAIT_SECONDS)
    }

    /// Pays an order in full.
    #[must_use]
    pub fn capture(&self, index: u32) -> Request {
        let invoice = self.invoice(index);
        let order_id = self.order_id(index);
        let body = json!({
            "payment_id": order_id,
            "operation_id": format!("{order_id}-capture"),
            "kind": "captured",
            "amount": money(invoice.total_minor()),
            "occurred_at": invoice.occurred_at,
        });
        let path = format!("/v1/orders/{}/payments", segment(&order_id));
        Request::post(path, self.naming.key("capture", &order_id), &body)
    }

    /// Ships all of an order.
    #[must_use]
    pub fn ship(&self, index: u32) -> Request {
        let order_id = self.order_id(index);
        let body = json!({
            "shipment_id": order_id,
            "occurred_at": self.invoice(index).occurred_at,
        });
        let path = format!("/v1/orders/{}/shipments", segment(&order_id));
        Request::post(path, self.naming.key("ship", &order_id), &body)
    }
}

/// An amount in pence, as the API takes it.
#[must_use]
pub fn money(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": CURRENCY})
}

/// A name that the catalog takes: one line, of limited length, the SKU where there is none.
fn product_name(description: Option<&str>, sku: &str) -> String {
    let text: String = description
        .unwrap_or(sku)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_NAME_CHARS)
        .collect();
    let text = text.trim();
    if text.is_empty() { sku } else { text }.to_owned()
}
