//! Carts.

use axum::extract::State;
use cartwright_domain::{AddItem, ChangeItem, CheckoutCommand, CreateCart, NewItem, RemoveItem};
use cartwright_events::{CartId, Country, Currency, CustomerId, Reference, Sku};
use cartwright_service::extract::{Json, Path as PathOf};
use cartwright_service::problem::Problem;
use cartwright_shard::Answer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{AcceptedBody, Empty, Money};
use crate::answers::Accepted;
use crate::app::App;
use crate::call::Call;
use crate::dispatch::{Need, derived_id};
use crate::errors::Error;

/// A cart to open.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCart {
    /// The cart's id, which will be the order's too; without it, one is derived from the
    /// idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9._:~-]{1,64}$")]
    cart_id: Option<CartId>,
    /// Who shops, an opaque id; none for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9._:~-]{1,64}$")]
    customer_id: Option<CustomerId>,
    /// Currency of all prices in the cart.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "GBP")]
    currency: Currency,
    /// Where the order will ship to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 64, example = "United Kingdom")]
    ship_to_country: Option<Country>,
    /// The shop's own number for what becomes of the cart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 128)]
    external_reference: Option<Reference>,
    /// What is in it from the start. Items of the same SKU and price become one line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    items: Vec<Item>,
}

/// An item to put into a cart.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What.
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "85123A")]
    sku: Sku,
    /// Units, above zero.
    #[schema(minimum = 1, example = 2)]
    quantity: i64,
    /// The unit price that the shopper saw: if the catalog's is another, nothing is added and the
    /// answer is `price_changed` with both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_price: Option<Money>,
    /// The unit price to charge instead of the catalog's, where the settings allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quoted_price: Option<Money>,
}

impl From<Item> for NewItem {
    fn from(item: Item) -> NewItem {
        NewItem {
            sku: item.sku,
            quantity: item.quantity,
            expected_price: item.expected_price.map(Into::into),
            quoted_price: item.quoted_price.map(Into::into),
        }
    }
}

/// A line's number of units.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// Units from now on, above zero.
    #[schema(minimum = 1, example = 3)]
    quantity: i64,
}

pub(super) async fn decide(
    app: &App,
    call: &Call,
    command: CheckoutCommand,
    need: Need,
    body: &impl Serialize,
) -> Result<Answer, Error> {
    let id = command.id().to_owned();
    app.decide(&app.checkout, &id, command, need, call, body)
        .await
}

/// Open a cart
///
/// Again with the same content it is a repeat; with other content, `cart_exists`.
#[utoipa::path(
    post, path = "/v1/carts", tag = "checkout", operation_id = "create_cart",
    request_body = NewCart,
    responses((status = 201, description = "The cart is open", body = AcceptedBody,
        headers(("Location" = String, description = "Where query-api has it"))))
)]
pub async fn create(
    State(app): State<App>,
    call: Call,
    Json(body): Json<NewCart>,
) -> Result<Accepted, Error> {
    let need = if body.items.is_empty() {
        Need::Position
    } else {
        Need::Prices
    };
    let cart_id = match &body.cart_id {
        Some(cart_id) => cart_id.clone(),
        // A UUID keeps the rule of an id.
        None => CartId::new(derived_id(&call)).map_err(Problem::internal)?,
    };
    let command = CreateCart {
        cart_id: cart_id.clone(),
        customer_id: body.customer_id.clone(),
        currency: body.currency.clone(),
        ship_to_country: body.ship_to_country.clone(),
        external_reference: body.external_reference.clone(),
        items: body.items.iter().cloned().map(Into::into).collect(),
    };
    let command = CheckoutCommand::CreateCart(command);
    let answer = decide(&app, &call, command, need, &body).await?;
    Ok(Accepted::created(answer).at("/v1/carts", cart_id.as_str()))
}

/// Put an item into a cart
///
/// It joins the line that has the same SKU, price and price source, or becomes a line of its own.
#[utoipa::path(
    post, path = "/v1/carts/{id}/items", tag = "checkout", operation_id = "add_item",
    params(("id" = String, Path, description = "The cart")),
    request_body = Item,
    responses((status = 201, description = "The item is in the cart", body = AcceptedBody,
        headers(("Location" = String, description = "Where query-api has the cart"))))
)]
pub async fn add_item(
    State(app): State<App>,
    call: Call,
    PathOf(cart_id): PathOf<CartId>,
    Json(body): Json<Item>,
) -> Result<Accepted, Error> {
    let command = AddItem {
        cart_id: cart_id.clone(),
        item: body.clone().into(),
    };
    let command = CheckoutCommand::AddItem(command);
    let answer = decide(&app, &call, command, Need::Prices, &body).await?;
    Ok(Accepted::created(answer).at("/v1/carts", cart_id.as_str()))
}

/// Set a line's number of units
#[utoipa::path(
    put, path = "/v1/carts/{id}/items/{line}", tag = "checkout", operation_id = "change_item",
    params(("id" = String, Path, description = "The cart"), ("line" = u32, Path, description = "The line")),
    request_body = Quantity,
    responses((status = 200, description = "The line has so many units", body = AcceptedBody))
)]
pub async fn change_item(
    State(app): State<App>,
    call: Call,
    PathOf((cart_id, line)): PathOf<(CartId, u32)>,
    Json(body): Json<Quantity>,
) -> Result<Accepted, Error> {
    let command = ChangeItem {
        cart_id,
        line,
        quantity: body.quantity,
    };
    let command = CheckoutCommand::ChangeItem(command);
    decide(&app, &call, command, Need::Position, &body)
        .await
        .map(Accepted::ok)
}

/// Take a line out of a cart
#[utoipa::path(
    delete, path = "/v1/carts/{id}/items/{line}", tag = "checkout", operation_id = "remove_item",
    params(("id" = String, Path, description = "The cart"), ("line" = u32, Path, description = "The line")),
    responses((status = 200, description = "The line is gone", body = AcceptedBody))
)]
pub async fn remove_item(
    State(app): State<App>,
    call: Call,
    PathOf((cart_id, line)): PathOf<(CartId, u32)>,
) -> Result<Accepted, Error> {
    let command = CheckoutCommand::RemoveItem(RemoveItem { cart_id, line });
    decide(&app, &call, command, Need::Position, &Empty {})
        .await
        .map(Accepted::ok)
}
