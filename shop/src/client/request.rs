//! A request, built once and sent as often as it takes.

use std::fmt::Write;

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;

/// A request to one of the services.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query, starting with `/`.
    pub path: String,
    /// Idempotency key, as text.
    pub key: Option<String>,
    /// JSON.
    pub body: Option<Bytes>,
    /// How many seconds the service may wait for an outcome (`Prefer: wait=N`).
    pub wait_seconds: Option<u32>,
    /// Position that the service has to have reached.
    pub position: Option<String>,
}

impl Request {
    fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            key: None,
            body: None,
            wait_seconds: None,
            position: None,
        }
    }

    /// A read.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into())
    }

    /// A command; `key` is what makes repeats of it harmless.
    #[must_use]
    pub fn post(path: impl Into<String>, key: impl Into<String>, body: &Value) -> Self {
        Self::command(Method::POST, path.into(), key.into(), body)
    }

    /// A command that replaces something.
    #[must_use]
    pub fn put(path: impl Into<String>, key: impl Into<String>, body: &Value) -> Self {
        Self::command(Method::PUT, path.into(), key.into(), body)
    }

    fn command(method: Method, path: String, key: String, body: &Value) -> Self {
        let mut request = Self::new(method, path);
        request.key = Some(key);
        request.body = Some(body.to_string().into());
        request
    }

    /// Lets the service wait for the outcome.
    #[must_use]
    pub fn wait(mut self, seconds: u32) -> Self {
        self.wait_seconds = Some(seconds);
        self
    }

    /// Asks the service to have reached this position first.
    #[must_use]
    pub fn at(mut self, position: impl Into<String>) -> Self {
        self.position = Some(position.into());
        self
    }
}

/// `text` as one segment of a path, or as part of an idempotency key: everything but letters,
/// digits and `-_.~` percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_with_anything_in_it_is_one_segment() {
        assert_eq!(segment("85123A"), "85123A");
        assert_eq!(segment("BANK CHARGES/£"), "BANK%20CHARGES%2F%C2%A3");
        assert_eq!(segment(".."), "..");
    }
}
