//! A made-up history of a small shop, as events.

use cartwright_events::{Event, EventBody, Stream};
use serde_json::{Value as Json, json};

/// Numbers that look random and are the same for the same seed.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Events in the order in which they were written.
pub struct History {
    numbers: Numbers,
    pub events: Vec<Event>,
}

pub fn event(id: &str, version: u64, minute: u64, kind: &str, data: Json) -> Event {
    let time = format!("2026-03-01T{:02}:{:02}:00Z", minute / 60 % 24, minute % 60);
    let json = json!({
        "aggregate_id": id, "version": version, "occurred_at": time, "type": kind, "data": data,
    });
    serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"))
}

pub fn product_created(sku: &str, price: i64) -> Event {
    let data = json!({"name": format!("Thing {sku}"), "price_minor": price, "currency": "EUR"});
    event(sku, 1, 0, "ProductCreated", data)
}

pub fn price_changed(sku: &str, version: u64, price: i64) -> Event {
    let data = json!({"old_price_minor": 1, "price_minor": price, "currency": "EUR"});
    event(sku, version, version, "ProductPriceChanged", data)
}

impl History {
    /// `carts` carts, most of which become orders, some of which are paid, shipped, returned and
    /// refunded. Their events are mixed.
    pub fn new(seed: u64, carts: usize) -> Self {
        let mut history = Self {
            numbers: Numbers::new(seed),
            events: Vec::new(),
        };
        let mut lives: Vec<Vec<Event>> = (0..carts).map(|cart| history.life(cart)).collect();
        lives.iter_mut().for_each(|life| life.reverse());
        while !lives.is_empty() {
            let index = history.numbers.below(lives.len() as u64) as usize;
            match lives[index].pop() {
                Some(event) => history.events.push(event),
                None => drop(lives.swap_remove(index)),
            }
        }
        history
    }

    pub fn of(&self, stream: Stream) -> impl Iterator<Item = &Event> {
        let events = self.events.iter();
        events.filter(move |event| event.body.stream() == stream)
    }

    fn life(&mut self, number: usize) -> Vec<Event> {
        let id = format!("cart-{number}");
        let mut life = self.cart(&id);
        if self.numbers.below(5) == 0 {
            return life;
        }
        let cart_version = life.len() as u64;
        let checked_out = json!({"order_id": id, "total_minor": 0, "currency": "EUR"});
        life.push(event(
            &id,
            cart_version + 1,
            20,
            "CartCheckedOut",
            checked_out,
        ));
        life.extend(self.order(&id));
        life
    }

    fn cart(&mut self, id: &str) -> Vec<Event> {
        let created = json!({
            "customer_id": format!("customer-{}", self.numbers.below(3)), "currency": "EUR",
            "ship_to_country": "Norway",
        });
        let mut life = vec![event(id, 1, 1, "CartCreated", created)];
        for line in 1..=self.numbers.below(4) + 1 {
            let version = life.len() as u64 + 1;
            let added = json!({
                "line": line, "sku": format!("sku-{line}"), "name": "Thing", "quantity": 2,
                "unit_price_minor": 50, "price_source": "catalog", "catalog_seq": 1,
                "line_total_minor": 100, "cart_total_minor": 100 * line,
            });
            life.push(event(id, version, version, "CartItemAdded", added));
            if self.numbers.below(3) == 0 {
                let removed = json!({
                    "line": line, "sku": format!("sku-{line}"), "quantity": 2,
                    "cart_total_minor": 100 * (line - 1),
                });
                life.push(event(id, version + 1, version, "CartItemRemoved", removed));
            }
        }
        life
    }

    fn order(&mut self, id: &str) -> Vec<Event> {
        let lines: Vec<Json> = (1..=self.numbers.below(3) + 1)
            .map(|line| {
                json!({
                    "line": line, "sku": format!("sku-{line}"), "name": "Thing", "quantity": 2,
                    "unit_price_minor": 50, "line_total_minor": 100,
                })
            })
            .collect();
        let (units, total) = (2 * lines.len(), 100 * lines.len());
        let shares = json!([{"line": 1, "sku": "sku-1", "amount_minor": 50}]);
        let all = [
            (
                "OrderCreated",
                json!({
                    "cart_id": id, "customer_id": "customer-1", "currency": "EUR",
                    "ship_to_country": "Norway", "lines": lines, "units": units,
                    "total_minor": total, "payment_deadline": "2026-03-02T00:00:00Z",
                }),
            ),
            (
                "OrderConfirmed",
                json!({
                    "total_minor": total, "currency": "EUR",
                    "payment_deadline": "2026-03-02T00:00:00Z",
                }),
            ),
            (
                "OrderPaymentCaptured",
                json!({
                    "payment_id": "pay", "operation_id": "capture", "amount_minor": total,
                    "currency": "EUR", "captured_minor": total,
                }),
            ),
            (
                "OrderPaid",
                json!({
                    "total_minor": total, "captured_minor": total, "currency": "EUR",
                }),
            ),
            (
                "OrderShipped",
                json!({
                    "shipment_id": "parcel", "lines": [{"line": 1, "sku": "sku-1", "quantity": 2}],
                    "shipped_units": 2, "fully_shipped": units == 2,
                }),
            ),
            (
                "OrderReturned",
                json!({
                    "return_id": "return", "charge_minor": 50, "currency": "EUR",
                    "lines": [{"line": 1, "sku": "sku-1", "quantity": 1, "charge_minor": 50}],
                    "ship_to_country": "Norway", "restock": true, "returned_units": 1,
                    "refund_due_minor": 50,
                }),
            ),
            (
                "OrderPaymentRefunded",
                json!({
                    "payment_id": "pay", "operation_id": "refund", "amount_minor": 50,
                    "currency": "EUR", "refunded_minor": 50, "shares": shares,
                    "ship_to_country": "Norway", "refund_due_minor": 0,
                }),
            ),
        ];
        let most = self.numbers.below(all.len() as u64) as usize + 1;
        let events = (1..).zip(all.into_iter().take(most));
        events
            .map(|(version, (kind, data))| event(id, version, 30 + version, kind, data))
            .collect()
    }
}

#[test]
fn a_history_is_mixed_and_the_same_for_a_seed() {
    let history = History::new(3, 20);
    assert_eq!(history.events, History::new(3, 20).events);
    assert!(history.of(Stream::Cart).count() > 20);
    let order = |event: &Event| matches!(event.body, EventBody::Order(_));
    assert!(history.events.iter().any(order));
}
