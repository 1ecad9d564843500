//! What is done for one product and for one invoice, step by step.

use serde_json::{Value, json};

use super::plan::OrderReturn;
use super::rule::InvoiceKind;
use super::session::{Session, money};
use super::summary::Outcome;
use crate::client::{Answer, CallError, Problem, Request, segment};

/// How often an order whose predecessor ended unpaid is tried anew.
const MAX_ATTEMPTS: u8 = 9;
/// How often a checkout is asked for its outcome before the invoice is given up; each time it may
/// wait at the service.
const MAX_CHECKOUT_WAITS: u32 = 60;

/// How a step ended that did not succeed.
enum Stopped {
    /// The shop refused the step.
    Refused(&'static str, Box<Problem>),
    /// The order ended without its payment: its deadline passed, or its cart was abandoned.
    EndedUnpaid(Box<Problem>),
    /// Nothing answers any more.
    GaveUp(CallError),
}

fn at(step: &'static str) -> impl FnOnce(CallError) -> Stopped {
    move |error| match error {
        CallError::Refused(problem) => Stopped::Refused(step, problem),
        gave_up => Stopped::GaveUp(gave_up),
    }
}

/// Enters a product and receives its stock. A product that is there with other content (from
/// another file, say) is used as it is. A SKU that the shop does not take, or of which it takes no
/// stock, ends the invoices that have it, not the import.
///
/// # Errors
/// [`CallError`]: without products nothing else can be sent, so any other refusal of one ends the
/// import too.
pub async fn product(session: &Session, sku_number: u32) -> Result<(), CallError> {
    match session.send(&session.create_product(sku_number)).await {
        Err(CallError::Refused(problem)) if unusable_sku(&problem) => {
            session.leave_out(sku_number, "product", &problem);
            return Ok(());
        }
        Err(CallError::Refused(problem)) if problem.code == "product_exists" => {}
        Err(other) => return Err(other),
        Ok(_) => {}
    }
    let Some(receipt) = session.receive_stock(sku_number) else {
        return Ok(());
    };
    match session.send(&receipt).await {
        Err(CallError::Refused(problem)) => {
            session.leave_out(sku_number, "stock", &problem);
            Ok(())
        }
        other => other.map(drop),
    }
}

fn unusable_sku(problem: &Problem) -> bool {
    problem.status == 422 || problem.status == 400
}

/// Does all that an invoice asks for and notes what became of it. A refusal ends the invoice, not
/// the import.
///
/// # Errors
/// [`CallError::GaveUp`].
pub async fn invoice(
    session: &Session,
    index: u32,
    catalog_position: &str,
) -> Result<(), CallError> {
    match session.invoice(index).kind {
        InvoiceKind::Sale => {
            let outcome = sale(session, index, catalog_position).await?;
            session.set_outcome(index, outcome);
        }
        InvoiceKind::Cancellation => {
            session.set_outcome(index, Outcome::Done);
            for taken in session.plan.returns.get(&index).into_iter().flatten() {
                // An order that never was has nothing to give back.
                if session.outcome(taken.order) == Outcome::Done {
                    take_back(session, index, taken).await?;
                }
            }
        }
    }
    Ok(())
}

async fn sale(session: &Session, index: u32, position: &str) -> Result<Outcome, CallError> {
    if let Some((step, problem)) = session.left_out(index) {
        // Its order would be rejected as one that came too late for the last unit.
        session.refused(index, &step, &problem);
        return Ok(Outcome::Refused);
    }
    loop {
        let (step, problem) = match attempt(session, index, position).await {
            Ok(outcome) => return Ok(outcome),
            Err(Stopped::GaveUp(error)) => return Err(error),
            Err(Stopped::Refused(step, problem)) => (step, problem),
            Err(Stopped::EndedUnpaid(problem)) => {
                if session.next_attempt(index) <= MAX_ATTEMPTS {
                    continue;
                }
                ("checkout", problem)
            }
        };
        session.refused(index, step, &problem);
        return Ok(Outcome::Refused);
    }
}

async fn attempt(session: &Session, index: u32, position: &str) -> Result<Outcome, Stopped> {
    let cart = session.create_cart(index, position);
    session.send(&cart).await.map_err(at("cart"))?;
    let outcome = checked_out(session, index).await?;
    match outcome.text("status") {
        "rejected" if !names_shortages(&outcome) => {
            let problem = problem("inventory_failed", "the inventory could not decide");
            return Err(Stopped::Refused("checkout", problem));
        }
        "rejected" => return Ok(Outcome::OutOfStock),
        ended @ ("expired" | "cancelled") => {
            if outcome.number("refund_due_minor") > Some(0) {
                // It was paid too late by an import that was stopped before it sent the money back.
                refund_late_payment(session, index).await?;
            }
            return Err(Stopped::EndedUnpaid(problem(
                ended,
                "the order ended unpaid",
            )));
        }
        _ => {}
    }
    let captured = session.send(&session.capture(index)).await;
    captured.map_err(at("payment"))?;
    match session.send(&session.ship(index)).await {
        Ok(_) => Ok(Outcome::Done),
        Err(CallError::Refused(problem))
            if problem.code == "order_ended" || problem.code == "order_not_paid" =>
        {
            // The deadline passed between checkout and payment; the money has to go back.
            refund_late_payment(session, index).await?;
            Err(Stopped::EndedUnpaid(problem))
        }
        Err(error) => Err(at("shipment")(error)),
    }
}

fn names_shortages(outcome: &Answer) -> bool {
    let shortages = outcome.body.get("shortages").and_then(Value::as_array);
    shortages.is_some_and(|shortages| !shortages.is_empty())
}

/// The outcome of a checkout: asked for as long as stock is being looked for.
async fn checked_out(session: &Session, index: u32) -> Result<Answer, Stopped> {
    let request = session.check_out(index);
    for _ in 0..MAX_CHECKOUT_WAITS {
        match session.send(&request).await {
            Ok(answer) if matches!(answer.text("status"), "pending" | "") => {}
            Ok(answer) => return Ok(answer),
            Err(CallError::Refused(problem)) if problem.code == "cart_abandoned" => {
                return Err(Stopped::EndedUnpaid(problem));
            }
            Err(error) => return Err(at("checkout")(error)),
        }
    }
    let waited = "no outcome in the time that an import waits for one";
    Err(Stopped::Refused("checkout", problem("pending", waited)))
}

async fn refund_late_payment(session: &Session, index: u32) -> Result<(), Stopped> {
    let order_id = session.order_id(index);
    let amount_minor = session.invoice(index).total_minor();
    let operation_id = format!("{order_id}-late-refund");
    let refund = refund(session, &order_id, &operation_id, amount_minor, index);
    session.send(&refund).await.map_err(at("refund"))?;
    Ok(())
}

/// One return and one refund of what its units were charged, both on the same order.
async fn take_back(session: &Session, index: u32, taken: &OrderReturn) -> Result<(), CallError> {
    let order_id = session.order_id(taken.order);
    let number = &session.invoice(index).number;
    let reference = session.naming.taken_back(number, &order_id);
    // Lines of an order are numbered from 1, in the order in which its cart was given them.
    let lines: Vec<_> = taken
        .lines
        .iter()
        .map(|&(at, units)| json!({"line": at + 1, "quantity": units}))
        .collect();
    let body = json!({
        "return_id": reference,
        "lines": lines,
        // The file does not say whether the goods were put back on the shelf.
        "restock": false,
        "occurred_at": session.invoice(index).occurred_at,
    });
    let path = format!("/v1/orders/{}/returns", segment(&order_id));
    let returned = Request::post(path, session.naming.key("return", &reference), &body);
    let refunded = refund(session, &order_id, &reference, taken.charge_minor, index);
    for (step, request) in [("return", returned), ("refund", refunded)] {
        match session.send(&request).await {
            Ok(_) => {}
            Err(CallError::Refused(problem)) => {
                session.refused(index, &format!("{step} of {order_id}"), &problem);
                session.refused_return(index, taken.order);
                return Ok(());
            }
            Err(gave_up) => return Err(gave_up),
        }
    }
    Ok(())
}

fn refund(
    session: &Session,
    order_id: &str,
    operation_id: &str,
    amount_minor: i64,
    because_of: u32,
) -> Request {
    let body = json!({
        "payment_id": order_id,
        "operation_id": operation_id,
        "kind": "refunded",
        "amount": money(amount_minor),
        "occurred_at": session.invoice(because_of).occurred_at,
    });
    let path = format!("/v1/orders/{}/payments", segment(order_id));
    Request::post(path, session.naming.key("refund", operation_id), &body)
}

fn problem(code: &str, detail: &str) -> Box<Problem> {
    Box::new(Problem {
        code: code.to_owned(),
        detail: Some(detail.to_owned()),
        ..Problem::default()
    })
}
