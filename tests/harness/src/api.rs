//! The HTTP contract as a client sees it.

use std::future::Future;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::PATIENCE;

/// Before a request is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null when it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
    /// The position token, if one was given.
    pub position: Option<String>,
}

impl Answer {
    /// The answer itself, if its status is this one.
    ///
    /// # Errors
    /// Shows what came instead.
    pub fn expect(self, status: u16) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.status.as_u16() == status,
            "{status} expected, got {}: {}",
            self.status,
            self.text
        );
        Ok(self)
    }

    /// The answer itself, if the command was accepted, whichever success it is.
    ///
    /// # Errors
    /// Shows what came instead.
    pub fn accepted(self) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.status.is_success(),
            "not accepted: {}: {}",
            self.status,
            self.text
        );
        Ok(self)
    }

    /// The problem's code, or nothing.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// A client of command-api and query-api.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    command: String,
    query: String,
}

impl Api {
    /// A client of the services at these addresses.
    #[must_use]
    pub fn new(command: String, query: String) -> Self {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(40))
            .build()
            .unwrap_or_default();
        Self {
            client,
            command,
            query,
        }
    }

    /// A command with a fresh idempotency key, repeated under it while its shard recovers, as the
    /// contract tells clients to.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        let key = fresh_key();
        let headers = [("Idempotency-Key", key.as_str())];
        let send = || self.post_with(path, body.clone(), &headers);
        repeated(&[StatusCode::SERVICE_UNAVAILABLE], send).await
    }

    /// A command with these headers, a key of its own among them: repeated under it while its shard
    /// recovers or a wait ends, which is always safe.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post_under(
        &self,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let send = || self.post_with(path, body.clone(), headers);
        let passing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        repeated(&passing, send).await
    }

    /// A command with these headers and no others.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post_with(
        &self,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        self.send(Method::POST, &self.command, path, Some(body), headers)
            .await
    }

    /// A PUT to command-api, repeated as [`post`](Self::post).
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn put(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        let key = fresh_key();
        let headers = [("Idempotency-Key", key.as_str())];
        let put = || {
            self.send(
                Method::PUT,
                &self.command,
                path,
                Some(body.clone()),
                &headers,
            )
        };
        repeated(&[StatusCode::SERVICE_UNAVAILABLE], put).await
    }

    /// A read, waiting for `position` if one is given: repeated while the view has not reached it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str, position: Option<&str>) -> anyhow::Result<Answer> {
        let headers: Vec<_> = position
            .iter()
            .map(|token| ("Cartwright-Position", *token))
            .collect();
        let send = || self.send(Method::GET, &self.query, path, None, &headers);
        repeated(&[StatusCode::GATEWAY_TIMEOUT], send).await
    }

    /// A read of command-api's own resources (`/readyz?verbose`, `/metrics`).
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get_command(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, &self.command, path, None, &[]).await
    }

    async fn send(
        &self,
        method: Method,
        base: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let mut request = self.client.request(method, format!("{base}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let position = response
            .headers()
            .get("cartwright-position")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            body,
            text,
            position,
        })
    }
}

/// Sends until another status than those that pass comes, or too long.
async fn repeated<F, Fut>(passing: &[StatusCode], send: F) -> anyhow::Result<Answer>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<Answer>>,
{
    let begun = Instant::now();
    loop {
        let answer = send().await?;
        if !passing.contains(&answer.status) || begun.elapsed() >= PATIENCE {
            return Ok(answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A key that nobody has used.
fn fresh_key() -> String {
    format!("\"{}\"", uuid::Uuid::new_v4())
}
