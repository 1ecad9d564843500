//! What a request says beside its body: who asks, under which key, after what, and how patiently.

use std::time::Duration;

use axum::extract::FromRequestParts;
use cartwright_events::PositionToken;
use cartwright_events::position::MAX_TOKEN_ENTRIES;
use cartwright_service::request_id::RequestId;
use cartwright_service::telemetry::Traceparent;
use cartwright_shard::IdempotencyKey;
use http::header::IF_MATCH;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::errors::Error;
use crate::forward;

/// A client's key for one intent, by draft-ietf-httpapi-idempotency-key-header-07.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// A position token: in a request, what the answer must know of; in an answer, where its events
/// stand.
pub const POSITION: HeaderName = HeaderName::from_static("cartwright-position");
/// Preferences, by RFC 7240; `wait` is taken.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Which preferences were honoured.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest idempotency key, in characters.
pub const MAX_KEY_LEN: usize = 255;

/// The head of a command's request.
#[derive(Debug, Clone)]
pub struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Id of the command: made here, or by the node that forwarded the request.
    pub command_id: String,
    /// How often it has been forwarded.
    pub hops: u8,
    /// How long the command may still wait for its turn, as the node that forwarded it says.
    pub deadline: Option<Duration>,
    /// Headers that it keeps when it is forwarded.
    pub(crate) passed: Vec<(HeaderName, HeaderValue)>,
    /// Id of the request, which follows the command into logs and events.
    pub request_id: RequestId,
    /// Its trace context.
    pub traceparent: Traceparent,
    /// The client's key; every POST has one.
    pub key: Option<String>,
    /// The version at which the client saw the aggregate (`If-Match`).
    pub expected_version: Option<u64>,
    /// What the prices must have taken in before they are used.
    pub position: Option<PositionToken>,
    /// Whether the client prefers not to wait for the decision (`Prefer: respond-async`).
    pub respond_async: bool,
    /// How long the client prefers to wait for an outcome.
    pub wait: Option<Duration>,
}

impl Call {
    /// The key with the digest of method, path, body and expected version. The body is taken as it was understood, so
    /// white space and the order of fields make no difference.
    pub(crate) fn idempotency(
        &self,
        body: &impl Serialize,
    ) -> Result<Option<IdempotencyKey>, Error> {
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let mut digest = Sha256::new();
        digest.update(self.method.as_str());
        digest.update([0]);
        digest.update(&self.path);
        digest.update([0]);
        serde_json::to_writer(&mut digest, body).map_err(Error::Unwritable)?;
        if let Some(version) = self.expected_version {
            digest.update([0]);
            digest.update(version.to_be_bytes());
        }
        let fingerprint = digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Some(IdempotencyKey {
            key: key.clone(),
            fingerprint,
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Ok(request_id) = RequestId::from_request_parts(parts, state).await;
        let Ok(traceparent) = Traceparent::from_request_parts(parts, state).await;
        let key = idempotency_key(&parts.headers)?;
        if key.is_none() && parts.method == Method::POST {
            return Err(Error::KeyMissing);
        }
        let (command_id, hops, deadline) = forwarded(&parts.headers);
        Ok(Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            command_id,
            hops,
            deadline,
            passed: forward::passed(&parts.headers),
            request_id,
            traceparent,
            key,
            expected_version: expected_version(&parts.headers)?,
            position: position(&parts.headers)?,
            respond_async: prefers_respond_async(&parts.headers),
            wait: preferred_wait(&parts.headers),
        })
    }
}

/// What a node that forwarded the request says of it. Without a hop it is from outside, and nothing
/// of this is taken.
fn forwarded(headers: &HeaderMap) -> (String, u8, Option<Duration>) {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let hops = text(&forward::HOPS).and_then(|hops| hops.parse().ok());
    let hops: u8 = hops.unwrap_or(0);
    let command_id = text(&forward::COMMAND_ID)
        .and_then(|id| Uuid::parse_str(id).ok())
        .filter(|_| hops > 0)
        .unwrap_or_else(Uuid::now_v7);
    let deadline = text(&forward::DEADLINE_MS)
        .and_then(|ms| ms.parse().ok())
        .filter(|_| hops > 0)
        .map(Duration::from_millis);
    (command_id.to_string(), hops, deadline)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(parse_key);
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(Error::KeyMalformed),
    }
}

