//! Calls to a service, repeated until they are answered.

use std::sync::Arc;
use std::time::Duration;

use cartwright_events::PositionToken;
use rand::Rng;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::pulse::Pulse;
use super::request::Request;

const POSITION: &str = "cartwright-position";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for an answer, beside what the request itself allows the service to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// When to repeat a call and when to stop.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Pause before the first repeat; doubles with each, give or take half.
    pub first_pause: Duration,
    /// Longest pause, unless the service asks for more.
    pub longest_pause: Duration,
    /// Give up when no call of this client was answered for this long.
    pub give_up_after: Duration,
    /// How often an internal error (500) is tried again before it counts as a refusal: it may be
    /// the one request's own fault while all others are served.
    pub internal_error_repeats: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(3),
            give_up_after: Duration::from_secs(600),
            internal_error_repeats: 10,
        }
    }
}

/// An accepted call.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 200, 201 or 202.
    pub status: u16,
    /// The body; null when there is none.
    pub body: Value,
    /// What the call wrote or how far the view was.
    pub position: Option<PositionToken>,
}

impl Answer {
    /// A text member of the body; empty when there is none.
    #[must_use]
    pub fn text(&self, member: &str) -> &str {
        self.body.get(member).and_then(Value::as_str).unwrap_or("")
    }

    /// An integer member of the body.
    #[must_use]
    pub fn number(&self, member: &str) -> Option<i64> {
        self.body.get(member).and_then(Value::as_i64)
    }
}

/// A refusal (RFC 9457).
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The named reason.
    #[serde(default)]
    pub code: String,
    /// The kind, for people.
    #[serde(default)]
    pub title: String,
    /// What happened this time.
    #[serde(default)]
    pub detail: Option<String>,
    /// Members that belong to the reason.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let detail = self.detail.as_deref().unwrap_or(&self.title);
        write!(f, "{} {}: {detail}", self.status, self.code)
    }
}

/// A call did not lead to an accepted answer.
#[derive(Debug, Clone, Error)]
pub enum CallError {
    /// The service refused it; a repeat would be refused too.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No call was answered for too long.
    #[error("no answer for {seconds} s, last: {last}", seconds = silence.as_secs())]
    GaveUp {
        /// How long.
        silence: Duration,
        /// What the last try got.
        last: String,
    },
}

/// One service, over a pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    http: Client,
    base_url: String,
    policy: Arc<RetryPolicy>,
    pulse: Arc<Pulse>,
}

enum Tried {
    Answered(Result<Answer, CallError>),
    Again {
        reason: String,
        after: Option<Duration>,
        internal: Option<Box<Problem>>,
    },
}

impl Api {
    /// A client of the service at `base_url` (`http://host:port`).
    ///
    /// # Errors
    /// When the system gives no HTTP client.
    pub fn new(base_url: &str, policy: RetryPolicy) -> Result<Self, reqwest::Error> {
        // Proxy settings of the environment are for the outside world, not for the shop's own parts.
        let http = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self {
            http,
            base_url: base_url.trim_end_matches('/').to_owned(),
            policy: Arc::new(policy),
            pulse: Arc::new(Pulse::default()),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// How the calls are going.
    #[must_use]
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Sends `request` until it is answered: connection errors, 5xx, 429 and whatever carries
    /// Retry-After are tried again.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: &Request) -> Result<Answer, CallError> {
        let mut pause = self.policy.first_pause;
        let mut internal_errors = 0;
        loop {
            let (reason, after, internal) = match self.try_once(request).await {
                Tried::Answered(result) => {
                    self.pulse.answered();
                    return result;
                }
                Tried::Again {
                    reason,
                    after,
                    internal,
                } => (reason, after, internal),
            };
            let silence = self.pulse.failed(reason.clone());
            if silence >= self.policy.give_up_after {
                let last = reason;
                return Err(CallError::GaveUp { silence, last });
            }
            if let Some(problem) = internal {
                internal_errors += 1;
                if internal_errors > self.policy.internal_error_repeats {
                    return Err(CallError::Refused(problem));
                }
            }
            let spread = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(after.unwrap_or(pause).max(pause).mul_f64(spread)).await;
            pause = (pause * 2).min(self.policy.longest_pause);
        }
    }

    async fn try_once(&self, request: &Request) -> Tried {
        let again = |reason: String| Tried::Again {
            reason,
            after: None,
            internal: None,
        };
        let response = match self.build(request).send().await {
            Ok(response) => response,
            Err(error) => return again(chain(&error)),
        };
        let status = response.status();
        let headers = response.headers().clone();
        let body = match read_body(response).await {
            Ok(body) => body,
            Err(error) => return again(chain(&error)),
        };
        if status.is_success() {
            return Tried::Answered(Ok(Answer {
                status: status.as_u16(),
                position: position(&headers, &body),
                body,
            }));
        }
        let mut problem: Problem = serde_json::from_value(body).unwrap_or_default();
        problem.status = status.as_u16();
        let after = retry_after(&headers);
        let worth_it = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
            || after.is_some();
        if worth_it {
            Tried::Again {
                reason: problem.to_string(),
                after,
                internal: (status == StatusCode::INTERNAL_SERVER_ERROR).then(|| Box::new(problem)),
            }
        } else {
            Tried::Answered(Err(CallError::Refused(Box::new(problem))))
        }
    }

    fn build(&self, request: &Request) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.base_url, request.path);
        let waits = Duration::from_secs(request.wait_seconds.unwrap_or_default().into());
        let mut out = self
            .http
            .request(request.method.clone(), url)
            .timeout(ANSWER_TIMEOUT + waits);
        if let Some(key) = &request.key {
            out = out.header("idempotency-key", format!("\"{key}\""));
        }
        if let Some(seconds) = request.wait_seconds {
            out = out.header("prefer", format!("wait={seconds}"));
        }
        if let Some(position) = &request.position {
            out = out.header(POSITION, position);
        }
        if let Some(body) = &request.body {
            out = out
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        out
    }
}

async fn read_body(response: Response) -> Result<Value, reqwest::Error> {
    let bytes = response.bytes().await?;
    // A body that is no JSON comes from something between here and the service; the status says
    // what there is to know.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn position(headers: &HeaderMap, body: &Value) -> Option<PositionToken> {
    let header = headers.get(POSITION).and_then(|value| value.to_str().ok());
    let text = header.or_else(|| body.get("position")?.as_str());
    text.and_then(|text| text.parse().ok())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// An error with its causes: reqwest's own text leaves out the one that matters.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
