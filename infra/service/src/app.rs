//! Puts a service's routes together with what surrounds them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use metrics::counter;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::Http;
use crate::health::{self, Readiness};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::{metric_names, request_id};

/// What a client is told to wait when the limit on requests in flight is reached.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Adds to a service's routes: `/livez`, `/readyz` and `/metrics`; problems for an unknown route
/// (404), a wrong method (405) and a panic (500); the limits on requests in flight (503), time
/// (504) and body size (413); the request id, the span and the request metrics.
///
/// A request counts as in flight, and its time runs, until its response begins; a response that
/// streams is not cut off. At the time limit, and when the client goes away, the handler is
/// dropped: whatever must not be left half done belongs into a task of its own.
pub fn assemble(routes: Router, http: &Http, readiness: &Readiness, metrics: &Metrics) -> Router {
    let limits = Limits {
        in_flight: Arc::new(Semaphore::new(
            http.max_in_flight.min(Semaphore::MAX_PERMITS),
        )),
        timeout: http.request_timeout(),
    };
    // The last layer added is the outermost. The panic is caught inside the metrics and the
    // request id, so that its answer is counted and carries the id.
    routes
        .layer(from_fn_with_state(limits, limit))
        .merge(health::routes(readiness, metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(http.max_body_bytes))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(crate::metrics::middleware))
        .layer(from_fn(request_id::middleware))
}

#[derive(Clone)]
struct Limits {
    in_flight: Arc<Semaphore>,
    timeout: Duration,
}

async fn limit(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Ok(_permit) = limits.in_flight.try_acquire() else {
        counter!(metric_names::HTTP_OVERLOADED).increment(1);
        return Problem::overloaded(OVERLOAD_RETRY_AFTER).into_response();
    };
    match tokio::time::timeout(limits.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::gateway_timeout(
            "request_timeout",
            format!(
                "No answer within {} ms; whether the request took effect is not known",
                limits.timeout.as_millis()
            ),
        )
        .into_response(),
    }
}

async fn unknown_route(method: Method, uri: Uri) -> Problem {
    Problem::about_blank(StatusCode::NOT_FOUND, "route_not_found")
        .detail(format!("There is no {method} {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::about_blank(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        .detail(format!("{} does not take {method}", uri.path()))
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.as_deref().unwrap_or("no message");
    Problem::internal(format_args!("panic: {text}")).into_response()
}
