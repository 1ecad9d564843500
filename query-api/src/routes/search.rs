//! Search.

use axum::extract::State;
use axum::response::Response;
use cartwright_read_model::postgres::{SearchCursor, search_products};
use cartwright_read_model::tables::projections::CATALOG;
use cartwright_service::extract::Query;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::answers::{FoundProduct, FoundProducts};
use crate::app::App;
use crate::ask::Ask;
use crate::cursor::{List, page};
use crate::errors::Error;
use crate::params::{MAX_LIMIT, limit, search};

/// Parameters of a search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchParameters {
    /// Words, with quotes, `or` and `-` as in web search engines; half a word and a typing error
    /// find the product too.
    #[param(min_length = 1, max_length = 200)]
    q: String,
    /// Rows of a page. Default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The name of a point in time that the view was built for; without it, the present.
    #[serde(rename = "as_of")]
    _as_of: Option<String>,
}

/// Products that are sold and fit some words, best first.
#[utoipa::path(get, path = "/v1/search/products", tag = "products", params(SearchParameters),
    responses((status = 200, body = FoundProducts)))]
pub async fn products(
    State(app): State<App>,
    Query(parameters): Query<SearchParameters>,
    ask: Ask,
) -> Result<Response, Error> {
    let text = search(&parameters.q)?;
    let limit = limit(parameters.limit, MAX_LIMIT)?;
    let mut list = List::new("search", &CATALOG, parameters.cursor.as_deref())?;
    let after: Option<SearchCursor> = list.after(&[text])?;

    let fresh = app.capture_list(&mut list, &ask).await?;
    let lease = app.stores().relational.lease().await?;
    let (client, version) = (lease.client(), fresh.version());
    let read = search_products(client, version, text, after.as_ref(), limit + 1);
    let rows = lease.run(read).await?;
    let (rows, next_cursor) = page(&list, rows, limit, |last| SearchCursor {
        score: last.score,
        sku: last.product.sku.clone(),
    });
    Ok(fresh.ok(FoundProducts {
        items: rows.into_iter().map(FoundProduct::from).collect(),
        next_cursor,
    }))
}
