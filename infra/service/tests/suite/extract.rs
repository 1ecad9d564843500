use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use cartwright_service::config::Http;
use cartwright_service::extract::{Json, Path, Query};
use cartwright_service::health::Readiness;
use http::Request;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http_client::{self, LOOPBACK, assembled, post_json, send, with_defaults};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cart {
    currency: String,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    sku: String,
    quantity: u32,
    #[serde(default)]
    item: Option<Box<Item>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: u32,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    line: u32,
}

fn shop() -> Router {
    with_defaults(routes())
}

fn routes() -> Router {
    Router::new()
        .route(
            "/carts",
            post(|Json(cart): Json<Cart>| async { Json(cart) }),
        )
        .route(
            "/checkout",
            post(|body: Option<Json<Page>>| async move { body.is_some().to_string() }),
        )
        .route(
            "/carts/{id}/items/{line}",
            get(|Path(Line { id, line }): Path<Line>| async move { format!("{id}/{line}") }),
        )
        .route(
            "/lines/{line}",
            get(|Path(line): Path<u32>| async move { line.to_string() }),
        )
        .route(
            "/pairs/{id}/{line}",
            get(|Path((_, line)): Path<(String, u32)>| async move { line.to_string() }),
        )
        .route(
            "/search",
            get(|Query(page): Query<Page>| async move { page.limit.to_string() }),
        )
}

/// Field and rule of the only field error in a 422.
async fn broken_rule(body: &str) -> (String, String) {
    let answer = post_json(&shop(), "/carts", body).await;
    field_and_rule(&answer)
}

fn field_and_rule(answer: &http_client::Answer) -> (String, String) {
    let problem = answer.problem();
    assert_eq!(
        (answer.status.as_u16(), &problem["code"]),
        (422, &json!("invalid_field"))
    );
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1);
    let error = &problem["errors"][0];
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    assert!(!text("detail").is_empty());
    (text("field"), text("rule"))
}

fn pair(field: &str, rule: &str) -> (String, String) {
    (field.to_owned(), rule.to_owned())
}

