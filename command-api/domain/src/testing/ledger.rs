//! An independent reading of the events: sums that must hold whatever happened, kept without any of
//! the aggregates' code.

use std::collections::HashMap;

use cartwright_events::cart::CartEvent;
use cartwright_events::inventory::StockEvent;
use cartwright_events::order::{OrderEvent, RefundDueReason};
use cartwright_events::{Event, EventBody};

/// What the events say of a SKU.
#[derive(Debug, Default)]
pub(crate) struct StockLedger {
    pub(crate) on_hand: i64,
    pub(crate) held: HashMap<String, i64>,
    pub(crate) adjusted: bool,
    shortfall: i64,
}

impl StockLedger {
    fn apply(&mut self, event: &Event, body: &StockEvent) {
        let (on_hand, reserved) = match body {
            StockEvent::Received(e) => {
                self.on_hand += e.quantity;
                (e.on_hand, e.reserved)
            }
            StockEvent::Adjusted(e) => {
                self.on_hand += e.delta;
                self.adjusted = true;
                (e.on_hand, e.reserved)
            }
            StockEvent::Reserved(e) => {
                let free = self.on_hand - self.reserved();
                assert!(e.quantity <= free, "sold more than there was: {event:?}");
                assert!(
                    self.held
                        .insert(e.order_id.to_string(), e.quantity)
                        .is_none()
                );
                (e.on_hand, e.reserved)
            }
            StockEvent::ReservationRejected(e) => {
                let free = (self.on_hand - self.reserved()).max(0);
                assert!(e.quantity > free && e.available == free, "{event:?}");
                (e.on_hand, e.reserved)
            }
            StockEvent::Released(e) => {
                assert_eq!(
                    self.held.remove(e.order_id.as_str()),
                    Some(e.quantity),
                    "{event:?}"
                );
                (e.on_hand, e.reserved)
            }
            StockEvent::Shipped(e) => {
                self.on_hand -= e.quantity - e.unbooked;
                assert!(e.unbooked == 0 || self.on_hand == 0, "{event:?}");
                let held = self
                    .held
                    .get_mut(e.order_id.as_str())
                    .expect("what ships was held");
                *held -= e.quantity;
                assert!(*held >= 0, "{event:?}");
                self.held.retain(|_, held| *held > 0);
                (e.on_hand, e.reserved)
            }
            StockEvent::Restocked(e) => {
                self.on_hand += e.quantity;
                (e.on_hand, e.reserved)
            }
            StockEvent::ShortfallChanged(e) => {
                assert_ne!(e.shortfall, self.shortfall, "nothing changed: {event:?}");
                self.shortfall = e.shortfall;
                (e.on_hand, e.reserved)
            }
        };
        assert_eq!(
            (on_hand, reserved),
            (self.on_hand, self.reserved()),
            "{event:?}"
        );
        assert!(self.on_hand >= 0, "{event:?}");
        assert!(self.adjusted || reserved <= on_hand, "{event:?}");
    }

    pub(crate) fn reserved(&self) -> i64 {
        self.held.values().sum()
    }

    /// Between decisions the shortfall that was told last is the one that is.
    pub(crate) fn check(&self) {
        assert_eq!(self.shortfall, (self.reserved() - self.on_hand).max(0));
    }
}

/// What the events say of an order.
#[derive(Debug, Default)]
pub(crate) struct OrderLedger {
    pub(crate) placed: bool,
    pub(crate) finals: Vec<&'static str>,
    pub(crate) confirmed: bool,
    pub(crate) paid: bool,
    pub(crate) units: HashMap<String, i64>,
    pub(crate) shipped: HashMap<String, i64>,
    total: i64,
    captured: i64,
    refunded: i64,
    returned: i64,
    owed: i64,
    /// What was said to be owed, event by event.
    announced: i64,
}

impl OrderLedger {
    fn due(&self) -> i64 {
        let due = if self.finals.is_empty() {
            (self.captured - self.total).max(0) + self.returned
        } else {
            self.captured
        };
        (due - self.refunded).max(0)
    }

    fn end(&mut self, event: &Event) {
        self.finals.push(event.body.type_name());
        assert_eq!(self.finals.len(), 1, "it ended before: {event:?}");
        assert!(self.shipped.is_empty(), "{event:?}");
    }

