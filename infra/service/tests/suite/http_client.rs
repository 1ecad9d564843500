//! Sends requests to a router and reads what comes back.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use cartwright_service::config::Http;
use cartwright_service::health::Readiness;
use cartwright_service::{app, metrics};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body, after checking what holds for every problem.
    pub fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert!(body["code"].is_string() && body["title"].is_string());
        assert_eq!(body["instance"].as_str(), self.header("x-request-id"));
        body
    }
}

pub fn assembled(routes: Router, http: &Http, readiness: &Readiness) -> Router {
    app::assemble(routes, http, readiness, &metrics::install().unwrap())
}

pub fn with_defaults(routes: Router) -> Router {
    assembled(routes, &Http::at(LOOPBACK), &Readiness::new())
}

pub async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

pub async fn get(app: &Router, path: &str) -> Answer {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

pub async fn post_json(app: &Router, path: &str, body: &str) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    send(app, request.body(Body::from(body.to_owned())).unwrap()).await
}
