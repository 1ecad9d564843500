//! What the service says of itself.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use cartwright_service::extract::Json;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::openapi;

static OPENAPI: LazyLock<Result<String, String>> = LazyLock::new(|| {
    openapi::document()
        .to_json()
        .map_err(|error| error.to_string())
});

/// What there is
#[utoipa::path(
    get, path = "/", tag = "service", operation_id = "index",
    responses((status = 200, description = "The service's name, version and links", body = Object))
)]
pub async fn index() -> Json<Value> {
    Json(json!({
        "service": "cartwright-command-api",
        "version": env!("CARGO_PKG_VERSION"),
        "links": {
            "openapi": "/openapi.json",
            "live": "/livez",
            "ready": "/readyz?verbose",
            "metrics": "/metrics",
            "products": "/v1/products",
            "stock": "/v1/stock/{sku}/receipts",
            "carts": "/v1/carts",
            "orders": "/v1/orders/{id}/payments",
        },
    }))
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub async fn openapi() -> Response {
    match &*OPENAPI {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text.as_str()).into_response(),
        Err(error) => cartwright_service::problem::Problem::internal(error).into_response(),
    }
}
