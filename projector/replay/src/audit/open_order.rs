//! What is not settled under an order's id, folded from its events.

use std::collections::BTreeMap;

use cartwright_events::order::{OrderEvent, OrderPaymentRefunded, PaymentKind, RefundDueReason};
use cartwright_events::{Currency, Timestamp};
use serde::{Deserialize, Serialize};

use super::findings::Evidence;
use super::owed::{Known, Owed};

/// How an order that is not settled stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Money came for it, and nobody knows it.
    Unknown,
    /// Inventory is being asked.
    Pending,
    /// Waits for money.
    Confirmed,
    /// Waits for shipment.
    Paid,
    /// Shipped, rejected, cancelled or expired.
    Ended,
}

/// An order that is not settled, or money for one that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOrder {
    /// How it stands.
    pub stage: Stage,
    /// Units of all lines.
    pub units: i64,
    /// Units that left.
    pub shipped_units: i64,
    /// Until when it has to be paid.
    pub payment_deadline: Option<Timestamp>,
    /// Its currency, once an event has told it.
    pub currency: Option<Currency>,
    /// What is owed back by its own balance, in its currency.
    pub due: Option<Owed>,
    /// Money that belongs to no balance: in another currency than the order's, or from before there
    /// was such an order. What the provider says went back of it is taken off.
    pub stray: BTreeMap<Currency, Owed>,
    /// What is left of the money on the order's own balance, by payment, in minor units of its currency.
    pub held: BTreeMap<String, i64>,
    /// When the log took its last event.
    pub progressed_at: Timestamp,
    /// That event.
    pub at: Evidence,
}

impl OpenOrder {
    /// As it stood before an event, when nothing is known of it: settled, or never there.
    pub(super) fn before(at: Timestamp, evidence: Evidence) -> Self {
        Self {
            stage: Stage::Ended,
            units: 0,
            shipped_units: 0,
            payment_deadline: None,
            currency: None,
            due: None,
            stray: BTreeMap::new(),
            held: BTreeMap::new(),
            progressed_at: at,
            at: evidence,
        }
    }

    /// Takes its next event, and where the log shows it.
    pub(super) fn take(&mut self, event: &OrderEvent, at: Timestamp, evidence: Evidence) {
        self.progressed_at = at;
        self.at = evidence;
        match event {
            OrderEvent::Created(body) => {
                self.stage = Stage::Pending;
                self.units = body.units;
                self.payment_deadline = Some(body.payment_deadline);
                self.currency = Some(body.currency.clone());
            }
            OrderEvent::Confirmed(body) => {
                self.stage = Stage::Confirmed;
                self.payment_deadline = Some(body.payment_deadline);
            }
            OrderEvent::PaymentAuthorized(body) => {
                self.payment_deadline = Some(body.payment_deadline);
            }
            OrderEvent::Paid(_) => self.stage = Stage::Paid,
            OrderEvent::Shipped(body) => {
                self.shipped_units = body.shipped_units;
                if body.fully_shipped {
                    self.stage = Stage::Ended;
                }
            }
            OrderEvent::Rejected(_) => self.stage = Stage::Ended,
            OrderEvent::Cancelled(body) => {
                self.stage = Stage::Ended;
                self.set_due(body.refund_due_minor);
            }
            OrderEvent::Expired(body) => {
                self.stage = Stage::Ended;
                self.set_due(body.refund_due_minor);
            }
            OrderEvent::Returned(body) => {
                self.currency = Some(body.currency.clone());
                self.set_due(body.refund_due_minor);
            }
            OrderEvent::PaymentRefunded(body) => self.refunded(body),
            OrderEvent::RefundDue(body) => match body.reason {
                RefundDueReason::UnknownOrder => {
                    self.stage = Stage::Unknown;
                    self.add_stray(&body.currency, body.amount_minor);
                }
                RefundDueReason::OtherCurrency => {
                    self.add_stray(&body.currency, body.amount_minor);
                }
                RefundDueReason::OrderEnded
                | RefundDueReason::Excess
                | RefundDueReason::OrderCancelled
                | RefundDueReason::Returned => {
                    self.currency = Some(body.currency.clone());
                    self.set_due(body.refund_due_minor);
                }
            },
            OrderEvent::PaymentNoted(body) if body.kind == PaymentKind::Refunded => {
                self.add_stray(&body.currency, -body.amount_minor);
            }
            OrderEvent::PaymentCaptured(body) => {
                let held = self.held.entry(body.payment_id.to_string()).or_default();
                *held += body.amount_minor;
            }
            OrderEvent::PaymentFailed(_) | OrderEvent::PaymentNoted(_) => {}
        }
    }

    /// Money went back in the order's currency. What it takes off the order's own balance the event
    /// says, and what the payment has brought to that is its own; the rest is for stray money in the same
    /// currency, which came before the order was placed.
    fn refunded(&mut self, body: &OrderPaymentRefunded) {
        let owed = |due: &Option<Owed>| due.as_ref().map_or(0, |due| due.minor);
        let before = owed(&self.due);
        self.currency = Some(body.currency.clone());
        self.set_due(body.refund_due_minor);
        let held = self.held.entry(body.payment_id.to_string()).or_default();
        let own = body.amount_minor.min(*held);
        *held -= own;
        let for_stray = body.amount_minor - own.max(before - body.refund_due_minor);
        let stray = self.stray.get(&body.currency).map_or(0, |owed| owed.minor);
        self.add_stray(&body.currency, -for_stray.clamp(0, stray.max(0)));
    }

    fn set_due(&mut self, minor: i64) {
        self.due = Owed::made(self.due.take(), minor, self.progressed_at, &self.at);
    }

    fn add_stray(&mut self, currency: &Currency, minor: i64) {
        let before = self.stray.remove(currency);
        let sum = before.as_ref().map_or(0, |owed| owed.minor) + minor;
        if let Some(owed) = Owed::made(before, sum, self.progressed_at, &self.at) {
            self.stray.insert(currency.clone(), owed);
        }
    }

    /// All that is owed back, with its currency where that is known.
    pub(super) fn debts(&self) -> impl Iterator<Item = (Option<&Currency>, &Owed)> {
        let due = self.due.iter().map(|due| (self.currency.as_ref(), due));
        let stray = self.stray.iter().map(|(of, owed)| (Some(of), owed));
        due.chain(stray).filter(|(_, owed)| owed.minor > 0)
    }

    /// An operator knows of all that is owed back. Answers whether anything is.
    pub(super) fn acknowledge(&mut self, reason: &str, now: Timestamp) -> bool {
        let debts = self.due.iter_mut().chain(self.stray.values_mut());
        let mut any = false;
        for owed in debts.filter(|owed| owed.minor > 0) {
            owed.known = Some(Known {
                minor: owed.minor,
                at: now,
                reason: reason.to_owned(),
            });
            any = true;
        }
        any
    }

    /// Whether it may be forgotten.
    pub(super) fn is_settled(&self) -> bool {
        let ended = matches!(self.stage, Stage::Ended | Stage::Unknown);
        ended && self.due.is_none() && self.stray.is_empty()
    }

    /// Units that inventory should hold for it, once messages have come to rest.
    #[must_use]
    pub const fn units_to_hold(&self) -> Option<i64> {
        match self.stage {
            Stage::Pending => None,
            Stage::Confirmed | Stage::Paid => Some(self.units - self.shipped_units),
            Stage::Unknown | Stage::Ended => Some(0),
        }
    }
}
