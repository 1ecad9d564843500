//! The payment provider reports an operation.

use std::collections::BTreeSet;

use cartwright_events::inventory::ReleaseReason;
use cartwright_events::order::{
    CancelReason, OrderCancelled, OrderEvent, OrderPaid, OrderPaymentAuthorized,
    OrderPaymentCaptured, OrderPaymentFailed, OrderPaymentNoted, OrderPaymentRefunded,
    OrderRefundDue, PaymentKind, RefundDueReason,
};
use cartwright_events::{OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::end::ended;
use super::messages::release;
use super::refund::shares;
use super::state::{Order, Placed, Stage, Standing, data, operation_content};
use crate::checks;
use crate::context::Outgoing;
use crate::facts::{Decided, Facts, repeat};
use crate::price::Price;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// Record what the payment provider reports. Operations may come in any order and any number of
/// times: known by payment and operation id, each counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// The order that the money is for; an unknown one is recorded and its money due for refund.
    pub order_id: OrderId,
    /// The provider's payment.
    pub payment_id: Reference,
    /// The provider's operation on it.
    pub operation_id: Reference,
    /// What happened.
    pub kind: PaymentKind,
    /// How much; above zero. Any currency: another than the order's is due for refund.
    pub amount: Price,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    order: Option<&Order>,
    command: &Pay,
    now: Timestamp,
) -> Decided {
    let id = &command.order_id;
    let at = checks::business_time(command.occurred_at, settings.allow_occurred_at, now)?;
    if command.amount.amount_minor <= 0 {
        let detail = "amount must be above zero";
        return Err(Rejection::new(Reason::AmountNotPositive, detail).field("amount"));
    }
    if let Some(known) = known(order, command) {
        return known;
    }

    let facts = Facts::new(id.as_str(), order.map_or(0, |order| order.version), at);
    let Some((order, placed)) = order.and_then(|order| Some((order, order.placed()?))) else {
        let facts = off_balance(facts, command, RefundDueReason::UnknownOrder, 0);
        return Ok(facts.answered(Vec::new(), answer(command, None)));
    };
    let mut paying = Paying {
        settings,
        command,
        order,
        placed,
        after: placed.standing,
        facts,
    };
    let mut messages = Vec::new();
    if command.amount.currency != placed.currency {
        let owed = placed.standing.owed_minor();
        paying.facts = off_balance(paying.facts, command, RefundDueReason::OtherCurrency, owed);
    } else if command.kind == PaymentKind::Refunded && came_before(order, &command.payment_id) {
        // On the balance it would be taken for money of the order's that went back, and what is paid
        // for it later would be owed to nobody.
        let owed = placed.standing.owed_minor();
        paying.facts = off_balance(paying.facts, command, RefundDueReason::UnknownOrder, owed);
    } else {
        match command.kind {
            PaymentKind::Authorized => paying.authorized(now),
            PaymentKind::Captured => paying.captured()?,
            PaymentKind::Failed => messages = paying.failed(),
            PaymentKind::Refunded => paying.refunded()?,
        }
    }
    let data = answer(command, Some((placed, &paying.after)));
    Ok(paying.facts.answered(messages, data))
}

/// The answer when the operation was recorded before.
fn known(order: Option<&Order>, command: &Pay) -> Option<Decided> {
    let order = order?;
    let key = (command.payment_id.clone(), command.operation_id.clone());
    let operation = order.operations.get(&key)?;
    let Price {
        amount_minor,
        currency,
    } = &command.amount;
    if operation.content != operation_content(command.kind, *amount_minor, currency) {
        let (payment, operation) = key;
        let detail =
            format!("operation {operation} of payment {payment} was reported with other content");
        return Some(Err(Rejection::new(Reason::OperationReused, detail)
            .field("operation_id")
            .with("payment_id", payment.as_str())
            .with("operation_id", operation.as_str())));
    }
    let written = &operation.written;
    let then = order.placed().zip(operation.standing.as_ref());
    let data = answer(command, then);
    Some(Ok(repeat(
        command.order_id.as_str(),
        written.version,
        Order::seqs(written),
        data,
    )))
}

/// Whether the payment brought money, and all of it before there was the order.
fn came_before(order: &Order, payment_id: &Reference) -> bool {
    let operations = order.operations.iter();
    let mut captured = operations
        .filter(|((of, _), operation)| of == payment_id && operation.kind == PaymentKind::Captured)
        .map(|(_, operation)| operation.standing.is_none())
        .peekable();
    captured.peek().is_some() && captured.all(|before| before)
}

/// What the provider is told.
fn answer(command: &Pay, order: Option<(&Placed, &Standing)>) -> Value {
    let mut data = match order {
        Some((placed, standing)) => data(&command.order_id, &placed.currency, standing),
        None => json!({ "order_id": command.order_id, "status": "unknown" }),
    };
    data["payment_id"] = json!(command.payment_id);
    data["operation_id"] = json!(command.operation_id);
    data
}

