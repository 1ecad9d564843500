//! Carts.

use axum::extract::State;
use axum::response::Response;
use cartwright_events::CartId;
use cartwright_read_model::tables::projections::CARTS;
use cartwright_service::extract::{Path, Query};

use crate::answers::Cart;
use crate::app::App;
use crate::ask::Ask;
use crate::errors::Error;
use crate::params::ReadParameters;

/// A cart with its lines, as it is now.
#[utoipa::path(get, path = "/v1/carts/{id}", tag = "carts",
    params(("id" = String, Path, description = "The cart"), ReadParameters),
    responses((status = 200, body = Cart), (status = 404, description = "cart_not_found")))]
pub async fn cart(
    State(app): State<App>,
    Path(id): Path<CartId>,
    Query(ReadParameters { .. }): Query<ReadParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let fresh = app.capture(&CARTS, id.as_str(), &ask).await?;
    let by_key = &app.stores().by_key;
    let view = by_key
        .run(by_key.views()?.cart(fresh.version(), id.as_str()))
        .await?;
    Ok(match view {
        Some(view) => fresh.entity(&ask, view.cart.row_seq, Cart::from(view)),
        None => fresh.not_found("cart_not_found", format!("There is no cart {id}")),
    })
}
