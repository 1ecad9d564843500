//! Handing a request on to the node that owns its shard.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cartwright_service::request_id;
use cartwright_service::telemetry::TRACEPARENT;
use http::header::{CONNECTION, CONTENT_TYPE, IF_MATCH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::call::{Call, IDEMPOTENCY_KEY, POSITION, PREFER};

/// How often a request has been forwarded. For nodes among themselves: a gateway takes it off what
/// comes from outside.
pub const HOPS: HeaderName = HeaderName::from_static("cartwright-hops");
/// The command's id, given by the node that took the request first.
pub const COMMAND_ID: HeaderName = HeaderName::from_static("cartwright-command-id");
/// Milliseconds that are left until the command must not be decided any more. A span rather than a
/// time: clocks differ.
pub const DEADLINE_MS: HeaderName = HeaderName::from_static("cartwright-deadline-ms");

/// A node that does not take a connection within this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than the time after which a node closes an idle connection, so that none is used that is
/// being closed.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// Connections kept open to each node.
const POOL_PER_NODE: usize = 256;

/// What a forwarded request takes along unchanged.
const PASSED: [HeaderName; 4] = [IDEMPOTENCY_KEY, POSITION, PREFER, IF_MATCH];

/// Keeps connections to the other nodes. A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A request that cannot be written, or got no response. What became of it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("the request cannot be forwarded: {0}")]
    Unwritable(#[from] http::Error),
    #[error("{address} gave no answer: {source}")]
    NoAnswer {
        address: String,
        source: hyper_util::client::legacy::Error,
    },
}

impl Forwarder {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_PER_NODE)
            .build(connector);
        Self { client }
    }

    /// Sends the request on to `address` and returns whatever it answers.
    pub(crate) async fn send(
        &self,
        address: &str,
        call: &Call,
        body: Bytes,
        left: Duration,
    ) -> Result<Response, ForwardError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{address}{}", call.path))
            .header(HOPS, u64::from(call.hops) + 1)
            .header(COMMAND_ID, &call.command_id)
            .header(DEADLINE_MS, left.as_millis().to_string())
            .header(request_id::HEADER, call.request_id.as_str())
            .header(TRACEPARENT, call.traceparent.to_string())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &call.passed {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body))?;
        let response = self.client.request(request).await.map_err(|source| {
            let address = address.to_owned();
            ForwardError::NoAnswer { address, source }
        })?;
        let (mut parts, body) = response.into_parts();
        // Of the connection between the nodes, not of the answer.
        parts.headers.remove(CONNECTION);
        parts.headers.remove(TRANSFER_ENCODING);
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

/// The headers of a request that it keeps when it is forwarded.
pub(crate) fn passed(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let values = |name: &HeaderName| {
        let all = headers.get_all(name).iter().cloned();
        all.map(|value| (name.clone(), value)).collect::<Vec<_>>()
    };
    PASSED.iter().flat_map(values).collect()
}
