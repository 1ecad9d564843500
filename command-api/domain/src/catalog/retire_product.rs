//! A product is no longer sold.

use cartwright_events::catalog::{ProductEvent, ProductRetired};
use cartwright_events::{Sku, Timestamp};
use serde::{Deserialize, Serialize};

use super::product::Product;
use super::unknown;
use crate::facts::{Decided, Facts, repeat};

/// Stop selling a product, for good. A second time is a repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireProduct {
    /// The product.
    pub sku: Sku,
}

pub(super) fn decide(
    product: Option<&Product>,
    command: &RetireProduct,
    now: Timestamp,
) -> Decided {
    let sku = command.sku.as_str();
    let product = product.ok_or_else(|| unknown(&command.sku))?;
    let data = Product::data(sku, product.price_minor, &product.currency, true);
    if let Some(retired) = &product.retired {
        return Ok(repeat(sku, retired.version, Product::seqs(retired), data));
    }
    let mut facts = Facts::<ProductEvent>::new(sku, product.version, now);
    facts.push(ProductRetired {
        price_minor: product.price_minor,
        currency: product.currency.clone(),
    });
    Ok(facts.answered(Vec::new(), data))
}
