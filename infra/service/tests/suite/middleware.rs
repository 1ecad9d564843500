use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use cartwright_service::config::Http;
use cartwright_service::health::Readiness;
use cartwright_service::problem::{Problem, ProblemBody};
use cartwright_service::request_id::{self, RequestId};
use cartwright_service::telemetry::Traceparent;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::sync::Notify;

use crate::http_client::{self, LOOPBACK, assembled, send, with_defaults};

#[tokio::test]
async fn every_constructor_gives_its_status_code_and_type() {
    let second = Duration::from_secs(1);
    let cases = [
        (
            Problem::invalid_field("sku", "required", "is missing"),
            422,
            "invalid_field",
        ),
        (
            Problem::not_found("order_not_found", "o-1"),
            404,
            "order_not_found",
        ),
        (
            Problem::conflict("out_of_stock", "Out of stock"),
            409,
            "out_of_stock",
        ),
        (Problem::overloaded(second), 503, "overloaded"),
        (
            Problem::unavailable("shard_recovering", "p 3", second),
            503,
            "shard_recovering",
        ),
        (
            Problem::gateway_timeout("not_visible_yet", "wait"),
            504,
            "not_visible_yet",
        ),
        (
            Problem::bad_request("bad_cursor", "unreadable"),
            400,
            "bad_cursor",
        ),
        (Problem::internal("disk on fire"), 500, "internal"),
    ];
    for (problem, status, code) in cases {
        let app = with_defaults(Router::new().route("/", get(async move || problem.clone())));
        let answer = http_client::get(&app, "/").await;
        let body = answer.problem();
        assert_eq!(
            (answer.status.as_u16(), &body["code"]),
            (status, &json!(code))
        );
        assert_eq!(
            body["type"],
            format!("/problems/{}", code.replace('_', "-"))
        );
        assert_eq!(answer.header("retry-after"), (status == 503).then_some("1"));
        assert!(!answer.text().contains("disk on fire"));
    }
}

#[tokio::test]
async fn extension_members_are_flat_and_cannot_replace_the_standard_ones() {
    let handler = async || {
        Problem::conflict("price_changed", "The price changed")
            .with("price", json!({"amount_minor": 1299, "currency": "GBP"}))
            .with("status", 200)
            .retry_after(Duration::from_millis(1_001))
    };
    let answer =
        http_client::get(&with_defaults(Router::new().route("/", get(handler))), "/").await;
    assert_eq!(answer.problem()["price"]["amount_minor"], 1299);
    assert_eq!(answer.header("retry-after"), Some("2"));
    let parsed: ProblemBody = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((parsed.status, parsed.extensions.len()), (409, 1));
}

#[tokio::test]
async fn an_unknown_route_a_wrong_method_and_a_panic_are_problems() {
    async fn broken() -> &'static str {
        panic!("secret detail")
    }
    let app = with_defaults(Router::new().route("/broken", get(broken)));
    let answer = http_client::get(&app, "/nowhere").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.problem()["type"], "about:blank");

    let post = Request::post("/broken").body(Body::empty()).unwrap();
    let answer = send(&app, post).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.problem()["code"], "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));

    let answer = http_client::get(&app, "/broken").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.problem()["code"], "internal");
    assert!(!answer.text().contains("secret detail"));
}

#[tokio::test]
async fn a_valid_request_id_is_kept_and_any_other_replaced() {
    let handler = async |id: RequestId| format!("{id} {}", request_id::current().unwrap());
    let app = with_defaults(Router::new().route("/", get(handler)));
    let longest = "x".repeat(128);
    for id in ["a", "order-import:17/3", &longest] {
        let request = Request::get("/").header("x-request-id", id);
        let answer = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.text(), format!("{id} {id}"));
    }
    let too_long = "x".repeat(129);
    for id in ["", "two words", "caf\u{e9}", &too_long] {
        let request = Request::get("/").header("x-request-id", id.as_bytes());
        let answer = send(&app, request.body(Body::empty()).unwrap()).await;
        let made = uuid::Uuid::parse_str(answer.header("x-request-id").unwrap()).unwrap();
        assert_eq!(made.get_version_num(), 7, "{id}");
    }
}

#[tokio::test]
async fn a_request_is_a_new_span_in_its_callers_trace() {
    let handler = async |traceparent: Traceparent| traceparent.to_string();
    let app = with_defaults(Router::new().route("/", get(handler)));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = Request::get("/").header("traceparent", parent);
    let answer = send(&app, request.body(Body::empty()).unwrap()).await;
    let seen = Traceparent::parse(answer.text()).unwrap();
    assert_eq!(seen.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(answer.text(), parent);
    assert!(
        answer.text().ends_with("-00"),
        "the caller's flags are kept"
    );

    let fresh = http_client::get(&app, "/").await;
    assert!(Traceparent::parse(fresh.text()).is_some() && fresh.text().ends_with("-01"));
}

#[test]
fn only_a_valid_traceparent_is_read() {
    let valid = Traceparent::generate();
    assert_eq!(Traceparent::parse(&valid.to_string()), Some(valid));
    let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
    assert!(Traceparent::parse(later).is_some());
    for invalid in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736x00f067aa0ba902b7-01",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-00f067aa0ba902b7-01",
    ] {
        assert_eq!(Traceparent::parse(invalid), None, "{invalid}");
    }
}

#[tokio::test]
async fn beyond_the_limit_in_flight_a_request_is_told_when_to_come_back() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&entered), Arc::clone(&leave));
    let slow = async move || {
        gate.0.notify_one();
        gate.1.notified().await;
        "done"
    };
    let one = Http {
        max_in_flight: 1,
        ..Http::at(LOOPBACK)
    };
    let app = assembled(Router::new().route("/", get(slow)), &one, &Readiness::new());
    let first = tokio::spawn({
        let app = app.clone();
        async move { http_client::get(&app, "/").await.status }
    });
    entered.notified().await;

    let answer = http_client::get(&app, "/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem()["code"], "overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let probe = http_client::get(&app, "/livez").await;
    assert_eq!(probe.status, 200, "probes are answered under load");

    leave.notify_one();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    leave.notify_one();
    assert_eq!(http_client::get(&app, "/").await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504() {
    let hasty = Http {
        request_timeout_ms: 1,
        ..Http::at(LOOPBACK)
    };
    let never = async || std::future::pending::<&'static str>().await;
    let app = assembled(
        Router::new().route("/", get(never)),
        &hasty,
        &Readiness::new(),
    );
    let answer = http_client::get(&app, "/").await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.problem()["code"], "request_timeout");
}
