//! What a request says beside its path and query: what its answer must know of, how patiently, and
//! what the client has already.

use std::time::Duration;

use axum::extract::FromRequestParts;
use cartwright_events::PositionToken;
use http::header::IF_NONE_MATCH;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use crate::errors::Error;

/// A position token that the answer must know of.
pub const POSITION: HeaderName = HeaderName::from_static("cartwright-position");
/// In an answer: the parts of the token that no view behind it consumes.
pub const UNCOVERED: HeaderName = HeaderName::from_static("cartwright-uncovered");
/// In an answer: the time up to which its views are fresh.
pub const AS_OF: HeaderName = HeaderName::from_static("cartwright-as-of");
/// In an answer: the projections behind it, each as `name@version`.
pub const PROJECTION: HeaderName = HeaderName::from_static("cartwright-projection");
/// In an answer: how many records wait, put aside, under the key that it is about; of an answer
/// about many keys, how many keys have such records, with `;more` where there may be more of them.
/// Absent where there are none.
pub const PARKED: HeaderName = HeaderName::from_static("cartwright-parked");
/// Preferences, by RFC 7240; `wait` is taken.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Which preferences were honoured.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The query parameter that names a point in time.
const AS_OF_PARAMETER: &str = "as_of";

/// The head of a read's request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// When it came: waits are counted from there.
    pub arrived: Instant,
    /// What the answer must know of.
    pub position: Option<PositionToken>,
    /// How long the client prefers to wait for that.
    pub wait: Option<Duration>,
    /// Entity tags of what the client has; `*` among them stands for any.
    pub known_tags: Vec<String>,
    /// The name of the point in time that is asked for; `None`: the present.
    pub as_of: Option<String>,
}

/// A request that asks for nothing special, arriving now.
impl Default for Ask {
    fn default() -> Self {
        Self {
            arrived: Instant::now(),
            position: None,
            wait: None,
            known_tags: Vec::new(),
            as_of: None,
        }
    }
}

impl Ask {
    /// Whether the client has what `tag` (in quotes) stands for.
    #[must_use]
    pub fn knows(&self, tag: &str) -> bool {
        self.known_tags
            .iter()
            .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(Self {
            arrived: Instant::now(),
            position: position(&parts.headers)?,
            wait: preferred_wait(&parts.headers),
            known_tags: known_tags(&parts.headers),
            as_of: as_of(parts.uri.query().unwrap_or_default()),
        })
    }
}

/// The query parameter `as_of`, which every read takes.
fn as_of(query: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(name, _)| name == AS_OF_PARAMETER);
    found.map(|(_, value)| value.into_owned())
}

/// Several headers are one: the larger seq of each part.
fn position(headers: &HeaderMap) -> Result<Option<PositionToken>, Error> {
    let mut merged: Option<PositionToken> = None;
    for value in headers.get_all(POSITION) {
        let text = value.to_str().map_err(|_| Error::PositionMalformed)?;
        let token: PositionToken = text.trim().parse().map_err(|_| Error::PositionMalformed)?;
        match &mut merged {
            Some(known) if known.generation != token.generation => {
                return Err(Error::PositionMalformed);
            }
            Some(known) => known.merge(&token),
            None => merged = Some(token),
        }
    }
    Ok(merged)
}

/// The first `wait` among the preferences, in seconds. A preference that cannot be read is ignored,
/// as RFC 7240 asks.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    list(headers, &PREFER)
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| value.trim().trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

fn known_tags(headers: &HeaderMap) -> Vec<String> {
    list(headers, &IF_NONE_MATCH)
        .map(|tag| tag.trim().to_owned())
        .collect()
}

/// The members of a header's list. None of the headers here has a comma inside a member.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn several_positions_are_one_and_must_be_of_one_log() {
        let read = |values: &[&'static str]| position(&headers(POSITION, values));
        let merged = read(&["g1:c0=3", "g1:c0=2,o1=9"]).unwrap().unwrap();
        assert_eq!(merged.to_string(), "g1:c0=3,o1=9");
        assert!(read(&[]).unwrap().is_none());
        for wrong in [["g1:c0=3", "g2:c0=4"], ["g1:c0=3", "c0=4"]] {
            assert!(matches!(read(&wrong), Err(Error::PositionMalformed)));
        }
    }

    #[test]
    fn wait_is_read_among_other_preferences_and_ignored_when_unreadable() {
        for (values, seconds) in [
            (vec!["wait=0"], Some(0)),
            (vec!["return=minimal, Wait=\"7\"; foo=bar"], Some(7)),
            (vec!["respond-async", "wait = 3"], Some(3)),
            (vec!["wait=soon"], None),
            (vec![], None),
        ] {
            let wait = preferred_wait(&headers(PREFER, &values));
            assert_eq!(wait, seconds.map(Duration::from_secs), "{values:?}");
        }
    }

    #[test]
    fn a_tag_is_known_weak_or_strong_or_by_a_star() {
        let ask = |values: &[&'static str]| Ask {
            known_tags: known_tags(&headers(IF_NONE_MATCH, values)),
            ..Ask::default()
        };
        let tag = "\"carts@1.7\"";
        assert!(ask(&["\"other\", \"carts@1.7\""]).knows(tag));
        assert!(ask(&["\"other\"", "W/\"carts@1.7\""]).knows(tag));
        assert!(ask(&["*"]).knows(tag));
        assert!(!ask(&["\"carts@2.7\""]).knows(tag));
        assert!(!ask(&[]).knows(tag));
    }
}
