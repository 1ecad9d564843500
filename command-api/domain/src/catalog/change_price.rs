//! A product's price changes.

use cartwright_events::catalog::{ProductEvent, ProductPriceChanged};
use cartwright_events::{Sku, Timestamp};
use serde::{Deserialize, Serialize};

use super::product::Product;
use super::{retired, unknown};
use crate::checks;
use crate::facts::{Decided, Facts, repeat};
use crate::price::Price;

/// Set the price of one unit. The price that it already has is accepted and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePrice {
    /// The product.
    pub sku: Sku,
    /// The new price, above zero, in the product's currency.
    pub price: Price,
}

pub(super) fn decide(product: Option<&Product>, command: &ChangePrice, now: Timestamp) -> Decided {
    let (sku, price) = (command.sku.as_str(), &command.price);
    checks::positive_price("price", price)?;
    let product = product.ok_or_else(|| unknown(&command.sku))?;
    if product.retired.is_some() {
        return Err(retired(&command.sku));
    }
    checks::in_currency("price", &price.currency, &product.currency)?;

    let data = Product::data(sku, price.amount_minor, &product.currency, false);
    if price.amount_minor == product.price_minor {
        let priced = &product.priced;
        return Ok(repeat(sku, priced.version, Product::seqs(priced), data));
    }
    let mut facts = Facts::<ProductEvent>::new(sku, product.version, now);
    facts.push(ProductPriceChanged {
        old_price_minor: product.price_minor,
        price_minor: price.amount_minor,
        currency: product.currency.clone(),
    });
    Ok(facts.answered(Vec::new(), data))
}
