//! The routes, one file per kind of thing that is read.

pub mod carts;
pub mod customers;
pub mod index;
pub mod orders;
pub mod products;
pub mod reports;
pub mod search;

use axum::Router;
use axum::routing::{MethodRouter, get};

use crate::app::App;

/// Every route of the API with its handler. The API's description has each of them.
#[must_use]
pub fn table() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/v1/products", get(products::list)),
        ("/v1/products/{sku}", get(products::product)),
        (
            "/v1/products/{sku}/availability",
            get(products::availability),
        ),
        ("/v1/carts/{id}", get(carts::cart)),
        ("/v1/orders/{id}", get(orders::order)),
        ("/v1/orders/{id}/timeline", get(orders::timeline)),
        ("/v1/customers/{id}/orders", get(customers::orders)),
        ("/v1/search/products", get(search::products)),
        ("/v1/reports/sales", get(reports::sales)),
    ]
}

/// Every route, those that describe the API included.
pub fn router(app: App) -> Router {
    let described = Router::new()
        .route("/", get(index::index))
        .route("/openapi.json", get(index::openapi));
    table()
        .into_iter()
        .fold(described, |router, (path, handler)| {
            router.route(path, handler)
        })
        .with_state(app)
}
