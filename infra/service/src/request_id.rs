//! One id for a request, from the edge to the log lines it causes.
//!
//! The middleware takes the client's `X-Request-Id` when it is 1 to 128 visible ASCII characters,
//! and makes a UUIDv7 otherwise. The id is in the request's extensions (handlers take
//! [`RequestId`] as an argument), in the tracing span, in the response header and in every
//! problem's `instance`.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument;

use crate::telemetry::{self, Traceparent};

/// The header, in requests and responses.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a client, in characters.
pub const MAX_LEN: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request: 1 to [`MAX_LEN`] visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id, a UUIDv7.
    #[must_use]
    pub fn generate() -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        let text: &str = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        Self(text.into())
    }

    /// The id a client sent, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_LEN).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In a handler: the request's id. Without the middleware, a new one.
impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(Self::generate))
    }
}

/// The id of the request that the current task is answering. `None` outside of one, and in tasks
/// that a handler spawned.
#[must_use]
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(RequestId::clone).ok()
}

/// The middleware: settles the request's id and trace context, opens its span, and returns the id
/// in the response.
pub async fn middleware(mut request: Request, next: Next) -> Response {
    let id = text(request.headers(), &HEADER).and_then(RequestId::parse);
    let id = id.unwrap_or_else(RequestId::generate);
    let parent = text(request.headers(), &telemetry::TRACEPARENT).and_then(Traceparent::parse);
    // The caller's span is the parent; this request is a span of its own in the same trace.
    let traceparent = parent.map_or_else(Traceparent::generate, |parent| parent.child());

    let span = telemetry::request_span(&request, &id, &traceparent);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(traceparent);

    let answer = async {
        let response = next.run(request).await;
        telemetry::log_response(&response);
        response
    };
    let mut response = CURRENT.scope(id.clone(), answer).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
