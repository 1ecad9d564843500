//! Orders, folded from the checkout's events.

use std::collections::BTreeMap;

use cartwright_events::order::{OrderCreated, OrderEvent};

use crate::audit::Audit;

/// How an order stands by its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderEntry {
    /// Price of all lines, in minor units.
    pub total_minor: i64,
    /// Its currency.
    pub currency: String,
    /// Units of all lines.
    pub units: i64,
    /// Number of lines.
    pub lines: usize,
    /// Money that came in.
    pub captured_minor: i64,
    /// Money that went back.
    pub refunded_minor: i64,
    /// Units that left.
    pub shipped_units: i64,
    /// Units that came back.
    pub returned_units: i64,
    /// What is owed by the order's events.
    pub refund_due_minor: i64,
    returned_minor: i64,
    by_line: BTreeMap<u32, Line>,
    stage: Stage,
    placed: bool,
    paid: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Line {
    ordered: i64,
    unit_price_minor: i64,
    shipped: i64,
    returned: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Pending,
    Confirmed,
    Paid,
    Rejected,
    Cancelled,
    Expired,
}

impl OrderEntry {
    /// The status in words.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self.stage {
            Stage::Pending => "pending",
            Stage::Confirmed => "confirmed",
            Stage::Paid if self.shipped_units == 0 => "paid",
            Stage::Paid if self.shipped_units < self.units => "partly_shipped",
            Stage::Paid => "shipped",
            Stage::Rejected => "rejected",
            Stage::Cancelled => "cancelled",
            Stage::Expired => "expired",
        }
    }

    /// Units that inventory should hold for it; `None` while inventory is still being asked.
    #[must_use]
    pub const fn units_to_hold(&self) -> Option<i64> {
        match self.stage {
            Stage::Pending => None,
            Stage::Confirmed | Stage::Paid => Some(self.units - self.shipped_units),
            Stage::Rejected | Stage::Cancelled | Stage::Expired => Some(0),
        }
    }

    /// Whether it was ever paid in full, which makes it a sale.
    #[must_use]
    pub const fn was_paid(&self) -> bool {
        self.paid
    }

    const fn has_ended(&self) -> bool {
        matches!(
            self.stage,
            Stage::Rejected | Stage::Cancelled | Stage::Expired
        )
    }

    /// What the shop owes, worked out from the sums alone.
    fn owed_minor(&self) -> i64 {
        let owed = if self.has_ended() {
            self.captured_minor
        } else {
            (self.captured_minor - self.total_minor).max(0) + self.returned_minor
        };
        (owed - self.refunded_minor).max(0)
    }
}

/// Sums over orders that were paid in full, in one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sales {
    /// Orders.
    pub orders: i64,
    /// Units sold.
    pub units: i64,
    /// Units that came back.
    pub returned_units: i64,
    /// What was charged.
    pub gross_minor: i64,
    /// What went back.
    pub refunded_minor: i64,
}

/// All orders, and what the checkout has to keep.
#[derive(Debug, Default)]
pub struct OrderLedger {
    orders: BTreeMap<String, OrderEntry>,
    /// Totals are the sums of their lines.
    pub totals_add_up: Audit,
    /// Captured, refunded and due add up in every event; refunds' shares add up to the refund.
    pub money_adds_up: Audit,
    /// Never more shipped than ordered, nor more returned than shipped; only of paid orders.
    pub goods_add_up: Audit,
}

impl OrderLedger {
    /// All orders by id, without payments for orders that nobody knows.
    pub fn all(&self) -> impl Iterator<Item = (&String, &OrderEntry)> {
        self.orders.iter().filter(|(_, order)| order.placed)
    }

    /// An order.
    #[must_use]
    pub fn order(&self, id: &str) -> Option<&OrderEntry> {
        self.orders.get(id).filter(|order| order.placed)
    }

    /// Sales in this currency.
    #[must_use]
    pub fn sales(&self, currency: &str) -> Sales {
        let mut sales = Sales::default();
        let paid = self
            .all()
            .filter(|(_, order)| order.was_paid() && order.currency == currency);
        for (_, order) in paid {
            sales.orders += 1;
            sales.units += order.units;
            sales.returned_units += order.returned_units;
            sales.gross_minor += order.total_minor;
            sales.refunded_minor += order.refunded_minor;
        }
        sales
    }