#[tokio::test]
async fn a_body_that_is_right_goes_through() {
    let body = r#"{"currency":"GBP","items":[{"sku":"A","quantity":2,"item":null}]}"#;
    let answer = post_json(&shop(), "/carts", body).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_field_that_breaks_a_rule_is_named_with_its_path() {
    let missing = broken_rule(r#"{"items":[]}"#).await;
    assert_eq!(missing, pair("currency", "required"));
    let unknown = broken_rule(r#"{"currency":"GBP","price":1}"#).await;
    assert_eq!(unknown, pair("price", "unknown"));
    let twice = broken_rule(r#"{"currency":"GBP","currency":"EUR"}"#).await;
    assert_eq!(twice, pair("currency", "unique"));
    let wrong_type = broken_rule(r#"{"currency":5}"#).await;
    assert_eq!(wrong_type, pair("currency", "type"));
    for not_an_object in ["5", r#"["GBP"]"#, " []"] {
        let refused = broken_rule(not_an_object).await;
        assert_eq!(refused, pair("body", "type"), "{not_an_object}");
    }
}

#[tokio::test]
async fn a_field_inside_a_list_is_named_with_its_index() {
    let in_items = |item: &str| format!(r#"{{"currency":"GBP","items":[{item}]}}"#);
    let negative = broken_rule(&in_items(r#"{"sku":"A","quantity":-1}"#)).await;
    assert_eq!(negative, pair("items[0].quantity", "value"));
    let missing = broken_rule(&in_items(r#"{"quantity":1}"#)).await;
    assert_eq!(missing, pair("items[0].sku", "required"));
    let unknown = broken_rule(&in_items(r#"{"sku":"A","quantity":1,"x":1}"#)).await;
    assert_eq!(unknown, pair("items[0].x", "unknown"));
}

#[tokio::test]
async fn a_field_of_the_same_name_as_its_parent_keeps_both_in_its_path() {
    #[derive(Deserialize, Debug)]
    #[allow(dead_code)]
    struct Outer {
        amount: Inner,
    }
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        amount: u32,
    }
    let field = |body: &str| {
        let problem = Json::<Outer>::from_bytes(body.as_bytes()).unwrap_err();
        problem.body().errors[0].field.clone()
    };
    assert_eq!(field(r#"{"amount":{}}"#), "amount.amount");
    assert_eq!(
        field(r#"{"amount":{"amount":1,"amount":2}}"#),
        "amount.amount"
    );
    assert_eq!(field(r#"{"amount":{"amount":1,"b":2}}"#), "amount.b");
}

#[tokio::test]
async fn what_is_not_json_is_400_415_or_413() {
    for body in ["{", "", "nonsense", r#"{"currency":"GBP"} trailing"#] {
        let answer = post_json(&shop(), "/carts", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.problem()["code"], "malformed_body");
    }
    let untyped = Request::post("/carts").body(Body::from("{}")).unwrap();
    let answer = send(&shop(), untyped).await;
    assert_eq!(answer.status, 415);
    assert_eq!(answer.problem()["code"], "unsupported_media_type");

    let small = Http {
        max_body_bytes: 64,
        ..Http::at(LOOPBACK)
    };
    let app = assembled(routes(), &small, &Readiness::new());
    let answer = post_json(&app, "/carts", &" ".repeat(65)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.problem()["code"], "body_too_large");
}

#[tokio::test]
async fn a_json_subtype_and_a_charset_are_json_too() {
    for content_type in [
        "application/json; charset=utf-8",
        "application/merge-patch+json",
    ] {
        let request = Request::post("/carts").header("content-type", content_type);
        let body = Body::from(r#"{"currency":"GBP"}"#);
        assert_eq!(send(&shop(), request.body(body).unwrap()).await.status, 200);
    }
}

#[tokio::test]
async fn a_body_that_may_be_left_out_is_checked_when_it_is_there() {
    let nothing = Request::post("/checkout").body(Body::empty()).unwrap();
    assert_eq!(send(&shop(), nothing).await.text(), "false");
    let empty = post_json(&shop(), "/checkout", "").await;
    assert_eq!(empty.text(), "false");
    let right = post_json(&shop(), "/checkout", r#"{"limit":1}"#).await;
    assert_eq!(right.text(), "true");
    let wrong = post_json(&shop(), "/checkout", r#"{"limit":1,"x":2}"#).await;
    assert_eq!(field_and_rule(&wrong), pair("x", "unknown"));
    let untyped = Request::post("/checkout").body(Body::from("{}")).unwrap();
    assert_eq!(send(&shop(), untyped).await.status, 415);
}

#[tokio::test]
async fn a_path_parameter_that_breaks_a_rule_is_named() {
    for path in ["/carts/c-1/items/first", "/lines/first", "/pairs/c-1/first"] {
        let answer = http_client::get(&shop(), path).await;
        assert_eq!(field_and_rule(&answer), pair("line", "type"), "{path}");
    }
    let answer = http_client::get(&shop(), "/carts/%FF/items/1").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.problem()["code"], "malformed_path");
    let answer = http_client::get(&shop(), "/carts/a%20b/items/1").await;
    assert_eq!(answer.text(), "a b/1");
}

#[tokio::test]
async fn a_query_parameter_that_breaks_a_rule_is_named() {
    let rule = async |query: &str| {
        let answer = http_client::get(&shop(), &format!("/search?{query}")).await;
        field_and_rule(&answer)
    };
    assert_eq!(rule("limit=ten").await, pair("limit", "type"));
    assert_eq!(rule("limit=99999999999").await, pair("limit", "value"));
    assert_eq!(rule("").await, pair("limit", "required"));
    assert_eq!(rule("limit=1&offset=2").await, pair("offset", "unknown"));
    assert_eq!(rule("limit=1&limit=2").await, pair("limit", "unique"));
    let answer = http_client::get(&shop(), "/search?limit=10").await;
    assert_eq!(answer.text(), "10");
}
