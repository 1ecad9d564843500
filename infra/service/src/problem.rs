//! Refusals and failures as RFC 9457 problem details, `application/problem+json`.
//!
//! Every answer from 400 up is a [`Problem`]. Beside the RFC's members it carries:
//!
//! * `code`: the named reason in snake_case; what programs should look at.
//! * `instance`: the request id, to be quoted when asking about it.
//! * `errors`: for input that breaks rules, each field, the rule and what it means.
//! * further members that belong to the code, such as the two prices of `price_changed`.
//!
//! Status by kind of refusal: 400 when a request cannot be read at all (not JSON, broken
//! percent-encoding), 422 when it was read but a field breaks a rule (unknown, missing, of the
//! wrong type, out of range), 409 when it contradicts what has happened, 503 with Retry-After when
//! nothing was begun and it may simply be repeated, 504 when a wait ended before the outcome was
//! known.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::request_id;

/// The media type of every problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One field of the input that breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Path of the field as the client wrote it, such as `items[0].quantity`; `body` when it is
    /// the whole body.
    pub field: String,
    /// The rule in snake_case: `required`, `unknown`, `type`, `value`, `length`, `one_of`,
    /// `unique`, `format`, or one of the service's own, such as `min`.
    pub rule: String,
    /// What the rule asks for, for people.
    pub detail: String,
}

/// The members of a problem, as they are on the wire. Servers build a [`Problem`]; clients parse
/// this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A relative URI that identifies the kind, such as `/problems/out-of-stock`, or
    /// `about:blank` when there is nothing to say beyond the status.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Cow<'static, str>,
    /// The kind in a few words, the same for every occurrence.
    #[schema(value_type = String)]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The named reason, snake_case.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// The fields that break rules, when the input is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Members that belong to the code.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

/// A problem on its way to a client.
///
/// ```
/// use cartwright_service::problem::Problem;
///
/// let problem = Problem::conflict("price_changed", "The price changed")
///     .detail("SKU-1 costs 1,299 now; 1,199 was expected")
///     .with("price_minor", 1299)
///     .with("expected_price_minor", 1199);
/// assert_eq!(problem.status(), 409);
/// assert_eq!(problem.body().kind, "/problems/price-changed");
/// ```
#[derive(Debug, Clone)]
pub struct Problem {
    // Boxed to keep `Result<T, Problem>` small on the path that succeeds.
    body: Box<ProblemBody>,
    retry_after: Option<Duration>,
}

const MEMBERS: [&str; 7] = [
    "type", "title", "status", "detail", "instance", "code", "errors",
];

impl Problem {
    /// A problem of a named kind; its `type` is `/problems/` and the code in kebab-case.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        let code = code.into();
        let kind = format!("/problems/{}", code.replace('_', "-"));
        Self::of(status, kind.into(), code, title.into())
    }

    /// A problem that says no more than its status does: `type` is `about:blank` and the title is
    /// the status's own phrase.
    #[must_use]
    pub fn about_blank(status: StatusCode, code: impl Into<Cow<'static, str>>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self::of(status, "about:blank".into(), code.into(), title.into())
    }

    fn of(
        status: StatusCode,
        kind: Cow<'static, str>,
        code: Cow<'static, str>,
        title: Cow<'static, str>,
    ) -> Self {
        Self {
            body: Box::new(ProblemBody {
                kind,
                title,
                status: status.as_u16(),
                detail: None,
                instance: None,
                code,
                errors: Vec::new(),
                extensions: Map::new(),
            }),
            retry_after: None,
        }
    }

    /// 400: the request cannot be read.
    #[must_use]
    pub fn bad_request(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, "The request cannot be read").detail(detail)
    }

    /// 422, code `invalid_field`: one field breaks one rule. Add more with [`Problem::field`].
    #[must_use]
    pub fn invalid_field(
        field: impl Into<String>,
        rule: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let (field, detail) = (field.into(), detail.into());
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_field",
            "A field breaks a rule",
        )
        .detail(format!("{field}: {detail}"))
        .field(field, rule, detail)
    }

    /// 404: the thing named does not exist; the code says which kind, such as `order_not_found`.
    #[must_use]
    pub fn not_found(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, "Not found").detail(detail)
    }

    /// 409: the request contradicts what has happened; the code is the named reason.
    #[must_use]
    pub fn conflict(
        code: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, code, title)
    }

    /// 503, code `overloaded`: nothing was begun; the same request may be sent again after
    /// `retry_after` (rounded up to whole seconds, at least one).
    #[must_use]
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::unavailable(
            "overloaded",
            "Too much is going on at the moment; nothing was begun",
            retry_after,
        )
    }

    /// 503 with another reason than load, such as `shard_recovering`; nothing was begun.
    #[must_use]
    pub fn unavailable(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "Not available at the moment",
        )
        .detail(detail)
        .retry_after(retry_after)
    }

    /// 504: a bounded wait ended; the detail says what is known about the outcome.
    #[must_use]
    pub fn gateway_timeout(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            code,
            "The wait ended before the outcome was known",
        )
        .detail(detail)
    }

    /// 500, code `internal`: logs `error` with the request's span and tells the client nothing of
    /// it but the request id.
    #[must_use]
    pub fn internal(error: impl fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "An error on our side",
        )
        .detail("The request failed; the log has the reason under the request id")
    }

    /// Sets what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.body.detail = Some(detail.into());
        self
    }

    /// Adds a field that breaks a rule.
    #[must_use]
    pub fn field(
        mut self,
        field: impl Into<String>,
        rule: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        self.body.errors.push(FieldError {
            field: field.into(),
            rule: rule.into(),
            detail: detail.into(),
        });
        self
    }

    /// Adds a member of the problem's own. The RFC's members and `code` and `errors` cannot be
    /// replaced this way; such a name is ignored.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = name.into();
        if !MEMBERS.contains(&name.as_str()) {
            self.body.extensions.insert(name, value.into());
        }
        self
    }

    /// Sets the `Retry-After` header, rounded up to whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Replaces the kind's URI.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.body.kind = kind.into();
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The named reason.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.body.code
    }

    /// The members as they will be sent, except for `instance`.
    #[must_use]
    pub fn body(&self) -> &ProblemBody {
        &self.body
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.body.detail.as_deref().unwrap_or(&self.body.title);
        write!(f, "{} {}: {text}", self.body.status, self.body.code)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        if self.body.instance.is_none() {
            self.body.instance = request_id::current().map(|id| id.as_str().to_owned());
        }
        let status = self.status();
        // Strings, numbers and maps with string keys: this cannot fail, and an answer without a
        // body is better than a panic in an error path.
        let bytes = serde_json::to_vec(&*self.body).unwrap_or_default();
        let mut response = (status, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(after) = self.retry_after {
            let up = u64::from(after.subsec_nanos() > 0);
            headers.insert(
                RETRY_AFTER,
                HeaderValue::from((after.as_secs() + up).max(1)),
            );
        }
        response
    }
}
