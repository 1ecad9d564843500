//! What became of commands whose callers did not wait.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cartwright_service::extract::{Json, Path as PathOf};
use cartwright_service::problem::Problem;
use cartwright_shard::{Found, Outcome};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::answers;
use crate::app::App;
use crate::call::Call;
use crate::errors::{self, Error};
use crate::status_id::StatusId;

/// Seconds after which a command that waits is worth asking for again.
const ASK_AGAIN_S: u64 = 1;

/// A command and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandStatus {
    /// The command, as the 202 named it.
    #[schema(example = "checkout-1-4711-01a20341-4d51-713b-955a-134939c7c6b2")]
    pub command: String,
    /// `pending` (its turn has not come), `accepted` or `rejected`.
    #[schema(example = "accepted")]
    pub status: String,
    /// For an accepted command, what it would have been answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// For a rejected one, the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Value>,
}

/// What became of a command
///
/// That was sent with `Prefer: respond-async`. Its answer is remembered as long as results are by
/// idempotency key; then it is 404 `command_forgotten`.
#[utoipa::path(
    get, path = "/v1/commands/{id}", tag = "service", operation_id = "command_status",
    params(("id" = String, Path, description = "The command, as the 202 named it")),
    responses(
        (status = 200, description = "The command is waiting, accepted or rejected", body = CommandStatus),
        (status = 404, description = "`command_unknown` or `command_forgotten`"),
        (status = 503, description = "Its shard cannot be asked now; repeat after `Retry-After` seconds"),
    )
)]
pub async fn status(
    State(app): State<App>,
    call: Call,
    PathOf(id): PathOf<String>,
) -> Result<Response, Error> {
    let parsed = id.parse::<StatusId>().ok();
    let parsed = parsed.filter(|parsed| app.may_have(parsed.shard));
    let unknown = || Problem::not_found("command_unknown", "There is no command of that name");
    let parsed = parsed.ok_or_else(unknown)?;
    let found = app.command_status(&parsed, &call).await?;
    let (status, answer, problem) = match found {
        Found::Waiting => ("pending", None, None),
        Found::Decided(Outcome::Accepted(answer)) => {
            ("accepted", Some(answers::body(answer).into()), None)
        }
        Found::Decided(Outcome::Rejected(rejection)) => {
            let problem = errors::rejected(rejection);
            let body = serde_json::to_value(problem.body()).map_err(Problem::internal)?;
            ("rejected", None, Some(body))
        }
        Found::Forgotten => {
            let problem = Problem::not_found(
                "command_forgotten",
                "The command was decided too long ago to be remembered",
            );
            return Err(problem.into());
        }
    };
    let is_pending = status == "pending";
    let body = CommandStatus {
        command: id,
        status: status.to_owned(),
        answer,
        problem,
    };
    let mut response = (StatusCode::OK, Json(body)).into_response();
    if is_pending {
        let again = HeaderValue::from(ASK_AGAIN_S);
        response.headers_mut().insert(RETRY_AFTER, again);
    }
    Ok(response)
}
