//! What there is to ask for.

use axum::response::{IntoResponse, Response};
use cartwright_service::extract::Json;
use http::header::CONTENT_TYPE;
use serde_json::json;

use crate::openapi;

/// `GET /`: the service and its routes.
pub async fn index() -> Response {
    let routes: Vec<String> = super::table()
        .into_iter()
        .map(|(path, _)| format!("GET {path}"))
        .collect();
    Json(json!({
        "service": "cartwright-query-api",
        "version": env!("CARGO_PKG_VERSION"),
        "openapi": "/openapi.json",
        "health": ["/livez", "/readyz?verbose", "/metrics"],
        "routes": routes,
    }))
    .into_response()
}

/// `GET /openapi.json`: the API's description.
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::json()).into_response()
}
