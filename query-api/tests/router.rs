//! The routes without any store: what is refused before one is asked, and what is said when none
//! answers.

use axum::Router;
use axum::body::Body;
use cartwright_query_api::{App, Config, routes};
use cartwright_service::config::load_from;
use cartwright_service::health::Readiness;
use cartwright_service::{app, metrics};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use std::path::Path;
use tower::ServiceExt;

/// Nobody listens at port 1.
const SETTINGS: &str = r#"
[http]
listen = "127.0.0.1:0"
[postgres]
url = "postgres://postgres@127.0.0.1:1/nothing"
connect_timeout_ms = 1000
[cassandra]
nodes = ["127.0.0.1:1"]
"#;

fn router() -> Router {
    let file = Some((Path::new("query-api.toml"), SETTINGS));
    let config: Config = load_from(file, "CARTWRIGHT__", []).unwrap();
    config.validate().unwrap();
    let readiness = Readiness::new();
    let metrics = metrics::install().unwrap();
    let app = App::new(&config).unwrap();
    app::assemble(routes::router(app), &config.http, &readiness, &metrics)
}

struct Answer {
    status: StatusCode,
    retry_after: bool,
    body: Value,
}

async fn send(request: Request<Body>) -> Answer {
    let response = router().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status,
        retry_after: head.headers.contains_key("retry-after"),
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    }
}

async fn get(path: &str) -> Answer {
    send(Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn what_breaks_a_rule_is_named_before_any_store_is_asked() {
    let long_sku = format!("/v1/products/{}", "a".repeat(65));
    for (path, field, rule) in [
        ("/v1/products?colour=red", "colour", "unknown"),
        ("/v1/products/cup?verbose=1", "verbose", "unknown"),
        ("/v1/products?limit=0", "limit", "value"),
        ("/v1/products?limit=501", "limit", "value"),
        ("/v1/products?limit=many", "limit", "type"),
        (
            "/v1/products?include_retired=perhaps",
            "include_retired",
            "type",
        ),
        (long_sku.as_str(), "sku", "format"),
        ("/v1/carts/a%20b", "id", "format"),
        ("/v1/orders/a%20b/timeline", "id", "format"),
        ("/v1/search/products", "q", "required"),
        ("/v1/search/products?q=%20", "q", "length"),
        ("/v1/reports/sales", "by", "required"),
        ("/v1/reports/sales?by=week", "by", "one_of"),
        ("/v1/reports/sales?by=day&from=yesterday", "from", "format"),
        (
            "/v1/reports/sales?by=day&from=2011-02-01&to=2011-01-01",
            "from",
            "value",
        ),
        (
            "/v1/reports/sales?by=day&currency=pounds",
            "currency",
            "format",
        ),
        ("/v1/reports/sales?by=day&limit=5001", "limit", "value"),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status, 422, "{path}: {}", answer.body);
        let error = &answer.body["errors"][0];
        assert_eq!(error["field"], field, "{path}: {error}");
        assert_eq!(error["rule"], rule, "{path}: {error}");
    }
}

#[tokio::test]
async fn a_cursor_that_no_answer_gave_is_refused() {
    for path in [
        "/v1/products?cursor=abc",
        "/v1/search/products?q=cup&cursor=abc",
        "/v1/customers/c-1/orders?cursor=abc",
        "/v1/orders/o-1/timeline?cursor=abc",
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        assert_eq!(answer.body["code"], "invalid_cursor", "{path}");
        assert_eq!(answer.body["errors"][0]["field"], "cursor", "{path}");
    }
}

#[tokio::test]
async fn a_position_that_cannot_be_read_or_is_of_another_log_is_refused() {
    for (token, status, code) in [
        ("latest", 400, "position_malformed"),
        ("g2:o0=1", 409, "position_of_another_log"),
    ] {
        let request = Request::get("/v1/orders/o-1").header("cartwright-position", token);
        let answer = send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.body["code"], code);
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_named_and_the_client_told_to_come_back() {
    for (path, store) in [
        ("/v1/products/cup", "cassandra"),
        ("/v1/products/cup/availability", "cassandra"),
        ("/v1/carts/c-1", "cassandra"),
        ("/v1/orders/o-1", "cassandra"),
        ("/v1/customers/c-1/orders", "cassandra"),
        ("/v1/orders/o-1/timeline", "postgres"),
        ("/v1/products", "postgres"),
        ("/v1/search/products?q=cup", "postgres"),
        ("/v1/reports/sales?by=day", "postgres"),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert_eq!(answer.body["store"], store, "{path}: {}", answer.body);
        assert!(answer.retry_after, "{path}");
        assert!(
            !answer.body.to_string().contains("127.0.0.1"),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn the_service_describes_itself() {
    let index = get("/").await;
    assert_eq!(index.status, 200);
    let routes = index.body["routes"].as_array().unwrap();
    assert!(
        routes.contains(&"GET /v1/reports/sales".into()),
        "{routes:?}"
    );
    let document = get("/openapi.json").await;
    assert_eq!(document.status, 200);
    assert!(document.body["paths"]["/v1/orders/{id}"].is_object());
}

#[tokio::test]
async fn nothing_can_be_written() {
    for method in ["POST", "PUT", "DELETE"] {
        let request = Request::builder().method(method).uri("/v1/products/cup");
        let answer = send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.body["code"], "method_not_allowed");
    }
}
