//! How an order that was placed evolves.

use cartwright_events::Event;
use cartwright_events::order::{
    OrderEvent, OrderPaymentCaptured, OrderPaymentRefunded, OrderReturned, OrderShipped,
    PaymentKind,
};

use super::evolve::Report;
use super::movement::return_content;
use super::state::{Movement, Placed, ReturnDue, Stage, lines_content};
use crate::context::EvolveError;
use crate::facts::{misfit, must_be};
use crate::memory::Written;

impl Placed {
    /// Applies an event of an order that exists; gives back the payment operation that it reports.
    pub(super) fn apply<'a>(
        &mut self,
        event: &Event,
        body: &'a OrderEvent,
        written: Written,
    ) -> Result<Option<Report<'a>>, EvolveError> {
        let stage = self.standing.stage;
        let must = |fits: bool| {
            let problem = || misfit(event, format!("it cannot happen in stage {stage:?}"));
            if fits { Ok(()) } else { Err(problem()) }
        };
        match body {
            OrderEvent::Confirmed(e) => {
                must(stage == Stage::Pending)?;
                must_be(
                    event,
                    "total_minor",
                    e.total_minor,
                    self.standing.total_minor,
                )?;
                self.standing.stage = Stage::Confirmed;
            }
            OrderEvent::Rejected(e) => {
                must(stage == Stage::Pending)?;
                self.shortages = e.shortages.clone();
                self.end(Stage::Rejected, written);
            }
            OrderEvent::Paid(e) => {
                must(stage == Stage::Confirmed && e.captured_minor >= self.standing.total_minor)?;
                must_be(
                    event,
                    "captured_minor",
                    e.captured_minor,
                    self.standing.captured_minor,
                )?;
                self.standing.stage = Stage::Paid;
            }
            OrderEvent::Cancelled(e) => {
                must(!stage.has_ended() && self.standing.shipped_units == 0)?;
                self.end(Stage::Cancelled, written);
                must_be(
                    event,
                    "refund_due_minor",
                    e.refund_due_minor,
                    self.standing.owed_minor(),
                )?;
            }
            OrderEvent::Expired(e) => {
                must(stage.is_open())?;
                must_be(
                    event,
                    "payment_deadline",
                    e.payment_deadline,
                    self.payment_deadline,
                )?;
                self.end(Stage::Expired, written);
                must_be(
                    event,
                    "refund_due_minor",
                    e.refund_due_minor,
                    self.standing.owed_minor(),
                )?;
            }
            OrderEvent::Shipped(e) => {
                must(stage == Stage::Paid)?;
                self.shipped(event, e, written)?;
            }
            OrderEvent::Returned(e) => self.returned(event, e, written)?,
            OrderEvent::PaymentAuthorized(e) => {
                must(e.payment_deadline >= self.payment_deadline)?;
                self.payment_deadline = e.payment_deadline;
                let kind = PaymentKind::Authorized;
                return Ok(Some(Report::new(
                    &e.payment_id,
                    &e.operation_id,
                    kind,
                    e.amount_minor,
                    &e.currency,
                )));
            }
            OrderEvent::PaymentCaptured(e) => return self.captured(event, e).map(Some),
            OrderEvent::PaymentFailed(e) => {
                let kind = PaymentKind::Failed;
                return Ok(Some(Report::new(
                    &e.payment_id,
                    &e.operation_id,
                    kind,
                    e.amount_minor,
                    &e.currency,
                )));
            }
            OrderEvent::PaymentRefunded(e) => return self.refunded(event, e).map(Some),
            // Taken care of before.
            OrderEvent::Created(_) | OrderEvent::RefundDue(_) | OrderEvent::PaymentNoted(_) => {}
        }
        Ok(None)
    }

    fn end(&mut self, stage: Stage, written: Written) {
        self.standing.stage = stage;
        self.ended = Some(written);
    }

    fn captured<'a>(
        &mut self,
        event: &Event,
        body: &'a OrderPaymentCaptured,
    ) -> Result<Report<'a>, EvolveError> {
        let OrderPaymentCaptured {
            payment_id,
            operation_id,
            amount_minor,
            currency,
            captured_minor,
        } = body;
        let sum = self.standing.captured_minor.checked_add(*amount_minor);
        must_be(event, "currency", currency, &self.currency)?;
        must_be(event, "captured_minor", Some(*captured_minor), sum)?;
        self.standing.captured_minor = *captured_minor;
        Ok(Report::new(
            payment_id,
            operation_id,
            PaymentKind::Captured,
            *amount_minor,
            currency,
        ))
    }

    fn refunded<'a>(
        &mut self,
        event: &Event,
        body: &'a OrderPaymentRefunded,
    ) -> Result<Report<'a>, EvolveError> {
        let OrderPaymentRefunded {
            payment_id,
            operation_id,
            amount_minor,
            currency,
            ..
        } = body;
        let sum = self.standing.refunded_minor.checked_add(*amount_minor);
        must_be(event, "currency", currency, &self.currency)?;
        must_be(event, "refunded_minor", Some(body.refunded_minor), sum)?;
        self.standing.refunded_minor = body.refunded_minor;
        must_be(
            event,
            "refund_due_minor",
            body.refund_due_minor,
            self.standing.owed_minor(),
        )?;

        let mut shared = Some(0i64);
        for share in &body.shares {
            shared = shared.and_then(|sum| sum.checked_add(share.amount_minor));
            let mut left = share.amount_minor;
            for due in self
                .return_dues
                .iter_mut()
                .filter(|due| due.line == share.line)
            {
                let settled = due.amount_minor.min(left);
                due.amount_minor = due.amount_minor.saturating_sub(settled);
                left = left.saturating_sub(settled);
            }
            let line = self.line_mut(share.line);
            let line =
                line.ok_or_else(|| misfit(event, format!("there is no line {}", share.line)))?;
            line.refunded_minor = line.refunded_minor.saturating_add(share.amount_minor);
        }
        must_be(event, "sum of the shares", shared, Some(*amount_minor))?;
        self.return_dues.retain(|due| due.amount_minor > 0);
        Ok(Report::new(
            payment_id,
            operation_id,
            PaymentKind::Refunded,
            *amount_minor,
            currency,
        ))
    }

    fn shipped(
        &mut self,
        event: &Event,
        body: &OrderShipped,
        written: Written,
    ) -> Result<(), EvolveError> {
        let mut units = Some(self.standing.shipped_units);
        for leaving in &body.lines {
            units = units.and_then(|units| units.checked_add(leaving.quantity));
            let line = self.line_mut(leaving.line);
            let line =
                line.ok_or_else(|| misfit(event, format!("there is no line {}", leaving.line)))?;
            line.shipped = line.shipped.saturating_add(leaving.quantity);
            if leaving.quantity <= 0 || line.shipped > line.quantity {
                return Err(misfit(
                    event,
                    format!("line {} has not as much left", leaving.line),
                ));
            }
        }
        must_be(event, "shipped_units", Some(body.shipped_units), units)?;
        self.standing.shipped_units = body.shipped_units;
        let all = body.shipped_units == self.standing.units;
        must_be(event, "fully_shipped", body.fully_shipped, all)?;
        let movement = Movement {
            content: lines_content(body.lines.iter().map(|line| (line.line, line.quantity))),
            took_the_rest: all,
            written,
            standing: self.standing,
        };
        if self.shipments.insert(body.shipment_id.clone(), movement) {
            Ok(())
        } else {
            Err(misfit(event, "the shipment was recorded before"))
        }
    }

    fn returned(
        &mut self,
        event: &Event,
        body: &OrderReturned,
        written: Written,
    ) -> Result<(), EvolveError> {
        let mut units = Some(self.standing.returned_units);
        let mut charge = Some(0i64);
        for coming in &body.lines {
            units = units.and_then(|units| units.checked_add(coming.quantity));
            charge = charge.and_then(|charge| charge.checked_add(coming.charge_minor));
            let line = self.line_mut(coming.line);
            let line =
                line.ok_or_else(|| misfit(event, format!("there is no line {}", coming.line)))?;
            line.returned = line.returned.saturating_add(coming.quantity);
            if coming.quantity <= 0 || line.returned > line.shipped {
                return Err(misfit(
                    event,
                    format!("line {} was not shipped so often", coming.line),
                ));
            }
            let charged = line.unit_price_minor.checked_mul(coming.quantity);
            must_be(event, "charge_minor", Some(coming.charge_minor), charged)?;
            self.return_dues.push(ReturnDue {
                line: coming.line,
                amount_minor: coming.charge_minor,
            });
        }
        must_be(event, "returned_units", Some(body.returned_units), units)?;
        must_be(event, "charge_minor", Some(body.charge_minor), charge)?;
        self.standing.returned_units = body.returned_units;
        self.standing.returned_minor = self
            .standing
            .returned_minor
            .saturating_add(body.charge_minor);
        must_be(
            event,
            "refund_due_minor",
            body.refund_due_minor,
            self.standing.owed_minor(),
        )?;
        let lines = body.lines.iter().map(|line| (line.line, line.quantity));
        let movement = Movement {
            content: return_content(lines, body.restock),
            took_the_rest: false,
            written,
            standing: self.standing,
        };
        if self.returns.insert(body.return_id.clone(), movement) {
            Ok(())
        } else {
            Err(misfit(event, "the return was recorded before"))
        }
    }
}
