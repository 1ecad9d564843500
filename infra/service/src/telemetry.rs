//! Logs, the span of a request, and W3C trace context.

use std::convert::Infallible;
use std::fmt;
use std::io::IsTerminal;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::response::Response;
use http::HeaderName;
use http::request::Parts;
use tracing::{Span, Subscriber, field};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};
use crate::request_id::RequestId;

/// The W3C trace context header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is neither a level nor directives.
    #[error("configuration key `log.level`: `{level}`: {source}")]
    Level {
        /// The setting's value.
        level: String,
        /// What the parser said.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber is in place.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Sets up logging to standard output for the whole process; once, before anything is logged.
///
/// # Errors
///
/// A level that does not parse, or a second call.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let colours = std::io::stdout().is_terminal();
    tracing::subscriber::set_global_default(subscriber(log, colours, std::io::stdout)?)
        .map_err(|_| TelemetryError::AlreadySet)
}

fn subscriber<W>(
    log: &Log,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::builder()
            .parse(&log.level)
            .map_err(|source| TelemetryError::Level {
                level: log.level.clone(),
                source,
            })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(writer);
    Ok(match log.format {
        LogFormat::Human => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

/// Opens the span that every log line of a request is in.
pub(crate) fn request_span(request: &Request, id: &RequestId, traceparent: &Traceparent) -> Span {
    let route = request.extensions().get::<MatchedPath>();
    // At the level of errors, so that no setting of `log.level` takes the ids from them.
    tracing::error_span!(
        "request",
        request_id = %id,
        command_id = field::Empty,
        traceparent = %traceparent,
        method = %request.method(),
        route = route.map_or("unmatched", MatchedPath::as_str),
    )
}

/// Writes the request's line: what is our fault at `warn`, the rest at `debug`.
pub(crate) fn log_response(response: &Response) {
    let status = response.status();
    // 503 and 504 are answers under load, and a line each would add to it; the counters have them.
    if status.is_server_error() && !matches!(status.as_u16(), 503 | 504) {
        tracing::warn!(status = status.as_u16(), "answered");
    } else {
        tracing::debug!(status = status.as_u16(), "answered");
    }
}

/// Puts the command's id into the request's span. To be called in the handler itself, not in a
/// span below it.
pub fn record_command_id(command_id: impl fmt::Display) {
    Span::current().record("command_id", field::display(command_id));
}

/// A W3C trace context (version 00): which trace, and which span of it.
///
/// Its `Display` is the header's value, `00-<32 hex>-<16 hex>-<2 hex>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// The flag that the trace is recorded.
const SAMPLED: u8 = 1;

impl Traceparent {
    /// A new, sampled trace.
    #[must_use]
    pub fn generate() -> Self {
        // A UUIDv7's tail is random; its version bits make the id non-zero.
        Self {
            trace_id: uuid::Uuid::now_v7().as_u128(),
            span_id: new_span_id(),
            flags: SAMPLED,
        }
    }

    /// Another span of the same trace, to be handed to whoever is called.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span_id: new_span_id(),
            ..self
        }
    }

    /// Reads a header's value. A later version is read as version 00, as the recommendation asks;
    /// anything invalid, all-zero ids included, is `None` and a new trace should begin.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let whole = bytes.len() == 55 || (bytes.len() > 55 && bytes[55] == b'-');
        if !whole || !text.is_ascii() {
            return None;
        }
        let version = hex(&text[0..2])?;
        let dashes = [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
        if version == 0xff || (version == 0 && bytes.len() != 55) || !dashes {
            return None;
        }
        let trace_id = hex(&text[3..35])?;
        let span_id = u64::try_from(hex(&text[36..52])?).ok()?;
        let flags = u8::try_from(hex(&text[53..55])?).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// The trace's id as 32 hexadecimal digits, as log lines and tracing tools show it.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

fn hex(digits: &str) -> Option<u128> {
    // The recommendation allows lower case only, and from_str_radix would take a sign.
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let valid = digits.bytes().all(lower);
    valid.then(|| u128::from_str_radix(digits, 16).ok())?
}

fn new_span_id() -> u64 {
    // The low half of a UUIDv4 is random but for the two variant bits, which are never both zero.
    uuid::Uuid::new_v4().as_u64_pair().1
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// In a handler: the request's trace context. Without the middleware, a new trace.
impl<S: Sync> FromRequestParts<S> for Traceparent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().copied();
        Ok(known.unwrap_or_else(Self::generate))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::problem::Problem;
    use crate::request_id;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The JSON line that one failing request with a command leaves at `level`.
    async fn logged_at(level: &str) -> Value {
        let log = Log {
            format: LogFormat::Json,
            level: level.to_owned(),
        };
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(&log, false, move || writer.clone()).unwrap();
        let _guard = tracing::subscriber::set_default(subscriber);
        let handler = async || {
            record_command_id("c-1");
            Problem::internal("disk full")
        };
        let app: Router = Router::new()
            .route("/carts/{id}", get(handler))
            .layer(from_fn(request_id::middleware));
        let request = Request::get("/carts/7").header("x-request-id", "r-1");
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.unwrap().status(), 500);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_log_line_carries_the_ids_of_its_request_at_every_level() {
        for level in ["error", "info"] {
            let line = logged_at(level).await;
            let expected = ("request failed", "disk full");
            assert_eq!(
                (&line["message"], &line["error"]),
                (&expected.0.into(), &expected.1.into())
            );
            let span = &line["span"];
            assert_eq!(
                (&span["request_id"], &span["command_id"]),
                (&"r-1".into(), &"c-1".into())
            );
            assert_eq!(span["route"], "/carts/{id}");
            assert!(Traceparent::parse(span["traceparent"].as_str().unwrap()).is_some());
        }
    }

    #[test]
    fn a_level_that_does_not_parse_names_its_key() {
        let log = Log {
            level: "cartwright=loud".to_owned(),
            ..Log::default()
        };
        let error = subscriber(&log, false, std::io::sink).err().unwrap();
        assert!(error.to_string().contains("`log.level`: `cartwright=loud`"));
    }
}
