//! How an order evolves. Every value that an event carries is held against the state.

use cartwright_events::order::{
    CancelReason, OrderCreated, OrderEvent, OrderRefundDue, PaymentKind, RefundDueReason,
};
use cartwright_events::{Currency, Event, Reference};

use super::state::{Line, Operation, Order, Placed, Standing, operation_content};
use crate::context::EvolveError;
use crate::facts::{misfit, must_be, must_follow};
use crate::memory::{SmallMap, Written};

impl Order {
    /// Applies `event`.
    pub(in crate::checkout) fn evolve(
        &mut self,
        event: &Event,
        body: &OrderEvent,
        seq: u64,
    ) -> Result<(), EvolveError> {
        must_follow(event, self.version)?;
        self.version = event.version;
        self.last_seq = seq;
        let follows = self.latest_operation.take();
        let written = Written::one(event.version, seq);
        match body {
            OrderEvent::Created(e) => return self.place(event, e, written),
            OrderEvent::PaymentNoted(e) => {
                let report = Report::new(
                    &e.payment_id,
                    &e.operation_id,
                    e.kind,
                    e.amount_minor,
                    &e.currency,
                );
                return self.record(event, report, true, written);
            }
            OrderEvent::RefundDue(e) => return self.refund_due(event, e, follows, written),
            _ => {}
        }
        let Some(placed) = self.placed.as_mut() else {
            return Err(misfit(event, "there is no such order"));
        };
        let report = placed.apply(event, body, written)?;
        match (report, follows) {
            (Some(report), _) => self.record(event, report, false, written)?,
            (None, Some(key)) if is_led_to_by_a_payment(body) => self.belongs_to(key, written),
            (None, _) => {}
        }
        Ok(())
    }

    fn place(
        &mut self,
        event: &Event,
        body: &OrderCreated,
        written: Written,
    ) -> Result<(), EvolveError> {
        if self.placed.is_some() {
            return Err(misfit(event, "the order exists"));
        }
        let id = event.aggregate_id.as_str();
        must_be(event, "cart_id", body.cart_id.as_str(), id)?;
        let mut units = Some(0i64);
        let mut total = Some(0i64);
        let mut last = 0;
        for line in &body.lines {
            let line_total = line.unit_price_minor.checked_mul(line.quantity);
            must_be(
                event,
                "line_total_minor",
                Some(line.line_total_minor),
                line_total,
            )?;
            if line.line <= last || line.quantity <= 0 {
                return Err(misfit(
                    event,
                    format!("line {} is out of order or empty", line.line),
                ));
            }
            last = line.line;
            units = units.and_then(|units| units.checked_add(line.quantity));
            total = total.and_then(|total| total.checked_add(line.line_total_minor));
        }
        must_be(event, "units", Some(body.units), units)?;
        must_be(event, "total_minor", Some(body.total_minor), total)?;
        self.placed = Some(Placed {
            currency: body.currency.clone(),
            ship_to_country: body.ship_to_country.clone(),
            standing: Standing::new(body.total_minor, body.units),
            payment_deadline: body.payment_deadline,
            lines: body.lines.iter().map(Line::from).collect(),
            return_dues: Vec::new(),
            shipments: SmallMap::default(),
            returns: SmallMap::default(),
            created: written,
            ended: None,
            shortages: Vec::new(),
        });
        Ok(())
    }

    /// Remembers a payment operation.
    fn record(
        &mut self,
        event: &Event,
        report: Report<'_>,
        noted: bool,
        written: Written,
    ) -> Result<(), EvolveError> {
        let operation = Operation {
            kind: report.kind,
            content: operation_content(report.kind, report.amount_minor, report.currency),
            noted,
            written,
            standing: self.standing(),
        };
        if !self.operations.insert(report.key.clone(), operation) {
            return Err(misfit(event, "the operation was recorded before"));
        }
        self.latest_operation = Some(report.key);
        Ok(())
    }

    /// The event belongs to the decision on an operation that was just recorded.
    fn belongs_to(&mut self, key: (Reference, Reference), written: Written) {
        let standing = self.standing();
        if let Some(operation) = self.operations.get_mut(&key) {
            operation.written.add(written.version, self.last_seq);
            operation.standing = standing;
            self.latest_operation = Some(key);
        }
    }

    fn refund_due(
        &mut self,
        event: &Event,
        body: &OrderRefundDue,
        follows: Option<(Reference, Reference)>,
        written: Written,
    ) -> Result<(), EvolveError> {
        let owed = self.standing().map_or(0, |standing| standing.owed_minor());
        must_be(event, "refund_due_minor", body.refund_due_minor, owed)?;
        match (body.reason, &body.payment_id) {
            (RefundDueReason::UnknownOrder | RefundDueReason::OtherCurrency, Some(payment_id)) => {
                let kind = PaymentKind::Captured;
                let OrderRefundDue {
                    operation_id,
                    amount_minor,
                    currency,
                    ..
                } = body;
                let report = Report::new(payment_id, operation_id, kind, *amount_minor, currency);
                self.record(event, report, true, written)
            }
            (RefundDueReason::OrderEnded | RefundDueReason::Excess, Some(_)) => {
                let key =
                    follows.ok_or_else(|| misfit(event, "no captured money goes before it"))?;
                self.belongs_to(key, written);
                Ok(())
            }
            (RefundDueReason::OrderCancelled, _) => {
                let ended = self
                    .placed
                    .as_mut()
                    .and_then(|placed| placed.ended.as_mut());
                let ended = ended.ok_or_else(|| misfit(event, "the order has not ended"))?;
                ended.add(written.version, self.last_seq);
                Ok(())
            }
            _ => Err(misfit(event, "nothing makes a refund due that way")),
        }
    }
}

/// Whether the event is decided with the payment operation that goes before it.
fn is_led_to_by_a_payment(body: &OrderEvent) -> bool {
    match body {
        OrderEvent::Paid(_) => true,
        OrderEvent::Cancelled(cancelled) => cancelled.reason == CancelReason::PaymentFailed,
        _ => false,
    }
}

/// What the payment provider reported.
pub(super) struct Report<'a> {
    key: (Reference, Reference),
    kind: PaymentKind,
    amount_minor: i64,
    currency: &'a Currency,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        payment_id: &Reference,
        operation_id: &Reference,
        kind: PaymentKind,
        amount_minor: i64,
        currency: &'a Currency,
    ) -> Self {
        Self {
            key: (payment_id.clone(), operation_id.clone()),
            kind,
            amount_minor,
            currency,
        }
    }
}
