//! The routes: one table, from which both the router and the check of the API's description are
//! made.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};
use http::Method;

use crate::app::App;

pub mod body;
pub mod carts;
pub mod checkout;
pub mod commands;
pub mod index;
pub mod orders;
pub mod products;
pub mod stock;

/// A method on a path, and what answers it.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: &'static str,
    handler: MethodRouter<App>,
}

impl Route {
    fn get(path: &'static str, handler: MethodRouter<App>) -> Self {
        Self {
            method: Method::GET,
            path,
            handler,
        }
    }

    fn post(path: &'static str, handler: MethodRouter<App>) -> Self {
        Self {
            method: Method::POST,
            path,
            handler,
        }
    }

    fn put(path: &'static str, handler: MethodRouter<App>) -> Self {
        Self {
            method: Method::PUT,
            path,
            handler,
        }
    }

    fn delete(path: &'static str, handler: MethodRouter<App>) -> Self {
        Self {
            method: Method::DELETE,
            path,
            handler,
        }
    }
}

/// Every route of the service itself.
#[must_use]
pub fn table() -> Vec<Route> {
    vec![
        Route::get("/", get(index::index)),
        Route::get("/openapi.json", get(index::openapi)),
        Route::get("/v1/commands/{id}", get(commands::status)),
        Route::post("/v1/products", post(products::create)),
        Route::put("/v1/products/{sku}/price", put(products::change_price)),
        Route::post("/v1/products/{sku}/retire", post(products::retire)),
        Route::post("/v1/stock/{sku}/receipts", post(stock::receive)),
        Route::post("/v1/stock/{sku}/adjustments", post(stock::adjust)),
        Route::post("/v1/carts", post(carts::create)),
        Route::post("/v1/carts/{id}/items", post(carts::add_item)),
        Route::put("/v1/carts/{id}/items/{line}", put(carts::change_item)),
        Route::delete("/v1/carts/{id}/items/{line}", delete(carts::remove_item)),
        Route::post("/v1/carts/{id}/checkout", post(checkout::check_out)),
        Route::post("/v1/orders/{id}/payments", post(orders::pay)),
        Route::post("/v1/orders/{id}/shipments", post(orders::ship)),
        Route::post("/v1/orders/{id}/returns", post(orders::take_back)),
        Route::post("/v1/orders/{id}/cancel", post(orders::cancel)),
    ]
}

/// The routes over `app`; what surrounds them is [`cartwright_service::app::assemble`]'s.
pub fn router(app: App) -> Router {
    table()
        .into_iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.handler)
        })
        .with_state(app)
}
