//! What clients do to what others touch at the same time: shelves, a price, a cart that they fill together.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;
use rand::rngs::SmallRng;
use reqwest::Method;
use serde_json::{Value, json};

use crate::history::lock;
use crate::load::Load;
use crate::visit::{BARGAIN, SKUS, Wish, money, pay, ship, wish};

/// A cart that was filled so often is left, whether it could be checked out or not.
const FULL: u64 = 20;

/// What clients know of what they share.
#[derive(Default)]
pub(crate) struct Commons {
    /// Deliveries and counts that were reported, each twice.
    reports: AtomicU64,
    /// Number of the cart that is being filled.
    cart: AtomicU64,
    /// The largest version that anybody was told, by kind and aggregate.
    versions: Mutex<BTreeMap<(&'static str, String), u64>>,
}

impl Commons {
    fn saw(&self, kind: &'static str, aggregate: &str, answer: &Value) {
        if let Some(version) = answer["version"].as_u64() {
            let mut versions = lock(&self.versions);
            let known = versions.entry((kind, aggregate.to_owned())).or_default();
            *known = version.max(*known);
        }
    }

    fn version(&self, kind: &'static str, aggregate: &str) -> Option<u64> {
        let versions = lock(&self.versions);
        versions.get(&(kind, aggregate.to_owned())).copied()
    }

    /// Goods that came in or were counted. Two clients report the same, under one reference: it counts once.
    fn report(&self) -> Wish {
        let number = self.reports.fetch_add(1, Ordering::SeqCst) / 2;
        let all = SKUS.len() as u64 + 1;
        let sku = usize::try_from(number % all).unwrap_or_default();
        let sku = SKUS.get(sku).copied().unwrap_or(BARGAIN);
        let reference = format!("report-{number}");
        if number / all % 3 == 2 {
            let delta = if number.is_multiple_of(2) { 1 } else { -1 };
            let body = json!({"delta": delta, "reason": "counted", "reference": reference});
            return wish(
                "stock.adjust",
                format!("/v1/stock/{sku}/adjustments"),
                sku,
                body,
            );
        }
        let body = json!({"quantity": 1 + number % 3, "reference": reference});
        wish(
            "stock.receive",
            format!("/v1/stock/{sku}/receipts"),
            sku,
            body,
        )
    }
}

impl Load {
    /// One thing, or what belongs to it.
    pub(crate) async fn share(&self, client: &str, rng: &mut SmallRng) {
        match rng.random_range(0..6) {
            0 | 1 => {
                let report = self.commons.report();
                self.ask(client, &report, rng).await;
            }
            2 | 3 => self.change_the_price(client, rng).await,
            _ => self.fill_a_cart(client, rng).await,
        }
    }

    /// Every other client wants nobody to have been faster.
    async fn change_the_price(&self, client: &str, rng: &mut SmallRng) {
        let path = format!("/v1/products/{BARGAIN}/price");
        let price = money(rng.random_range(90..110) * 10);
        let seen = self.commons.version("product", BARGAIN);
        let change = Wish {
            method: Method::PUT,
            at_version: seen.filter(|_| rng.random()),
            ..wish("product.price", path, BARGAIN, price)
        };
        if let Some(answer) = self.ask(client, &change, rng).await {
            self.commons.saw("product", BARGAIN, &answer);
        }
    }

    /// Puts something into the cart that everybody fills, which whoever comes first has to take; now and
    /// then somebody checks it out, whatever the others are about to put into it.
    async fn fill_a_cart(&self, client: &str, rng: &mut SmallRng) {
        let number = self.commons.cart.load(Ordering::SeqCst);
        let cart = format!("common-{}-{number}", self.seed);
        if self.commons.version("cart", &cart).is_none() {
            let body = json!({"cart_id": cart, "currency": "GBP"});
            let take = wish("cart.create", "/v1/carts".to_owned(), &cart, body);
            if let Some(answer) = self.ask(client, &take, rng).await {
                self.commons.saw("cart", &cart, &answer);
            }
        }
        let seen = self.commons.version("cart", &cart);
        // With a price that has changed since it can't be checked out any more.
        let sku = if rng.random_range(0..8) == 0 {
            BARGAIN
        } else {
            SKUS[rng.random_range(0..SKUS.len())]
        };
        let add = Wish {
            queued: rng.random_range(0..4) == 0,
            at_version: seen.filter(|_| rng.random_range(0..3) == 0),
            ..wish(
                "cart.add",
                format!("/v1/carts/{cart}/items"),
                &cart,
                json!({"sku": sku, "quantity": 1}),
            )
        };
        if let Some(answer) = self.ask(client, &add, rng).await {
            self.commons.saw("cart", &cart, &answer);
        }
        let is_full = seen.is_some_and(|version| version >= FULL);
        let is_left = is_full || rng.random_range(0..8) == 0;
        if is_left && (self.check_a_cart_out(client, &cart, rng).await || is_full) {
            // Whoever is first; others were told of the same order.
            let carts = &self.commons.cart;
            let _ = carts.compare_exchange(number, number + 1, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Whether it is an order then, paid or not.
    async fn check_a_cart_out(&self, client: &str, cart: &str, rng: &mut SmallRng) -> bool {
        let path = format!("/v1/carts/{cart}/checkout");
        let check_out = wish("cart.checkout", path, cart, json!({}));
        let Some(answer) = self.ask(client, &check_out, rng).await else {
            return false;
        };
        let total = answer["total_minor"].as_i64().unwrap_or_default();
        let paid = pay(cart, "captured", "captured", total);
        if self.ask(client, &paid, rng).await.is_some() {
            self.ask(client, &ship(cart), rng).await;
        }
        true
    }
}
