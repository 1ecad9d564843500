//! Answers to accepted commands.

use axum::response::{IntoResponse, Response};
use cartwright_service::problem::Problem;
use cartwright_shard::Answer;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::call::{POSITION, PREFERENCE_APPLIED};

/// An accepted command on its way to the client: the aggregate's id and version, the position of
/// its events, and what the command's answer has beside them.
///
/// Everything in it was decided and stored, so that a repeat gets the same bytes.
#[derive(Debug)]
pub struct Accepted {
    status: StatusCode,
    answer: Answer,
    headers: Vec<(HeaderName, String)>,
}

impl Accepted {
    /// 200.
    #[must_use]
    pub fn ok(answer: Answer) -> Self {
        Self::with_status(StatusCode::OK, answer)
    }

    /// 201.
    #[must_use]
    pub fn created(answer: Answer) -> Self {
        Self::with_status(StatusCode::CREATED, answer)
    }

    /// 202: something is still to come of it.
    #[must_use]
    pub fn pending(answer: Answer) -> Self {
        Self::with_status(StatusCode::ACCEPTED, answer)
    }

    fn with_status(status: StatusCode, answer: Answer) -> Self {
        Self {
            status,
            answer,
            headers: Vec::new(),
        }
    }

    /// Says where it can be read: `collection` is a path of query-api, such as `/v1/orders`.
    #[must_use]
    pub fn at(mut self, collection: &str, id: &str) -> Self {
        self.headers
            .push((LOCATION, format!("{collection}/{}", escaped(id))));
        self
    }

    /// Says that the client's wish to wait was honoured, for up to so many seconds.
    #[must_use]
    pub fn waited(mut self, seconds: u64) -> Self {
        self.headers
            .push((PREFERENCE_APPLIED, format!("wait={seconds}")));
        self
    }
}

/// The body of an accepted command's answer.
pub(crate) fn body(answer: Answer) -> Map<String, Value> {
    let mut members = answer.data;
    members.insert("id".to_owned(), Value::String(answer.aggregate_id));
    members.insert("version".to_owned(), answer.version.into());
    members.insert(
        "position".to_owned(),
        Value::String(answer.position.to_string()),
    );
    members
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let position = self.answer.position.to_string();
        let version = self.answer.version;
        let members = body(self.answer);
        let body = match serde_json::to_vec(&members) {
            Ok(body) => body,
            Err(error) => return Problem::internal(error).into_response(),
        };
        let mut response =
            (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        let always = [(POSITION, position), (ETAG, format!("\"{version}\""))];
        for (name, value) in self.headers.into_iter().chain(always) {
            // Digits, tokens and escaped paths are all visible ASCII.
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// `text` as one segment of a path: everything but RFC 3986's unreserved characters escaped.
fn escaped(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            match unreserved(byte) {
                true => out.push(char::from(byte)),
                false => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        assert_eq!(escaped("cart:7~a.b-c_d"), "cart%3A7~a.b-c_d");
        assert_eq!(escaped("red mug/1 é"), "red%20mug%2F1%20%C3%A9");
    }
}