/// A structured-field string (RFC 8941) without parameters or, as many clients send it, the bare
/// key.
fn parse_key(value: &str) -> Option<String> {
    let value = value.trim_matches([' ', '\t']);
    let key = match value.strip_prefix('"') {
        Some(rest) => unescape(rest.strip_suffix('"')?)?,
        None if value.contains('"') => return None,
        None => value.to_owned(),
    };
    let fits = (1..=MAX_KEY_LEN).contains(&key.len());
    (fits && key.bytes().all(|byte| byte.is_ascii_graphic())).then_some(key)
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => out.push(chars.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

fn position(headers: &HeaderMap) -> Result<Option<PositionToken>, Error> {
    let mut merged: Option<PositionToken> = None;
    for value in headers.get_all(POSITION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse::<PositionToken>().ok());
        let token = token.ok_or(Error::PositionMalformed)?;
        match &mut merged {
            Some(known) if known.generation != token.generation => {
                return Err(Error::PositionMalformed);
            }
            Some(known) => known.merge(&token),
            None => merged = Some(token),
        }
    }
    match merged {
        // As long as one alone may be: a queued command takes it along.
        Some(token) if token.seqs.len() > MAX_TOKEN_ENTRIES => Err(Error::PositionMalformed),
        merged => Ok(merged),
    }
}

/// The version in `If-Match`: one entity tag as an answer gave it, such as `"3"`. `*` and a list of
/// tags say nothing that a command could be held to, and are refused rather than ignored.
fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let tag = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"'));
    let digits = tag.filter(|tag| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_digit()));
    match (digits.and_then(|tag| tag.parse().ok()), values.next()) {
        (Some(version), None) => Ok(Some(version)),
        _ => Err(Error::IfMatchMalformed),
    }
}

fn prefers_respond_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| {
            let name = preference.split([';', '=']).next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("respond-async")
        })
}

/// The first `wait` among the preferences, in seconds. A preference that cannot be read is ignored,
/// as RFC 7240 asks.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| value.trim().trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_string_or_a_bare_token_of_visible_ascii() {
        let longest = "k".repeat(MAX_KEY_LEN);
        for (value, key) in [
            (r#""order-7""#, Some("order-7")),
            (r#" "a\"b\\c" "#, Some(r#"a"b\c"#)),
            ("order-7", Some("order-7")),
            (longest.as_str(), Some(longest.as_str())),
            (r#""""#, None),
            ("", None),
            ("two words", None),
            (r#""two words""#, None),
            (r#""open"#, None),
            (r#""a"b""#, None),
            (r#""a\n""#, None),
            (r#""a";p=1"#, None),
            (&format!("{longest}k"), None),
        ] {
            assert_eq!(parse_key(value).as_deref(), key, "{value}");
        }
    }

    #[test]
    fn wait_is_read_among_other_preferences_and_ignored_when_unreadable() {
        for (values, seconds) in [
            (vec!["wait=5"], Some(5)),
            (vec!["return=minimal, Wait=\"7\"; foo=bar"], Some(7)),
            (vec!["respond-async", "wait = 3"], Some(3)),
            (vec!["wait=soon"], None),
            (vec!["wait"], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(PREFER, HeaderValue::from_static(value));
            }
            assert_eq!(
                preferred_wait(&headers),
                seconds.map(Duration::from_secs),
                "{values:?}"
            );
        }
    }

    #[test]
    fn several_positions_are_one_and_must_be_of_one_log() {
        let read = |values: [&'static str; 2]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(POSITION, HeaderValue::from_static(value));
            }
            position(&headers)
        };
        let merged = read(["g1:p0=3", "g1:p0=2,p1=9"]).unwrap().unwrap();
        assert_eq!(merged.to_string(), "g1:p0=3,p1=9");
        assert!(matches!(
            read(["g1:p0=3", "g2:p0=4"]),
            Err(Error::PositionMalformed)
        ));
    }
}
