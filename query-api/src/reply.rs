//! Answers: rows as JSON, with what is known of their age.

use axum::response::{IntoResponse, Response};
use cartwright_read_model::{Projection, fnv64};
use cartwright_service::extract::Json;
use cartwright_service::problem::Problem;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::ask::{AS_OF, Ask, PARKED, PREFERENCE_APPLIED, PROJECTION, UNCOVERED};
use crate::freshness::{Fresh, Parked};
use crate::pointers::View;

impl Fresh {
    /// The version that the first of its views is read from.
    pub fn version(&self) -> u32 {
        self.views.first().map_or(0, |view| view.version)
    }

    /// What that version is declared as; `newest` where nothing is read.
    pub fn declared(&self, newest: &'static Projection) -> &'static Projection {
        self.views.first().map_or(newest, |view| view.projection)
    }

    /// 200 with `body`.
    pub fn ok(&self, body: impl Serialize) -> Response {
        self.stamped(Json(body).into_response())
    }

    /// 200 with `body`, or 304 when the client has it already.
    ///
    /// The entity tag holds the versions of the projections and the row's seq, and a digest of the
    /// body: an answer may be made of several rows, of which one can be newer than the others for a
    /// moment, and that must not be kept as what the row's seq stands for.
    pub fn entity(&self, ask: &Ask, row_seq: u64, body: impl Serialize) -> Response {
        let bytes = match serde_json::to_vec(&body) {
            Ok(bytes) => bytes,
            Err(error) => return Problem::internal(error).into_response(),
        };
        let tag = format!("\"{}.{row_seq}.{:016x}\"", self.labels("+"), fnv64(&bytes));
        let mut response = match ask.knows(&tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => ([(CONTENT_TYPE, "application/json")], bytes).into_response(),
        };
        insert(response.headers_mut(), ETAG, tag);
        self.stamped(response)
    }

    /// 404: the views, as fresh as the answer says, do not hold it.
    pub fn not_found(&self, code: &'static str, detail: String) -> Response {
        self.stamped(Problem::not_found(code, detail).into_response())
    }

    /// Says of an answer how fresh it is and what it is made of.
    fn stamped(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        insert(headers, PROJECTION, self.labels(", "));
        if let Some(as_of) = self.as_of {
            insert(headers, AS_OF, as_of.to_string());
        }
        if let Some(uncovered) = &self.uncovered {
            insert(headers, UNCOVERED, uncovered.to_string());
        }
        match self.parked {
            Parked {
                count: 0,
                more: false,
            } => {}
            Parked { count, more: false } => insert(headers, PARKED, count.to_string()),
            Parked { count, more: true } => insert(headers, PARKED, format!("{count};more")),
        }
        if let Some(wait) = self.wait_applied {
            insert(
                headers,
                PREFERENCE_APPLIED,
                format!("wait={}", wait.as_secs()),
            );
        }
        // To be kept, but asked about each time: an answer ages with the next event.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    fn labels(&self, between: &str) -> String {
        let labels: Vec<String> = self.views.iter().map(View::label).collect();
        labels.join(between)
    }
}

/// Every value here is visible ASCII: names, numbers, tokens and times.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use cartwright_events::Timestamp;
    use cartwright_read_model::tables::projections;

    use super::*;

    fn fresh() -> Fresh {
        Fresh {
            views: vec![
                (&projections::STOCK).into(),
                (&projections::PRODUCTS).into(),
            ],
            as_of: Some("2011-08-01T10:00:00.25Z".parse::<Timestamp>().unwrap()),
            uncovered: Some("g1:c0=4".parse().unwrap()),
            wait_applied: None,
            snapshots: Vec::new(),
            parked: Parked::default(),
        }
    }

    fn header(response: &Response, name: &str) -> String {
        response.headers()[name].to_str().unwrap().to_owned()
    }

    #[test]
    fn an_answer_says_how_fresh_it_is_and_what_it_is_made_of() {
        let expected_status = [
            (fresh().ok(1), 200),
            (fresh().not_found("product_not_found", String::new()), 404),
        ];
        for (response, status) in expected_status {
            assert_eq!(response.status(), status);
            assert_eq!(
                header(&response, "cartwright-projection"),
                "stock@1, products@1"
            );
            assert_eq!(
                header(&response, "cartwright-as-of"),
                "2011-08-01T10:00:00.25Z"
            );
            assert_eq!(header(&response, "cartwright-uncovered"), "g1:c0=4");
            assert_eq!(header(&response, "cache-control"), "no-cache");
        }
    }

    #[test]
    fn what_is_put_aside_is_counted_in_a_header_that_is_absent_for_none() {
        let said = |count, more| {
            let parked = Parked { count, more };
            let fresh = Fresh { parked, ..fresh() };
            let response = fresh.ok(1);
            let header = response.headers().get(PARKED);
            header.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(said(0, false), None);
        assert_eq!(said(3, false).as_deref(), Some("3"));
        assert_eq!(said(9_000, true).as_deref(), Some("9000;more"));
    }

    #[test]
    fn a_client_that_has_the_answer_gets_its_tag_alone() {
        let first = fresh().entity(&Ask::default(), 7, "a mug");
        let tag = header(&first, "etag");
        assert!(tag.starts_with("\"stock@1+products@1.7."), "{tag}");
        let ask = Ask {
            known_tags: vec![tag.clone()],
            ..Ask::default()
        };
        let second = fresh().entity(&ask, 7, "a mug");
        assert_eq!(second.status(), 304);
        assert_eq!(header(&second, "etag"), tag);
        assert!(second.headers().contains_key("cartwright-as-of"));
        for (seq, body) in [(8, "a mug"), (7, "a blue mug")] {
            assert_eq!(
                fresh().entity(&ask, seq, body).status(),
                200,
                "{seq} {body}"
            );
        }
    }
}