    /// Takes an event of an order.
    pub fn take(&mut self, id: &str, event: &OrderEvent) {
        if let OrderEvent::Created(created) = event {
            return self.created(id, created);
        }
        let order = self.orders.entry(id.to_owned()).or_default();
        if !order.placed {
            // Money for an order that is not there yet, or never will be; it is no part of one.
            return;
        }
        match event {
            OrderEvent::Created(_) | OrderEvent::PaymentNoted(_) | OrderEvent::PaymentFailed(_) => {
            }
            OrderEvent::PaymentAuthorized(_) => {}
            OrderEvent::Confirmed(body) => {
                order.stage = Stage::Confirmed;
                self.totals_add_up
                    .check(body.total_minor == order.total_minor, || {
                        format!(
                            "{id}: confirmed {} of {}",
                            body.total_minor, order.total_minor
                        )
                    });
            }
            OrderEvent::Rejected(_) => order.stage = Stage::Rejected,
            OrderEvent::Paid(body) => {
                order.stage = Stage::Paid;
                order.paid = true;
                let paid = body.captured_minor == order.captured_minor;
                self.money_adds_up
                    .check(paid && order.captured_minor >= order.total_minor, || {
                        format!(
                            "{id}: paid with {} of {}",
                            order.captured_minor, order.total_minor
                        )
                    });
            }
            OrderEvent::PaymentCaptured(body) => {
                order.captured_minor += body.amount_minor;
                self.money_adds_up
                    .check(body.captured_minor == order.captured_minor, || {
                        format!(
                            "{id}: {} captured, {}",
                            body.captured_minor, order.captured_minor
                        )
                    });
            }
            OrderEvent::PaymentRefunded(body) => {
                order.refunded_minor += body.amount_minor;
                let shares: i64 = body.shares.iter().map(|share| share.amount_minor).sum();
                let holds =
                    body.refunded_minor == order.refunded_minor && shares == body.amount_minor;
                self.money_adds_up.check(holds, || {
                    format!("{id}: refunded {} in shares of {shares}", body.amount_minor)
                });
                self.due(id, body.refund_due_minor);
            }
            OrderEvent::RefundDue(body) => {
                if body.currency.as_str() == order.currency {
                    self.due(id, body.refund_due_minor);
                }
            }
            OrderEvent::Shipped(body) => {
                let mut fits = order.stage == Stage::Paid;
                for shipped in &body.lines {
                    order.shipped_units += shipped.quantity;
                    let line = order.by_line.entry(shipped.line).or_default();
                    line.shipped += shipped.quantity;
                    fits &= line.shipped <= line.ordered;
                }
                fits &= body.shipped_units == order.shipped_units;
                fits &= body.fully_shipped == (order.shipped_units == order.units);
                self.goods_add_up
                    .check(fits, || format!("{id}: shipment {}", body.shipment_id));
            }
            OrderEvent::Returned(body) => {
                let mut fits = true;
                let mut charge = 0;
                for returned in &body.lines {
                    order.returned_units += returned.quantity;
                    let line = order.by_line.entry(returned.line).or_default();
                    line.returned += returned.quantity;
                    charge += returned.charge_minor;
                    fits &= line.returned <= line.shipped;
                    fits &= returned.charge_minor == returned.quantity * line.unit_price_minor;
                }
                order.returned_minor += body.charge_minor;
                fits &= body.returned_units == order.returned_units && charge == body.charge_minor;
                self.goods_add_up
                    .check(fits, || format!("{id}: return {}", body.return_id));
                self.due(id, body.refund_due_minor);
            }
            OrderEvent::Cancelled(body) => {
                order.stage = Stage::Cancelled;
                self.due(id, body.refund_due_minor);
            }
            OrderEvent::Expired(body) => {
                order.stage = Stage::Expired;
                self.due(id, body.refund_due_minor);
            }
        }
    }

    fn created(&mut self, id: &str, created: &OrderCreated) {
        let mut order = OrderEntry {
            total_minor: created.total_minor,
            currency: created.currency.to_string(),
            units: created.units,
            lines: created.lines.len(),
            placed: true,
            ..OrderEntry::default()
        };
        let (mut units, mut total) = (0, 0);
        for line in &created.lines {
            units += line.quantity;
            total += line.line_total_minor;
            let price = line.quantity * line.unit_price_minor;
            self.totals_add_up
                .check(price == line.line_total_minor, || {
                    format!(
                        "{id} line {}: {price} is {}",
                        line.line, line.line_total_minor
                    )
                });
            order.by_line.insert(
                line.line,
                Line {
                    ordered: line.quantity,
                    unit_price_minor: line.unit_price_minor,
                    ..Line::default()
                },
            );
        }
        self.totals_add_up.check(
            total == created.total_minor && units == created.units,
            || {
                format!(
                    "{id}: lines make {total} and {units} units, not {}",
                    created.total_minor
                )
            },
        );
        let known = self.orders.insert(id.to_owned(), order);
        self.totals_add_up
            .check(known.is_none_or(|known| !known.placed), || {
                format!("{id} was made twice")
            });
    }

    fn due(&mut self, id: &str, said: i64) {
        let Some(order) = self.orders.get_mut(id) else {
            return;
        };
        order.refund_due_minor = said;
        let owed = order.owed_minor();
        self.money_adds_up
            .check(said == owed, || format!("{id}: {said} due, {owed} owed"));
    }
}
