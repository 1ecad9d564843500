//! Products, their list and their availability.

use axum::extract::State;
use axum::response::Response;
use cartwright_events::Sku;
use cartwright_read_model::postgres::list_products;
use cartwright_read_model::tables::projections::{CATALOG, PRODUCTS, STOCK};
use cartwright_service::extract::{Path, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::answers::{Availability, Product, Products};
use crate::app::App;
use crate::ask::Ask;
use crate::cursor::{List, page};
use crate::errors::Error;
use crate::params::{MAX_LIMIT, ReadParameters, limit};

/// Parameters of the list of products.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Whether products that are no longer sold are in it. Default false.
    #[serde(default)]
    include_retired: bool,
    /// Rows of a page. Default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The name of a point in time that the view was built for; without it, the present.
    #[serde(rename = "as_of")]
    _as_of: Option<String>,
}

/// A product as it is now.
#[utoipa::path(get, path = "/v1/products/{sku}", tag = "products",
    params(("sku" = String, Path, description = "Stock keeping unit"), ReadParameters),
    responses((status = 200, body = Product), (status = 404, description = "product_not_found")))]
pub async fn product(
    State(app): State<App>,
    Path(sku): Path<Sku>,
    Query(ReadParameters { .. }): Query<ReadParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let fresh = app.capture(&PRODUCTS, sku.as_str(), &ask).await?;
    let by_key = &app.stores().by_key;
    let row = by_key
        .run(by_key.views()?.product(fresh.version(), sku.as_str()))
        .await?;
    Ok(match row {
        Some(row) => fresh.entity(&ask, row.row_seq, Product::from(row)),
        None => fresh.not_found("product_not_found", format!("There is no product {sku}")),
    })
}

/// How much of a product can be sold. A product that nothing was ever received of has none.
#[utoipa::path(get, path = "/v1/products/{sku}/availability", tag = "products",
    params(("sku" = String, Path, description = "Stock keeping unit"), ReadParameters),
    responses((status = 200, body = Availability),
        (status = 404, description = "product_not_found: neither the catalog nor the warehouse knows it")))]
pub async fn availability(
    State(app): State<App>,
    Path(sku): Path<Sku>,
    Query(ReadParameters { .. }): Query<ReadParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    // Now, or an answer could be labelled with another version than it was read from.
    let products = app.choose(&PRODUCTS, &ask);
    let fresh = app.capture(&STOCK, sku.as_str(), &ask).await?;
    let by_key = &app.stores().by_key;
    let views = by_key.views()?;
    if let Some(row) = by_key
        .run(views.stock(fresh.version(), sku.as_str()))
        .await?
    {
        return Ok(fresh.entity(&ask, row.row_seq, Availability::from(row)));
    }
    // Whether there is such a product is for the catalog to say, which then has to hold its part of
    // the position too.
    let products = products?;
    let fresh = app.freshness.extend(fresh, products, &ask).await?;
    let fresh = app.freshness.about(fresh, &[sku.to_string()]).await?;
    let row = by_key.run(views.product(products.version, sku.as_str()));
    Ok(match row.await? {
        Some(row) => fresh.entity(&ask, 0, Availability::none(row.sku)),
        None => fresh.not_found("product_not_found", format!("There is no product {sku}")),
    })
}

/// Products by SKU, page by page.
#[utoipa::path(get, path = "/v1/products", tag = "products", params(ListParameters),
    responses((status = 200, body = Products)))]
pub async fn list(
    State(app): State<App>,
    Query(parameters): Query<ListParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let limit = limit(parameters.limit, MAX_LIMIT)?;
    let include_retired = parameters.include_retired;
    let mut list = List::new("products", &CATALOG, parameters.cursor.as_deref())?;
    let after: Option<String> = list.after(&[&include_retired.to_string()])?;

    let fresh = app.capture_list(&mut list, &ask).await?;
    let lease = app.stores().relational.lease().await?;
    let (client, version) = (lease.client(), fresh.version());
    let read = list_products(
        client,
        version,
        after.as_deref(),
        include_retired,
        limit + 1,
    );
    let rows = lease.run(read).await?;
    let (rows, next_cursor) = page(&list, rows, limit, |last| last.sku.clone());
    Ok(fresh.ok(Products {
        items: rows.into_iter().map(Product::from).collect(),
        next_cursor,
    }))
}
