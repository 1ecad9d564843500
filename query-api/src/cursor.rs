//! Cursors: where the next page of a list begins.
//!
//! A cursor is opaque to clients. Inside it says of which list it is, with which parameters, and
//! over which version of which projection, so that it is never applied to another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cartwright_read_model::{Projection, fnv64};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::errors::Error;

/// The longest cursor that is looked at, in characters.
pub const MAX_CURSOR_LEN: usize = 2_048;

/// A list, and where in it a client's cursor goes on.
#[derive(Debug, Clone)]
pub struct List {
    name: &'static str,
    projection: &'static Projection,
    /// The version whose rows are listed: the cursor's, until the request has chosen one.
    version: Option<u32>,
    parameters: String,
    after: Option<Content<serde_json::Value>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// The list `name` over `projection`, as a client's `cursor` asks to go on with it.
    ///
    /// # Errors
    /// [`Error::CursorInvalid`] when the cursor is none, or of another list.
    pub fn new(
        name: &'static str,
        projection: &'static Projection,
        cursor: Option<&str>,
    ) -> Result<Self, Error> {
        let mut list = Self {
            name,
            projection,
            version: None,
            parameters: String::new(),
            after: None,
        };
        let Some(cursor) = cursor else {
            return Ok(list);
        };
        let content: Content<serde_json::Value> = Some(cursor)
            .filter(|cursor| cursor.len() <= MAX_CURSOR_LEN)
            .and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok())
            .and_then(|json| serde_json::from_slice(&json).ok())
            .filter(|content: &Content<_>| !holds_nul(&content.after))
            .ok_or(NO_CURSOR)?;
        let (projection, version) = content.projection.split_once('@').ok_or(NO_CURSOR)?;
        if content.list != name || projection != list.projection.name {
            return Err(Error::CursorInvalid("is of another list"));
        }
        list.version = Some(version.parse().map_err(|_| NO_CURSOR)?);
        list.after = Some(content);
        Ok(list)
    }

    /// What it lists.
    #[must_use]
    pub const fn projection(&self) -> &'static Projection {
        self.projection
    }

    /// The version that the cursor was given by, or that was chosen.
    #[must_use]
    pub const fn version(&self) -> Option<u32> {
        self.version
    }

    /// Chooses the version that this request lists.
    pub(crate) const fn choose(&mut self, version: u32) {
        self.version = Some(version);
    }

    /// The key that the client's cursor goes on after; `None` without one. `parameters` is what the
    /// client chose (the page's size is not one of them, it may change from page to page); the next
    /// page's cursor remembers them.
    ///
    /// # Errors
    /// [`Error::CursorInvalid`] when the cursor is of other parameters.
    pub fn after<K: DeserializeOwned>(&mut self, parameters: &[&str]) -> Result<Option<K>, Error> {
        self.parameters = format!("{:x}", fnv64(parameters.join("\n").as_bytes()));
        let Some(content) = self.after.take() else {
            return Ok(None);
        };
        if content.parameters != self.parameters {
            let reason = "is of the same list with other parameters";
            return Err(Error::CursorInvalid(reason));
        }
        match serde_json::from_value(content.after) {
            Ok(after) => Ok(Some(after)),
            Err(_) => Err(NO_CURSOR),
        }
    }

    /// The cursor of the page after the row with the key `after`.
    pub fn cursor(&self, after: impl Serialize) -> Option<String> {
        let version = self.version?;
        let content = Content {
            list: self.name.to_owned(),
            projection: format!("{}@{version}", self.projection.name),
            parameters: self.parameters.clone(),
            after,
        };
        // Keys are strings and numbers, which JSON always takes.
        let json = serde_json::to_vec(&content).ok()?;
        Some(URL_SAFE_NO_PAD.encode(json))
    }
}

/// Whether there is a character in it that PostgreSQL takes in no text.
fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(parts) => parts.iter().any(holds_nul),
        serde_json::Value::Object(parts) => parts.values().any(holds_nul),
        _ => false,
    }
}

const NO_CURSOR: Error = Error::CursorInvalid("is not one that an answer gave");

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

    fn list(cursor: Option<&str>) -> Result<List, Error> {
        let mut list = List::new("products", &projections::CATALOG, cursor)?;
        list.choose(list.version().unwrap_or(1));
        Ok(list)
    }

    fn first(parameters: &[&str]) -> List {
        let mut list = list(None).unwrap();
        assert_eq!(list.after::<String>(parameters).unwrap(), None);
        list
    }

    fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
        match result {
            Err(Error::CursorInvalid(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cursor_leads_back_to_its_key_and_its_version() {
        let cursor = first(&["a"]).cursor("cup / 7").unwrap();
        assert!(
            cursor
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        let mut next = List::new("products", &projections::CATALOG, Some(&cursor)).unwrap();
        assert_eq!(next.version(), Some(1));
        let after: Option<String> = next.after(&["a"]).unwrap();
        assert_eq!(after.as_deref(), Some("cup / 7"));
    }

    #[test]
    fn a_cursor_of_another_list_or_parameters_is_refused() {
        let cursor = first(&["a"]).cursor("cup").unwrap();
        let other = List::new("search", &projections::CATALOG, Some(&cursor));
        assert_eq!(reason(other), "is of another list");
        let other = list(Some(&cursor)).unwrap().after::<String>(&["b"]);
        assert!(reason(other).contains("other parameters"));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let long = "a".repeat(MAX_CURSOR_LEN + 1);
        for text in ["", "?", "e30", "bm8", &long] {
            assert_eq!(
                reason(list(Some(text))),
                "is not one that an answer gave",
                "{text}"
            );
        }
        let unstorable = first(&[]).cursor(("cup\0", 7)).unwrap();
        assert!(list(Some(&unstorable)).is_err());
        let wrong_key = first(&[]).cursor(7).unwrap();
        let key = list(Some(&wrong_key)).unwrap().after::<String>(&[]);
        assert_eq!(reason(key), "is not one that an answer gave");
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let list = first(&[]);
        let (rows, next) = page(&list, vec!["a", "b"], 2, |last| *last);
        assert_eq!((rows.len(), next), (2, None));
        let (rows, next) = page(&list, vec!["a", "b", "c"], 2, |last| *last);
        assert_eq!(rows, ["a", "b"]);
        let mut next = self::list(next.as_deref()).unwrap();
        assert_eq!(next.after::<String>(&[]).unwrap().as_deref(), Some("b"));
    }
}
