//! Products.

use axum::extract::State;
use cartwright_domain::{CatalogCommand, ChangePrice, CreateProduct, RetireProduct};
use cartwright_events::Sku;
use cartwright_service::extract::{Json, Path as PathOf};
use cartwright_shard::Answer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{AcceptedBody, Empty, Money};
use crate::answers::Accepted;
use crate::app::App;
use crate::call::Call;
use crate::dispatch::Need;
use crate::errors::Error;

/// A product to enter into the catalog.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    /// The stock keeping unit: one line of printable text.
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "85123A")]
    sku: Sku,
    /// Name shown to shoppers.
    #[schema(
        min_length = 1,
        max_length = 500,
        example = "White hanging heart T-light holder"
    )]
    name: String,
    /// Longer text shown to shoppers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 5000)]
    description: Option<String>,
    /// Price of one unit, above zero. Its currency is the product's for life.
    price: Money,
}

async fn decide(
    app: &App,
    call: &Call,
    command: CatalogCommand,
    body: &impl Serialize,
) -> Result<Answer, Error> {
    let sku = command.sku().as_str().to_owned();
    app.decide(&app.catalog, &sku, command, Need::Nothing, call, body)
        .await
}

/// Enter a product into the catalog
///
/// Again with the same content it is a repeat; with other content, `product_exists`.
#[utoipa::path(
    post, path = "/v1/products", tag = "catalog", operation_id = "create_product",
    request_body = NewProduct,
    responses((status = 201, description = "The product is in the catalog", body = AcceptedBody,
        headers(("Location" = String, description = "Where query-api has it"))))
)]
pub async fn create(
    State(app): State<App>,
    call: Call,
    Json(body): Json<NewProduct>,
) -> Result<Accepted, Error> {
    let command = CreateProduct {
        sku: body.sku.clone(),
        name: body.name.clone(),
        description: body.description.clone(),
        price: body.price.clone().into(),
    };
    let answer = decide(&app, &call, CatalogCommand::CreateProduct(command), &body).await?;
    Ok(Accepted::created(answer).at("/v1/products", body.sku.as_str()))
}

/// Set a product's price
///
/// Of one unit, above zero, in the product's currency. Carts keep the prices that they have.
#[utoipa::path(
    put, path = "/v1/products/{sku}/price", tag = "catalog", operation_id = "change_price",
    params(("sku" = String, Path, description = "The product")),
    request_body = Money,
    responses((status = 200, description = "The product has the price", body = AcceptedBody))
)]
pub async fn change_price(
    State(app): State<App>,
    call: Call,
    PathOf(sku): PathOf<Sku>,
    Json(body): Json<Money>,
) -> Result<Accepted, Error> {
    let command = ChangePrice {
        sku,
        price: body.clone().into(),
    };
    let decided = decide(&app, &call, CatalogCommand::ChangePrice(command), &body).await;
    decided.map(Accepted::ok).map_err(price_is_the_body)
}

/// The command has its price in a field; here it is the whole body.
fn price_is_the_body(error: Error) -> Error {
    match error {
        Error::Rejected(mut rejection) if rejection.field.as_deref() == Some("price") => {
            let is_currency = rejection.reason == "currency_mismatch";
            let field = if is_currency {
                "currency"
            } else {
                "amount_minor"
            };
            rejection.field = Some(field.to_owned());
            Error::Rejected(rejection)
        }
        other => other,
    }
}

/// Stop selling a product
///
/// For good. A second time is a repeat. Carts and orders that hold it are not touched.
#[utoipa::path(
    post, path = "/v1/products/{sku}/retire", tag = "catalog", operation_id = "retire_product",
    params(("sku" = String, Path, description = "The product")),
    request_body(content = Option<Empty>),
    responses((status = 200, description = "The product is no longer sold", body = AcceptedBody))
)]
pub async fn retire(
    State(app): State<App>,
    call: Call,
    PathOf(sku): PathOf<Sku>,
    body: Option<Json<Empty>>,
) -> Result<Accepted, Error> {
    let body = body.map(|Json(body)| body).unwrap_or_default();
    let command = CatalogCommand::RetireProduct(RetireProduct { sku });
    decide(&app, &call, command, &body).await.map(Accepted::ok)
}
