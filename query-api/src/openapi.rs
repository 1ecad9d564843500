//! The API's description.

use std::sync::OnceLock;

use cartwright_service::openapi::{request_header, text_header};
use cartwright_service::problem::{FieldError, ProblemBody};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::ask;
use crate::routes::{carts, customers, orders, products, reports, search};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cartwright query API",
        description = "Reads. Eventually consistent: every answer says how fresh it is, and waits for a caller's own write when it is given the position token of the command."
    ),
    paths(
        products::list,
        products::product,
        products::availability,
        carts::cart,
        orders::order,
        orders::timeline,
        customers::orders,
        search::products,
        reports::sales,
    ),
    components(schemas(ProblemBody, FieldError)),
    modifiers(&Common)
)]
struct Api;

/// The description, as JSON.
#[must_use]
pub fn json() -> &'static str {
    static JSON: OnceLock<String> = OnceLock::new();
    JSON.get_or_init(|| document().to_json().unwrap_or_default())
}

/// The description.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}

/// Reads whose answers carry an entity tag.
const TAGGED: [&str; 4] = [
    "/v1/products/{sku}",
    "/v1/products/{sku}/availability",
    "/v1/carts/{id}",
    "/v1/orders/{id}",
];

/// What every operation takes and may answer, said once.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        for (path, item) in &mut document.paths.paths {
            let Some(operation) = &mut item.get else {
                continue;
            };
            common(operation);
            if TAGGED.contains(&path.as_str()) {
                tagged(operation);
            }
        }
    }
}

fn common(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    for (name, description) in [
        (
            "Cartwright-Position",
            "A position token as a command's answer gave it: the read waits, bounded, until its views hold it",
        ),
        (
            "Prefer",
            "`wait=N`: wait at most N seconds for the position, and no longer than the service does",
        ),
    ] {
        parameters.push(request_header(name, description));
    }
    let responses = &mut operation.responses.responses;
    if let Some(RefOr::T(ok)) = responses.get_mut("200") {
        headers(ok);
    }
    if let Some(RefOr::T(not_found)) = responses.get_mut("404") {
        headers(not_found);
        let named = problem(&not_found.description);
        not_found.content = named.content;
    }
    for (status, description) in [
        (
            "400",
            "position_malformed, invalid_cursor: something cannot be read",
        ),
        (
            "409",
            "position_of_another_log: the token is of another generation of the log",
        ),
        ("410", "cursor_outdated: the list was built anew since"),
        (
            "422",
            "invalid_field: a parameter breaks a rule; `errors` names it",
        ),
        (
            "503",
            "overloaded, store_unavailable, store_timeout, versions_unknown (which version of a view is current is not known, or it is being restored): try again after Retry-After",
        ),
        (
            "504",
            "position_not_reached: the views did not get there in time, `reached` says how far they are; position_parked: an event was put aside",
        ),
    ] {
        let response = RefOr::T(problem(description));
        responses.entry(status.to_owned()).or_insert(response);
    }
}

/// What reads with an entity tag have besides.
fn tagged(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(request_header(
        "If-None-Match",
        "Entity tags of what the client has",
    ));
    let responses = &mut operation.responses.responses;
    let mut unchanged = Response::new("The client has it already");
    headers(&mut unchanged);
    entity_tag(&mut unchanged);
    if let Some(RefOr::T(ok)) = responses.get_mut("200") {
        entity_tag(ok);
    }
    responses.insert("304".to_owned(), RefOr::T(unchanged));
}

fn entity_tag(response: &mut Response) {
    let description = "Names the version and the state of the answer, for `If-None-Match`";
    let header = text_header(description);
    response.headers.insert("ETag".to_owned(), header);
}

fn headers(response: &mut Response) {
    for (name, description) in [
        (
            ask::AS_OF,
            "The time up to which everything recorded is in the answer (RFC 3339)",
        ),
        (
            ask::PROJECTION,
            "The views behind the answer, each as name@version",
        ),
        (
            ask::UNCOVERED,
            "The parts of the token that none of these views consumes",
        ),
        (
            ask::PARKED,
            "Records that wait, put aside, under the answer's key; of lists and reports: keys that have such records, with `;more` behind the number where there may be more of them. Absent where there are none",
        ),
    ] {
        let header = text_header(description);
        response.headers.insert(name.to_string(), header);
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content.build())
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routes;

    #[test]
    fn every_route_is_described_and_every_description_is_a_route() {
        let routes: BTreeSet<String> = routes::table()
            .into_iter()
            .map(|(path, _)| path.to_owned())
            .collect();
        let described: BTreeSet<String> = document().paths.paths.into_keys().collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let document: serde_json::Value = serde_json::from_str(json()).unwrap();
        let text = json();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let references = text.split("\"#/components/schemas/").skip(1);
        let names: BTreeSet<&str> = references
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(
            names.contains("Problem") && names.contains("Order"),
            "{names:?}"
        );
        for name in names {
            assert!(schemas.contains_key(name), "{name}");
        }
    }

    #[test]
    fn every_operation_says_what_it_may_refuse_and_how_fresh_it_is() {
        let document: serde_json::Value = serde_json::from_str(json()).unwrap();
        for path in TAGGED {
            assert!(document["paths"][path].is_object(), "{path}");
        }
        for (path, item) in document["paths"].as_object().unwrap() {
            let responses = item["get"]["responses"].as_object().unwrap();
            for status in ["200", "400", "422", "503", "504"] {
                assert!(responses.contains_key(status), "{path} {status}");
            }
            assert!(
                responses["200"]["headers"]["cartwright-as-of"].is_object(),
                "{path}"
            );
            let parameters = item["get"]["parameters"].to_string();
            assert!(parameters.contains("Cartwright-Position"), "{path}");
            let is_tagged = TAGGED.contains(&path.as_str());
            let tag = &responses["200"]["headers"]["ETag"];
            assert_eq!(tag.is_object(), is_tagged, "{path}");
            assert_eq!(responses.contains_key("304"), is_tagged, "{path}");
            assert_eq!(parameters.contains("If-None-Match"), is_tagged, "{path}");
        }
    }
}
