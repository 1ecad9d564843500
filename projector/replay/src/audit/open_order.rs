//! An order that is not settled, folded from its events.

use cartwright_events::Timestamp;
use cartwright_events::order::OrderEvent;
use serde::{Deserialize, Serialize};

use super::findings::Evidence;

/// How an order that is not settled stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Money came for it, and nobody knows it.
    #[default]
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

/// An order that is not settled.
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
    /// What is owed back in its currency.
    pub refund_due_minor: i64,
    /// Owed since.
    pub due_since: Option<Timestamp>,
    /// When the log took its last event.
    pub progressed_at: Timestamp,
    /// That event.
    pub at: Evidence,
}

impl OpenOrder {
    /// As it stood before an event of this version, when nothing is known of it. Settled orders are
    /// forgotten; only the first event of all tells that there is none.
    pub(super) fn before(version: u64, at: Timestamp, evidence: Evidence) -> Self {
        Self {
            stage: match version {
                1 => Stage::Unknown,
                _ => Stage::Ended,
            },
            units: 0,
            shipped_units: 0,
            payment_deadline: None,
            refund_due_minor: 0,
            due_since: None,
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
                self.due(body.refund_due_minor, at);
            }
            OrderEvent::Expired(body) => {
                self.stage = Stage::Ended;
                self.due(body.refund_due_minor, at);
            }
            OrderEvent::Returned(body) => self.due(body.refund_due_minor, at),
            OrderEvent::PaymentRefunded(body) => self.due(body.refund_due_minor, at),
            OrderEvent::RefundDue(body) => self.due(body.refund_due_minor, at),
            OrderEvent::PaymentCaptured(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentNoted(_) => {}
        }
    }

    fn due(&mut self, minor: i64, at: Timestamp) {
        self.refund_due_minor = minor;
        self.due_since = match (minor, self.due_since) {
            (0, _) => None,
            (_, None) => Some(at),
            (_, since) => since,
        };
    }

    /// Whether it may be forgotten.
    pub(super) const fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Ended) && self.refund_due_minor == 0
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
