//! Where errors become HTTP.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use cartwright_domain::{Reason, Rejection, RejectionKind};
use cartwright_events::Context;
use cartwright_service::problem::{MEDIA_TYPE, Problem};
use http::StatusCode;
use http::header::{CONTENT_TYPE, IF_MATCH};

use crate::call::{IDEMPOTENCY_KEY, MAX_KEY_LEN, POSITION};
use crate::prices::PricesError;

/// What a client is told to wait when nothing says how long it will take.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What a client is told to wait when somebody has to do something first.
const RETRY_AFTER_REPAIR: Duration = Duration::from_secs(10);

/// Why a command was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks a rule by itself.
    #[error(transparent)]
    Input(#[from] Problem),
    /// A POST without an idempotency key.
    #[error("the idempotency key is missing")]
    KeyMissing,
    /// A header that holds no idempotency key, or more than one.
    #[error("the idempotency key is malformed")]
    KeyMalformed,
    /// A header that holds no position token.
    #[error("the position is malformed")]
    PositionMalformed,
    /// A header that holds no version.
    #[error("the expected version is malformed")]
    IfMatchMalformed,
    /// The body cannot be written again, for its digest.
    #[error("the body cannot be digested: {0}")]
    Unwritable(serde_json::Error),
    /// The context is served elsewhere.
    #[error("{} is not served here", .0.name())]
    NotServed(Context),
    /// Nothing can be priced, or not yet.
    #[error(transparent)]
    Prices(#[from] PricesError),
    /// Too many commands wait for their turn.
    #[error("the mailbox of {shard} is full")]
    MailboxFull {
        /// The shard.
        shard: String,
        /// When there should be room.
        retry_after: Duration,
    },
    /// No answer will come from the shard any more.
    #[error("shard {shard} does not serve: {why}")]
    ShardUnavailable {
        /// The shard.
        shard: String,
        /// Why.
        why: String,
    },
    /// The shard is changing hands, and the new owner was not there in time.
    #[error("shard {shard} {why}")]
    ShardMoving {
        /// The shard.
        shard: String,
        /// What it is doing.
        why: String,
    },
    /// It is in its shard's inbox and will be decided: the answer says where to ask for it.
    #[error("queued")]
    Queued(Box<Response>),
    /// Another node has answered: this, as it is.
    #[error("answered by another node")]
    Elsewhere(Box<Response>),
    /// The command's turn did not come in time.
    #[error("shard {shard} was too busy, or {state}")]
    DeadlinePassed {
        /// The shard.
        shard: String,
        /// What it was doing.
        state: String,
        /// When there should be less before it.
        retry_after: Duration,
    },
    /// The command may have taken effect or not.
    #[error("shard {shard} did not say what became of the command: {why}")]
    Unknown {
        /// The shard.
        shard: String,
        /// Why.
        why: String,
    },
    /// Deciding failed inside.
    #[error("shard {shard} failed to decide: {reason}")]
    Failed {
        /// The shard.
        shard: String,
        /// What the panic said.
        reason: String,
    },
    /// The idempotency key came with another request before.
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// Decided: refused.
    #[error("{}: {}", .0.reason, .0.detail)]
    Rejected(Rejection),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Error::Rejected(rejection) => decided(rejection),
            Error::Elsewhere(response) | Error::Queued(response) => *response,
            other => Problem::from(other).into_response(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error {
            Error::Input(problem) => problem,
            Error::KeyMissing => bad_header(
                "idempotency_key_missing",
                IDEMPOTENCY_KEY.as_str(),
                "required",
                "Every POST needs an Idempotency-Key: a string that is new for every new intent and the same for every retry",
            ),
            Error::KeyMalformed => bad_header(
                "idempotency_key_malformed",
                IDEMPOTENCY_KEY.as_str(),
                "format",
                &format!("Idempotency-Key must be one string of 1 to {MAX_KEY_LEN} visible ASCII characters, such as \"8e03978e\""),
            ),
            Error::PositionMalformed => bad_header(
                "position_malformed",
                POSITION.as_str(),
                "format",
                "Cartwright-Position must be a position token as an answer gave it, and all of one log",
            ),
            Error::IfMatchMalformed => bad_header(
                "if_match_malformed",
                IF_MATCH.as_str(),
                "format",
                "If-Match must be one entity tag as an answer gave it in ETag, such as \"3\": the aggregate's version",
            ),
            Error::NotServed(context) => Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "context_not_served",
                "The context is served elsewhere",
            )
            .detail(format!("This process does not serve the {}", context.name()))
            .with("context", context.name()),
            Error::Prices(error) => prices(error),
            Error::MailboxFull { retry_after, .. } => Problem::overloaded(retry_after),
            Error::ShardUnavailable { shard, why } => Problem::unavailable(
                "shard_unavailable",
                format!("Shard {shard} does not serve ({why}); nothing was begun"),
                RETRY_AFTER_REPAIR,
            )
            .with("shard", shard),
            Error::ShardMoving { shard, why } => Problem::unavailable(
                "shard_moving",
                format!("Shard {shard} {why}; nothing was begun"),
                RETRY_AFTER,
            )
            .with("shard", shard),
            Error::DeadlinePassed { shard, state, retry_after } => Problem::unavailable(
                "deadline_passed",
                format!("The command's turn did not come in time (shard {shard} is {state}); nothing was begun"),
                retry_after,
            )
            .with("shard", shard),
            Error::Unknown { shard, why } => Problem::unavailable(
                "outcome_unknown",
                format!("Whether the command took effect is not known ({why}); a retry with the same Idempotency-Key is safe"),
                RETRY_AFTER,
            )
            .with("shard", shard),
            error @ (Error::Failed { .. } | Error::Unwritable(_) | Error::Elsewhere(_) | Error::Queued(_)) => Problem::internal(error),
            Error::KeyReused => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The idempotency key was used with another request",
            )
            .detail("The same Idempotency-Key came with another method, path or body before; use a new key for a new intent"),
            Error::Rejected(rejection) => rejected(rejection),
        }
    }
}

