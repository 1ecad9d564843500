//! Cursors: where the next page of a list begins.
//!
//! A cursor is opaque to clients. Inside it says of which list it is, with which parameters, and
//! over which version of which projection, so that it is never applied to another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cartwright_read_model::Projection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::digest;
use crate::errors::Error;

/// The longest cursor that is looked at, in characters.
pub const MAX_CURSOR_LEN: usize = 2_048;

/// A list, with everything that decides what is in it and in which order.
#[derive(Debug, Clone)]
pub struct List {
    name: &'static str,
    projection: String,
    parameters: String,
}

#[derive(Serialize, Deserialize)]
struct Content<K> {
    #[serde(rename = "l")]
    list: String,
    #[serde(rename = "p")]
    projection: String,
    #[serde(rename = "q")]
    parameters: String,
    #[serde(rename = "k")]
    after: K,
}

impl List {
    /// The list `name` over `projection`, with what the client chose (`parameters`; the page's size
    /// is not one, it may change from page to page).
    #[must_use]
    pub fn new(name: &'static str, projection: &Projection, parameters: &[&str]) -> Self {
        Self {
            name,
            projection: format!("{}@{}", projection.name, projection.version),
            parameters: format!("{:x}", digest(parameters.join("\n").as_bytes())),
        }
    }

    /// The cursor of the page after the row with the key `after`.
    pub fn cursor(&self, after: impl Serialize) -> Option<String> {
        let content = Content {
            list: self.name.to_owned(),
            projection: self.projection.clone(),
            parameters: self.parameters.clone(),
            after,
        };
        // Keys are strings and numbers, which JSON always takes.
        let json = serde_json::to_vec(&content).ok()?;
        Some(URL_SAFE_NO_PAD.encode(json))
    }

    /// The key that a client's cursor goes on after; `None` without one.
    ///
    /// # Errors
    /// [`Error::CursorInvalid`] when it is none or of another list or other parameters,
    /// [`Error::CursorOutdated`] when it is of another version of the projection.
    pub fn after<K: DeserializeOwned>(&self, cursor: Option<&str>) -> Result<Option<K>, Error> {
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        let content: Content<serde_json::Value> = Some(cursor)
            .filter(|cursor| cursor.len() <= MAX_CURSOR_LEN)
            .and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok())
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(Error::CursorInvalid("is not one that an answer gave"))?;
        if content.list != self.name {
            return Err(Error::CursorInvalid("is of another list"));
        }
        if content.projection != self.projection {
            return Err(Error::CursorOutdated);
        }
        if content.parameters != self.parameters {
            let reason = "is of the same list with other parameters";
            return Err(Error::CursorInvalid(reason));
        }
        match serde_json::from_value(content.after) {
            Ok(after) => Ok(Some(after)),
            Err(_) => Err(Error::CursorInvalid("is not one that an answer gave")),
        }
    }
}

/// Cuts what was read with a limit of one more than `limit` to a page, and makes the next page's
/// cursor from the last row, if there is one.
pub fn page<T, K: Serialize>(
    list: &List,
    mut rows: Vec<T>,
    limit: u32,
    key: impl FnOnce(&T) -> K,
) -> (Vec<T>, Option<String>) {
    let limit = limit as usize;
    if rows.len() <= limit {
        return (rows, None);
    }
    rows.truncate(limit);
    let next = rows.last().and_then(|last| list.cursor(key(last)));
    (rows, next)
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections;

    use super::*;

    fn list(parameters: &[&str]) -> List {
        List::new("products", &projections::CATALOG, parameters)
    }

    fn reason(result: Result<Option<String>, Error>) -> &'static str {
        match result {
            Err(Error::CursorInvalid(reason)) => reason,
            Err(Error::CursorOutdated) => "outdated",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cursor_leads_back_to_its_key() {
        let cursor = list(&["a"]).cursor("cup / 7").unwrap();
        assert!(
            cursor
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        let after: Option<String> = list(&["a"]).after(Some(&cursor)).unwrap();
        assert_eq!(after.as_deref(), Some("cup / 7"));
        assert_eq!(list(&["a"]).after::<String>(None).unwrap(), None);
    }

    #[test]
    fn a_cursor_of_another_list_version_or_parameters_is_refused() {
        let cursor = list(&["a"]).cursor("cup").unwrap();
        let other = List::new("search", &projections::CATALOG, &["a"]);
        assert_eq!(reason(other.after(Some(&cursor))), "is of another list");
        let mut newer = list(&["a"]);
        newer.projection = "catalog@2".to_owned();
        assert_eq!(reason(newer.after(Some(&cursor))), "outdated");
        assert!(reason(list(&["b"]).after(Some(&cursor))).contains("other parameters"));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let long = "a".repeat(MAX_CURSOR_LEN + 1);
        let wrong_key = list(&[]).cursor(7).unwrap();
        for text in ["", "?", "e30", "bm8", &long, &wrong_key] {
            let reason = reason(list(&[]).after(Some(text)));
            assert_eq!(reason, "is not one that an answer gave", "{text}");
        }
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let (rows, next) = page(&list(&[]), vec!["a", "b"], 2, |last| *last);
        assert_eq!((rows.len(), next), (2, None));
        let (rows, next) = page(&list(&[]), vec!["a", "b", "c"], 2, |last| *last);
        assert_eq!(rows, ["a", "b"]);
        let after: Option<String> = list(&[]).after(next.as_deref()).unwrap();
        assert_eq!(after.as_deref(), Some("b"));
    }
}
