//! What happens to an order: money, shipments, returns, cancellation.

use axum::extract::State;
use cartwright_domain::{Cancel, CheckoutCommand, LineQuantity, Pay, Return, Ship};
use cartwright_events::order::PaymentKind;
use cartwright_events::{OrderId, Reference, Timestamp};
use cartwright_service::extract::{Json, Path as PathOf};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{AcceptedBody, Money};
use super::carts::decide;
use crate::answers::Accepted;
use crate::app::App;
use crate::call::Call;
use crate::dispatch::Need;
use crate::errors::Error;

/// What the payment provider reports.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPayment {
    /// The provider's payment.
    #[schema(value_type = String, max_length = 128, example = "pay_7Qx")]
    payment_id: Reference,
    /// The provider's operation on it.
    #[schema(value_type = String, max_length = 128, example = "capture_1")]
    operation_id: Reference,
    /// What happened: `authorized`, `captured`, `failed` or `refunded`.
    #[schema(value_type = String, example = "captured")]
    kind: PaymentKind,
    /// How much, above zero, in any currency.
    amount: Money,
    /// Business time, where the settings allow it to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
}

/// Units of an order's line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The line.
    #[schema(example = 1)]
    line: u32,
    /// Units, above zero.
    #[schema(minimum = 1, example = 2)]
    quantity: i64,
}

impl From<Line> for LineQuantity {
    fn from(line: Line) -> LineQuantity {
        LineQuantity {
            line: line.line,
            quantity: line.quantity,
        }
    }
}

/// Goods that left.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewShipment {
    /// The shipment's reference, remembered for ever.
    #[schema(value_type = String, max_length = 128, example = "parcel-1")]
    shipment_id: Reference,
    /// What left, each line once; without it, everything that had not left yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<Line>>,
    /// Business time, where the settings allow it to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
}

/// Goods that came back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReturn {
    /// The return's reference, remembered for ever.
    #[schema(value_type = String, max_length = 128, example = "return-1")]
    return_id: Reference,
    /// What came back, each line once; never more than was shipped.
    lines: Vec<Line>,
    /// Whether the goods go back on the shelf.
    #[serde(default)]
    restock: bool,
    /// Business time, where the settings allow it to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
}

/// A cancellation.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCancellation {
    /// The caller's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 128)]
    reference: Option<Reference>,
    /// The caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500, example = "ordered twice")]
    note: Option<String>,
    /// Business time, where the settings allow it to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
}

fn lines(lines: &[Line]) -> Vec<LineQuantity> {
    lines.iter().copied().map(Into::into).collect()
}

/// Report what the payment provider did
///
/// Operations may come in any order and any number of times: known by payment and operation id,
/// each counts once. Money that fits nothing is recorded, and due for refund.
#[utoipa::path(
    post, path = "/v1/orders/{id}/payments", tag = "checkout", operation_id = "report_payment",
    params(("id" = String, Path, description = "The order that the money is for")),
    request_body = NewPayment,
    responses((status = 201, description = "The operation is recorded", body = AcceptedBody))
)]
pub async fn pay(
    State(app): State<App>,
    call: Call,
    PathOf(order_id): PathOf<OrderId>,
    Json(body): Json<NewPayment>,
) -> Result<Accepted, Error> {
    let command = Pay {
        order_id,
        payment_id: body.payment_id.clone(),
        operation_id: body.operation_id.clone(),
        kind: body.kind,
        amount: body.amount.clone().into(),
        occurred_at: body.occurred_at,
    };
    decide(
        &app,
        &call,
        CheckoutCommand::Pay(command),
        Need::Nothing,
        &body,
    )
    .await
    .map(Accepted::created)
}

/// Record a shipment
///
/// Of a paid order, in full or in part.
#[utoipa::path(
    post, path = "/v1/orders/{id}/shipments", tag = "checkout", operation_id = "ship",
    params(("id" = String, Path, description = "The order")),
    request_body = NewShipment,
    responses((status = 201, description = "The shipment is recorded", body = AcceptedBody))
)]
pub async fn ship(
    State(app): State<App>,
    call: Call,
    PathOf(order_id): PathOf<OrderId>,
    Json(body): Json<NewShipment>,
) -> Result<Accepted, Error> {
    let command = Ship {
        order_id,
        shipment_id: body.shipment_id.clone(),
        lines: body.lines.as_deref().map(lines),
        occurred_at: body.occurred_at,
    };
    decide(
        &app,
        &call,
        CheckoutCommand::Ship(command),
        Need::Nothing,
        &body,
    )
    .await
    .map(Accepted::created)
}

/// Record goods that came back
///
/// What they were charged is due for refund.
#[utoipa::path(
    post, path = "/v1/orders/{id}/returns", tag = "checkout", operation_id = "return_goods",
    params(("id" = String, Path, description = "The order")),
    request_body = NewReturn,
    responses((status = 201, description = "The return is recorded", body = AcceptedBody))
)]
pub async fn take_back(
    State(app): State<App>,
    call: Call,
    PathOf(order_id): PathOf<OrderId>,
    Json(body): Json<NewReturn>,
) -> Result<Accepted, Error> {
    let command = Return {
        order_id,
        return_id: body.return_id.clone(),
        lines: lines(&body.lines),
        restock: body.restock,
        occurred_at: body.occurred_at,
    };
    decide(
        &app,
        &call,
        CheckoutCommand::Return(command),
        Need::Nothing,
        &body,
    )
    .await
    .map(Accepted::created)
}

/// Call off an order
///
/// Of which nothing was shipped. A second time is a repeat. What was paid is due for refund.
#[utoipa::path(
    post, path = "/v1/orders/{id}/cancel", tag = "checkout", operation_id = "cancel_order",
    params(("id" = String, Path, description = "The order")),
    request_body(content = Option<NewCancellation>),
    responses((status = 200, description = "The order is cancelled", body = AcceptedBody))
)]
pub async fn cancel(
    State(app): State<App>,
    call: Call,
    PathOf(order_id): PathOf<OrderId>,
    body: Option<Json<NewCancellation>>,
) -> Result<Accepted, Error> {
    let body = body.map(|Json(body)| body).unwrap_or_default();
    let command = Cancel {
        order_id,
        reference: body.reference.clone(),
        note: body.note.clone(),
        occurred_at: body.occurred_at,
    };
    decide(
        &app,
        &call,
        CheckoutCommand::Cancel(command),
        Need::Nothing,
        &body,
    )
    .await
    .map(Accepted::ok)
}
