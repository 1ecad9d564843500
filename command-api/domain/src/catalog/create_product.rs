//! A product enters the catalog.

use cartwright_events::catalog::{ProductCreated, ProductEvent};
use cartwright_events::{Sku, Timestamp};
use serde::{Deserialize, Serialize};

use super::product::{Product, content};
use crate::checks;
use crate::facts::{Decided, Facts, repeat};
use crate::price::Price;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Enter a product into the catalog. Again with the same content: a repeat; with other content:
/// `product_exists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateProduct {
    /// The product.
    pub sku: Sku,
    /// Name shown to shoppers: 1 to 500 characters, not blank.
    pub name: String,
    /// Longer text shown to shoppers: up to 5,000 characters.
    #[serde(default)]
    pub description: Option<String>,
    /// Price of one unit, above zero. Its currency is the product's for life.
    pub price: Price,
}

/// Most characters of a name.
pub const MAX_NAME_CHARS: usize = 500;
/// Most characters of a description.
pub const MAX_DESCRIPTION_CHARS: usize = 5_000;

pub(super) fn decide(
    product: Option<&Product>,
    command: &CreateProduct,
    now: Timestamp,
) -> Decided {
    let (sku, price) = (command.sku.as_str(), &command.price);
    let description = command.description.as_deref();
    checks::text("name", &command.name, MAX_NAME_CHARS)?;
    checks::at_most(
        "description",
        description.unwrap_or_default(),
        MAX_DESCRIPTION_CHARS,
    )?;
    checks::positive_price("price", price)?;

    if let Some(product) = product {
        let content = content(
            &command.name,
            description,
            price.amount_minor,
            &price.currency,
        );
        if product.created_content != content {
            let detail = format!("{sku} was created with other content");
            return Err(Rejection::new(Reason::ProductExists, detail).field("sku"));
        }
        let created = &product.created;
        let data = Product::data(sku, product.created_price_minor, &product.currency, false);
        return Ok(repeat(sku, created.version, Product::seqs(created), data));
    }

    let mut facts = Facts::<ProductEvent>::new(sku, 0, now);
    facts.push(ProductCreated {
        name: command.name.clone(),
        description: command.description.clone(),
        price_minor: price.amount_minor,
        currency: price.currency.clone(),
    });
    let data = Product::data(sku, price.amount_minor, &price.currency, false);
    Ok(facts.answered(Vec::new(), data))
}