    fn apply(&mut self, event: &Event, body: &OrderEvent) {
        match body {
            OrderEvent::Created(e) => {
                self.placed = true;
                self.total = e
                    .lines
                    .iter()
                    .map(|line| line.quantity * line.unit_price_minor)
                    .sum();
                assert_eq!(e.total_minor, self.total, "{event:?}");
                for line in &e.lines {
                    *self.units.entry(line.sku.to_string()).or_default() += line.quantity;
                }
                assert_eq!(e.units, self.units.values().sum::<i64>(), "{event:?}");
            }
            OrderEvent::Confirmed(_) => self.confirmed = true,
            OrderEvent::Paid(e) => {
                assert!(
                    !self.paid && self.confirmed && self.finals.is_empty(),
                    "{event:?}"
                );
                assert!(
                    self.captured >= self.total && e.captured_minor == self.captured,
                    "{event:?}"
                );
                self.paid = true;
            }
            OrderEvent::PaymentCaptured(e) => {
                self.captured += e.amount_minor;
                assert_eq!(e.captured_minor, self.captured, "{event:?}");
            }
            OrderEvent::PaymentRefunded(e) => {
                self.refunded += e.amount_minor;
                let shared: i64 = e.shares.iter().map(|share| share.amount_minor).sum();
                assert_eq!(
                    (shared, e.refunded_minor),
                    (e.amount_minor, self.refunded),
                    "{event:?}"
                );
                self.owed = e.refund_due_minor;
                self.announced = e.refund_due_minor;
            }
            OrderEvent::RefundDue(e) => {
                assert!(e.amount_minor > 0, "{event:?}");
                let stray = [
                    RefundDueReason::OtherCurrency,
                    RefundDueReason::UnknownOrder,
                ];
                let more = if stray.contains(&e.reason) {
                    0
                } else {
                    e.amount_minor
                };
                assert!(e.refund_due_minor >= more, "{event:?}");
                self.announced += more;
                self.owed = e.refund_due_minor;
            }
            OrderEvent::Shipped(e) => {
                assert!(self.paid, "{event:?}");
                for line in &e.lines {
                    *self.shipped.entry(line.sku.to_string()).or_default() += line.quantity;
                }
                let within = |(sku, units): (&String, &i64)| *units <= self.units[sku];
                assert!(self.shipped.iter().all(within), "{event:?}");
            }
            OrderEvent::Returned(e) => {
                let charge: i64 = e.lines.iter().map(|line| line.charge_minor).sum();
                assert_eq!(charge, e.charge_minor, "{event:?}");
                self.returned += charge;
                assert!(e.returned_units <= self.shipped.values().sum(), "{event:?}");
                self.announced += e.refund_due_minor - self.owed;
                self.owed = e.refund_due_minor;
            }
            OrderEvent::Cancelled(e) => {
                self.end(event);
                self.owed = e.refund_due_minor;
            }
            OrderEvent::Expired(e) => {
                assert!(!self.paid, "{event:?}");
                self.end(event);
                self.owed = e.refund_due_minor;
            }
            OrderEvent::Rejected(_) => self.end(event),
            OrderEvent::PaymentAuthorized(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentNoted(_) => {}
        }
    }

    /// Between decisions, what is told to be owed is what must be, and each part of it was announced
    /// once.
    pub(crate) fn check(&self) {
        assert_eq!(
            (self.owed, self.announced),
            (self.due(), self.due()),
            "{self:?}"
        );
    }
}

/// All ledgers of a shop.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) stock: HashMap<String, StockLedger>,
    pub(crate) orders: HashMap<String, OrderLedger>,
    carts: HashMap<String, HashMap<u32, i64>>,
}

impl Ledger {
    /// Reads the next event of a shard.
    pub(crate) fn read(&mut self, event: &Event) {
        let id = event.aggregate_id.clone();
        match &event.body {
            EventBody::Product(_) => {}
            EventBody::Stock(body) => self.stock.entry(id).or_default().apply(event, body),
            EventBody::Order(body) => self.orders.entry(id).or_default().apply(event, body),
            EventBody::Cart(body) => {
                let lines = self.carts.entry(id).or_default();
                let total = match body {
                    CartEvent::Created(_) => 0,
                    CartEvent::ItemAdded(e) => {
                        assert!(
                            lines.insert(e.line, e.line_total_minor).is_none(),
                            "{event:?}"
                        );
                        e.cart_total_minor
                    }
                    CartEvent::ItemQuantityChanged(e) => {
                        lines.insert(e.line, e.line_total_minor);
                        e.cart_total_minor
                    }
                    CartEvent::ItemRepriced(e) => {
                        lines.insert(e.line, e.line_total_minor);
                        e.cart_total_minor
                    }
                    CartEvent::ItemRemoved(e) => {
                        lines.remove(&e.line);
                        e.cart_total_minor
                    }
                    CartEvent::CheckedOut(e) => e.total_minor,
                    CartEvent::Abandoned(_) => return,
                };
                assert_eq!(total, lines.values().sum::<i64>(), "{event:?}");
            }
        }
    }

    /// Holds between decisions.
    pub(crate) fn check(&self) {
        self.stock.values().for_each(StockLedger::check);
        self.orders.values().for_each(OrderLedger::check);
    }
}