/// Records an operation that belongs to no balance of the order: money is due for refund, anything
/// else is noted.
fn off_balance(
    mut facts: Facts<OrderEvent>,
    command: &Pay,
    reason: RefundDueReason,
    owed_minor: i64,
) -> Facts<OrderEvent> {
    let Price {
        amount_minor,
        currency,
    } = command.amount.clone();
    if command.kind == PaymentKind::Captured {
        facts.push(OrderRefundDue {
            payment_id: Some(command.payment_id.clone()),
            operation_id: command.operation_id.clone(),
            amount_minor,
            currency,
            reason,
            refund_due_minor: owed_minor,
        });
    } else {
        facts.push(OrderPaymentNoted {
            payment_id: command.payment_id.clone(),
            operation_id: command.operation_id.clone(),
            kind: command.kind,
            amount_minor,
            currency,
            reason,
        });
    }
    facts
}

/// An operation in the currency of its order.
struct Paying<'a> {
    settings: &'a CheckoutSettings,
    command: &'a Pay,
    order: &'a Order,
    placed: &'a Placed,
    /// Where the order stands after it.
    after: Standing,
    facts: Facts<OrderEvent>,
}

impl Paying<'_> {
    /// A payment that has started gives an open order more time.
    fn authorized(&mut self, now: Timestamp) {
        let mut payment_deadline = self.placed.payment_deadline;
        if self.after.stage.is_open() {
            let extended = now.plus_millis(self.settings.payment_extension_ms);
            payment_deadline = payment_deadline.max(extended);
        }
        self.facts.push(OrderPaymentAuthorized {
            payment_id: self.command.payment_id.clone(),
            operation_id: self.command.operation_id.clone(),
            amount_minor: self.command.amount.amount_minor,
            currency: self.placed.currency.clone(),
            payment_deadline,
        });
    }

    /// Money pays a confirmed order; what is too much, or comes after the end, is owed back. Before
    /// the confirmation it waits for it.
    fn captured(&mut self) -> Result<(), Rejection> {
        let before = self.placed.standing;
        let amount_minor = self.command.amount.amount_minor;
        let captured = before.captured_minor.checked_add(amount_minor);
        let captured_minor = checks::in_range("amount", captured)?;
        self.after.captured_minor = captured_minor;
        self.facts.push(OrderPaymentCaptured {
            payment_id: self.command.payment_id.clone(),
            operation_id: self.command.operation_id.clone(),
            amount_minor,
            currency: self.placed.currency.clone(),
            captured_minor,
        });
        if before.stage == Stage::Confirmed && captured_minor >= before.total_minor {
            self.after.stage = Stage::Paid;
            self.facts.push(OrderPaid {
                total_minor: before.total_minor,
                captured_minor,
                currency: self.placed.currency.clone(),
            });
        }
        let owed = self.after.owed_minor();
        let more = owed.saturating_sub(before.owed_minor());
        if more > 0 {
            self.facts.push(OrderRefundDue {
                payment_id: Some(self.command.payment_id.clone()),
                operation_id: self.command.operation_id.clone(),
                amount_minor: more,
                currency: self.placed.currency.clone(),
                reason: if before.stage.has_ended() {
                    RefundDueReason::OrderEnded
                } else {
                    RefundDueReason::Excess
                },
                refund_due_minor: owed,
            });
        }
        Ok(())
    }

    /// A failure ends an open order for which no other payment is under way.
    fn failed(&mut self) -> Vec<Outgoing> {
        self.facts.push(OrderPaymentFailed {
            payment_id: self.command.payment_id.clone(),
            operation_id: self.command.operation_id.clone(),
            amount_minor: self.command.amount.amount_minor,
            currency: self.placed.currency.clone(),
        });
        let goes_on = self.after.captured_minor > 0 || self.other_payment_is_authorized();
        if !self.after.stage.is_open() || goes_on {
            return Vec::new();
        }
        self.after = ended(self.placed, Stage::Cancelled);
        self.facts.push(OrderCancelled {
            reason: CancelReason::PaymentFailed,
            reference: Some(self.command.operation_id.clone()),
            note: None,
            refund_due_minor: self.after.owed_minor(),
        });
        let (id, count) = (&self.command.order_id, self.settings.inventory_partitions);
        release(id, self.placed, count, ReleaseReason::PaymentFailed, |_| {
            true
        })
    }

    /// Another payment was authorised and has not failed.
    fn other_payment_is_authorized(&self) -> bool {
        let of_kind = |kind: PaymentKind| {
            self.order
                .operations
                .iter()
                .filter(move |(_, operation)| operation.kind == kind && !operation.noted)
                .map(|((payment_id, _), _)| payment_id)
        };
        let mut failed: BTreeSet<&Reference> = of_kind(PaymentKind::Failed).collect();
        failed.insert(&self.command.payment_id);
        of_kind(PaymentKind::Authorized).any(|payment_id| !failed.contains(payment_id))
    }

    /// Money went back: less is owed.
    fn refunded(&mut self) -> Result<(), Rejection> {
        let amount_minor = self.command.amount.amount_minor;
        let refunded = self.after.refunded_minor.checked_add(amount_minor);
        self.after.refunded_minor = checks::in_range("amount", refunded)?;
        self.facts.push(OrderPaymentRefunded {
            payment_id: self.command.payment_id.clone(),
            operation_id: self.command.operation_id.clone(),
            amount_minor,
            currency: self.placed.currency.clone(),
            refunded_minor: self.after.refunded_minor,
            shares: shares(self.placed, amount_minor),
            ship_to_country: self.placed.ship_to_country.clone(),
            refund_due_minor: self.after.owed_minor(),
        });
        Ok(())
    }
}
