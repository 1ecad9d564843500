//! Lists of products, and search over them.

use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::{from_sql, typed_rows};
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::row::TypedRow;
use crate::rows::CatalogRow;
use crate::tables::CATALOG_PRODUCTS;

/// A product that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SearchHit {
    /// The product.
    #[serde(flatten)]
    pub product: CatalogRow,
    /// How well it fits, larger is better; only to be compared within one search.
    pub score: i64,
}

/// The last hit of a page, to go on after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchCursor {
    /// Its score.
    pub score: i64,
    /// Its SKU.
    pub sku: String,
}

/// Products by SKU in `version` of the catalog, after `after` (keyset paging); at most `limit`.
/// Retired products are left out unless asked for. What only a later event told of (the event that
/// made the product was given up) is no product, and must not take a place on a page.
///
/// # Errors
/// What the store said.
pub async fn list_products(
    client: &impl GenericClient,
    version: u32,
    after: Option<&str>,
    include_retired: bool,
    limit: u32,
) -> Result<Vec<CatalogRow>, ReadModelError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE sku > $1 AND created_at IS NOT NULL AND (NOT retired OR $2) \
         ORDER BY sku LIMIT $3",
        names(CATALOG_PRODUCTS.columns()),
        CATALOG_PRODUCTS.physical_name(version),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&after.unwrap_or(""), Type::TEXT),
                (&include_retired, Type::BOOL),
                (&i64::from(limit), Type::INT8),
            ],
        )
        .await?;
    typed_rows(&rows)
}

/// Products of `version` of the catalog that fit `text`, best first, after `after` (keyset paging);
/// at most `limit`. Retired products are left out, and so is what only a later event told of: it is not
/// known to be on sale.
///
/// A product fits when its name, description or SKU has all the words (quotes, `or` and `-` as in
/// web search engines), or when its name and SKU hold the text or something close to it, so that
/// half a word and a typing error find it too.
///
/// # Errors
/// What the store said.
pub async fn search_products(
    client: &impl GenericClient,
    version: u32,
    text: &str,
    after: Option<&SearchCursor>,
    limit: u32,
) -> Result<Vec<SearchHit>, ReadModelError> {
    // The expressions are those of the table's indexes, letter by letter.
    let columns = names(CATALOG_PRODUCTS.columns());
    let sql = format!(
        "WITH hits AS (
           SELECT {columns}, (1000 * (
             ts_rank(to_tsvector('simple', coalesce(name, '') || ' ' || coalesce(description, '') || ' ' || sku), query)
             + word_similarity(lower($1), lower(coalesce(name, '') || ' ' || sku))
             + CASE WHEN lower(sku) = lower($1) THEN 10 ELSE 0 END))::bigint AS score
           FROM {}, websearch_to_tsquery('simple', $1) AS query
           WHERE NOT retired AND (
             to_tsvector('simple', coalesce(name, '') || ' ' || coalesce(description, '') || ' ' || sku) @@ query
             OR lower($1) <% lower(coalesce(name, '') || ' ' || sku)
             OR lower(coalesce(name, '') || ' ' || sku) LIKE $5))
         SELECT {columns}, score FROM hits
         WHERE $2::bigint IS NULL OR score < $2 OR (score = $2 AND sku > $3)
         ORDER BY score DESC, sku LIMIT $4",
        CATALOG_PRODUCTS.physical_name(version),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&text, Type::TEXT),
                (&after.map(|cursor| cursor.score), Type::INT8),
                (&after.map_or("", |cursor| cursor.sku.as_str()), Type::TEXT),
                (&i64::from(limit), Type::INT8),
                (&like_pattern(text), Type::TEXT),
            ],
        )
        .await?;
    let mut hits = Vec::with_capacity(rows.len());
    for row in &rows {
        let product = CatalogRow::from_row(&from_sql(&CATALOG_PRODUCTS, row)?);
        let score = row.try_get("score")?;
        hits.extend(product.map(|product| SearchHit { product, score }));
    }
    Ok(hits)
}

/// `%text%`, lower case, with the pattern's own signs escaped.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signs_of_a_pattern_are_searched_for_as_they_are() {
        assert_eq!(like_pattern("50%_Off\\"), "%50\\%\\_off\\\\%");
    }
}
