//! Stock.

use axum::extract::State;
use cartwright_domain::{AdjustStock, InventoryCommand, ReceiveStock};
use cartwright_events::{Reference, Sku};
use cartwright_service::extract::{Json, Path as PathOf};
use cartwright_shard::Answer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::AcceptedBody;
use crate::answers::Accepted;
use crate::app::App;
use crate::call::Call;
use crate::dispatch::{Need, derived_reference};
use crate::errors::Error;

/// Goods that came in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReceipt {
    /// Units, above zero.
    #[schema(minimum = 1, example = 120)]
    quantity: i64,
    /// The delivery's reference, remembered for ever among the SKU's receipts. Without one it is made
    /// from the idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 128, example = "delivery-2291")]
    reference: Option<Reference>,
}

/// A correction to what a count found.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdjustment {
    /// Units to add or (negative) to take off; not zero. On hand cannot go below zero.
    #[schema(example = -2)]
    delta: i64,
    /// Why, in the shop's words.
    #[schema(min_length = 1, max_length = 200, example = "broken")]
    reason: String,
    /// The correction's reference, remembered for ever among the SKU's adjustments. Without one it is
    /// made from the idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 128)]
    reference: Option<Reference>,
}

async fn decide(
    app: &App,
    call: &Call,
    command: InventoryCommand,
    body: &impl Serialize,
) -> Result<Answer, Error> {
    let sku = command.sku().as_str().to_owned();
    app.decide(&app.inventory, &sku, command, Need::Nothing, call, body)
        .await
}

/// Book goods that came in
///
/// A retry is safe for ever: with the same reference or, without one, under the same idempotency key.
#[utoipa::path(
    post, path = "/v1/stock/{sku}/receipts", tag = "inventory", operation_id = "receive_stock",
    params(("sku" = String, Path, description = "What came in")),
    request_body = NewReceipt,
    responses((status = 201, description = "The goods are booked", body = AcceptedBody))
)]
pub async fn receive(
    State(app): State<App>,
    call: Call,
    PathOf(sku): PathOf<Sku>,
    Json(body): Json<NewReceipt>,
) -> Result<Accepted, Error> {
    let command = ReceiveStock {
        sku,
        quantity: body.quantity,
        reference: body.reference.clone().or_else(|| derived_reference(&call)),
    };
    let command = InventoryCommand::ReceiveStock(command);
    decide(&app, &call, command, &body)
        .await
        .map(Accepted::created)
}

/// Correct the books
///
/// To what a count found. What is available may fall below what orders hold: that is a shortfall.
#[utoipa::path(
    post, path = "/v1/stock/{sku}/adjustments", tag = "inventory", operation_id = "adjust_stock",
    params(("sku" = String, Path, description = "What was counted")),
    request_body = NewAdjustment,
    responses((status = 201, description = "The books are corrected", body = AcceptedBody))
)]
pub async fn adjust(
    State(app): State<App>,
    call: Call,
    PathOf(sku): PathOf<Sku>,
    Json(body): Json<NewAdjustment>,
) -> Result<Accepted, Error> {
    let command = AdjustStock {
        sku,
        delta: body.delta,
        reason: body.reason.clone(),
        reference: body.reference.clone().or_else(|| derived_reference(&call)),
    };
    let command = InventoryCommand::AdjustStock(command);
    decide(&app, &call, command, &body)
        .await
        .map(Accepted::created)
}