fn bad_header(code: &'static str, header: &str, rule: &str, detail: &str) -> Problem {
    Problem::bad_request(code, detail).field(header, rule, detail)
}

fn prices(error: PricesError) -> Problem {
    let detail = error.to_string();
    match error {
        PricesError::Stopped { .. } => {
            Problem::unavailable("prices_unavailable", detail, RETRY_AFTER_REPAIR)
        }
        PricesError::Loading => Problem::unavailable("prices_loading", detail, RETRY_AFTER),
        PricesError::Behind { reached } => Problem::gateway_timeout("position_not_reached", detail)
            .with("reached", reached.to_string()),
        PricesError::OtherLog { log_generation } => Problem::conflict(
            "position_of_another_log",
            "The position belongs to another log",
        )
        .detail(detail)
        .with("log_generation", log_generation),
    }
}

pub(crate) fn rejected(rejection: Rejection) -> Problem {
    let status = match rejection.kind {
        RejectionKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        RejectionKind::NotFound => StatusCode::NOT_FOUND,
        RejectionKind::Conflict => StatusCode::CONFLICT,
        RejectionKind::NotAllowed => StatusCode::FORBIDDEN,
        RejectionKind::Precondition => StatusCode::PRECONDITION_FAILED,
    };
    let known = Reason::ALL
        .iter()
        .find(|reason| reason.code() == rejection.reason);
    // A stored rejection may be of a version that had other reasons.
    let title = known.map_or("The command was refused", |reason| {
        reason.title().trim_end_matches('.')
    });
    let mut problem =
        Problem::new(status, rejection.reason.clone(), title).detail(rejection.detail.clone());
    if let Some(field) = rejection.field {
        problem = problem.field(field, rejection.reason, rejection.detail);
    }
    rejection
        .data
        .into_iter()
        .fold(problem, |problem, (name, value)| problem.with(name, value))
}

/// A rejection is an answer like any other: it is stored, and a repeat of the command gets the same
/// bytes. So it does not carry the id of the request that it happens to answer; the header does.
fn decided(rejection: Rejection) -> Response {
    let problem = rejected(rejection);
    match serde_json::to_vec(problem.body()) {
        Ok(body) => (problem.status(), [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response(),
        Err(error) => Problem::internal(error).into_response(),
    }
}
