//! Checking a cart out, and waiting for what becomes of the order.

use std::time::Duration;

use axum::extract::State;
use cartwright_domain::{CheckOut, CheckoutCommand};
use cartwright_events::{CartId, Timestamp};
use cartwright_service::extract::{Json, Path as PathOf};
use cartwright_shard::Answer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{CheckoutBody, Money};
use super::carts::decide;
use crate::answers::Accepted;
use crate::app::App;
use crate::call::Call;
use crate::dispatch::{Need, merged};
use crate::errors::Error;

/// A checkout.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkout {
    /// The total that the shopper agreed to: with any other there is no order, and the answer is
    /// `total_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_total: Option<Money>,
    /// Business time, where the settings allow it to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
}

/// Make an order of a cart
///
/// The order has the cart's id. Its stock is asked for at once; whether it was there is decided a
/// moment later. With `Prefer: wait=N` the answer waits for that, up to N seconds: 200 with the
/// outcome, or 202 when the time has passed. A cart that is an order already answers with it.
#[utoipa::path(
    post, path = "/v1/carts/{id}/checkout", tag = "checkout", operation_id = "check_out",
    params(
        ("id" = String, Path, description = "The cart"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: how many seconds to wait for the outcome", example = "wait=5"),
    ),
    request_body(content = Option<Checkout>),
    responses(
        (status = 200, description = "The order and its outcome", body = CheckoutBody,
            headers(("Location" = String, description = "Where query-api has the order"),
                    ("Preference-Applied" = String, description = "How long the answer would have waited"))),
        (status = 202, description = "The order; its outcome is not decided yet", body = CheckoutBody,
            headers(("Location" = String, description = "Where query-api has the order"),
                    ("Preference-Applied" = String, description = "How long the answer waited, if it did"))),
    )
)]
pub async fn check_out(
    State(app): State<App>,
    call: Call,
    PathOf(cart_id): PathOf<CartId>,
    body: Option<Json<Checkout>>,
) -> Result<Accepted, Error> {
    let body = body.map(|Json(body)| body).unwrap_or_default();
    let command = CheckOut {
        cart_id: cart_id.clone(),
        expected_total: body.expected_total.clone().map(Into::into),
        occurred_at: body.occurred_at,
    };
    let command = CheckoutCommand::CheckOut(command);
    let answer = decide(&app, &call, command, Need::Prices, &body).await?;
    let order_id = cart_id.as_str();
    let Some(wait) = call.wait.map(|wait| wait.min(app.settings.wait_max())) else {
        return Ok(Accepted::pending(answer).at("/v1/orders", order_id));
    };
    let accepted = match outcome(&app, order_id, wait).await {
        Some(outcome) => Accepted::ok(with_outcome(answer, outcome)),
        None => Accepted::pending(answer),
    };
    Ok(accepted.at("/v1/orders", order_id).waited(wait.as_secs()))
}

/// What became of the order, if that is decided within `wait`. `None` too when the shard has no
/// room for one more that waits: the order stands either way.
async fn outcome(app: &App, order_id: &str, wait: Duration) -> Option<Answer> {
    let mailbox = app.checkout.of(order_id).slot.borrow().clone()?;
    let decided = mailbox.watch(order_id.to_owned());
    tokio::time::timeout(wait, decided).await.ok()?.ok()
}

/// The outcome, at the later of both positions.
fn with_outcome(checked_out: Answer, outcome: Answer) -> Answer {
    let mut data = checked_out.data;
    data.extend(outcome.data);
    Answer {
        aggregate_id: outcome.aggregate_id,
        version: outcome.version,
        position: merged(outcome.position, &checked_out.position),
        data,
    }
}
