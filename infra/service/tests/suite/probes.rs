use axum::Router;
use axum::routing::get;
use cartwright_service::config::Http;
use cartwright_service::health::Readiness;
use cartwright_service::metric_names;
use serde_json::json;

use crate::http_client::{self, LOOPBACK, assembled, with_defaults};

#[tokio::test]
async fn the_service_is_ready_when_every_check_is_ok_and_not_once_it_drains() {
    let readiness = Readiness::new();
    let app = assembled(Router::new(), &Http::at(LOOPBACK), &readiness);
    let status = async || http_client::get(&app, "/readyz").await.status.as_u16();
    assert_eq!(status().await, 200);

    let kafka = readiness.check("kafka");
    let shards = readiness.check("shards");
    kafka.ok("connected");
    let answer = http_client::get(&app, "/readyz").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (503, "not ready: shards\n")
    );
    shards.ok("4 of 4");
    assert_eq!(status().await, 200);
    kafka.not_ok("broker gone");
    assert_eq!(status().await, 503);
    kafka.ok("connected");
    assert_eq!(status().await, 200);

    readiness.drain();
    assert_eq!(status().await, 503);
    assert_eq!(http_client::get(&app, "/livez").await.status, 200);
}

#[tokio::test]
async fn the_verbose_answer_names_each_check_its_state_and_detail() {
    let readiness = Readiness::new();
    readiness.check("kafka").ok("connected");
    let _ = readiness.check("postgres");
    let app = assembled(Router::new(), &Http::at(LOOPBACK), &readiness);
    for path in ["/readyz?verbose", "/readyz?verbose=1"] {
        let answer = http_client::get(&app, path).await;
        assert_eq!(answer.status, 503);
        let report = answer.json();
        assert_eq!(
            (&report["ready"], &report["draining"]),
            (&json!(false), &json!(false))
        );
        let check = |at: usize| {
            let check = &report["checks"][at];
            (
                check["name"].clone(),
                check["ok"].clone(),
                check["detail"].clone(),
            )
        };
        assert_eq!(check(0), (json!("kafka"), json!(true), json!("connected")));
        assert_eq!(
            check(1),
            (json!("postgres"), json!(false), json!("starting"))
        );
    }
}

#[test]
fn registering_a_check_again_does_not_reset_it() {
    let readiness = Readiness::new();
    readiness.check("kafka").ok("connected");
    let again = readiness.check("kafka");
    assert!(readiness.is_ready());
    again.not_ok("gone");
    assert!(!readiness.is_ready());
}

#[tokio::test]
async fn requests_are_counted_and_timed_by_route_method_and_status() {
    let app = with_defaults(Router::new().route("/counted/{id}", get(async || "ok")));
    for id in 0..3 {
        http_client::get(&app, &format!("/counted/{id}")).await;
    }
    http_client::get(&app, "/uncounted/1").await;
    let answer = http_client::get(&app, "/metrics").await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let labels = r#"route="/counted/{id}",method="GET",status="200""#;
    let has = |line: &str| assert!(answer.text().contains(line), "{line}\n{}", answer.text());
    has(&format!("{}{{{labels}}} 3\n", metric_names::HTTP_REQUESTS));
    has(&format!(
        "{}_count{{{labels}}} 3\n",
        metric_names::HTTP_REQUEST_SECONDS
    ));
    has(&format!(
        "{}_bucket{{{labels},le=\"30\"}} 3\n",
        metric_names::HTTP_REQUEST_SECONDS
    ));
    has(r#"route="unmatched",method="GET",status="404""#);
}
