//! What an item costs.

use cartwright_events::Currency;
use cartwright_events::cart::PriceSource;

use super::add_item::NewItem;
use crate::catalog::{retired, unknown};
use crate::checks;
use crate::context::Prices;
use crate::price::Price;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// An item with its price.
pub(super) struct PricedItem<'a> {
    pub(super) item: &'a NewItem,
    pub(super) name: String,
    pub(super) unit_price_minor: i64,
    pub(super) source: PriceSource,
    pub(super) catalog_seq: Option<u64>,
}

/// Prices an item for a cart in `currency`: from the catalog, or as quoted where that is allowed.
/// Only what the catalog knows and still sells can be bought, at whatever price.
pub(super) fn price_item<'a>(
    settings: &CheckoutSettings,
    prices: &dyn Prices,
    currency: &Currency,
    item: &'a NewItem,
) -> Result<PricedItem<'a>, Rejection> {
    checks::quantity("quantity", item.quantity, settings.max_line_quantity)?;
    if item.quoted_price.is_some() && item.expected_price.is_some() {
        let detail = "an item has an expected price or a quoted one, not both";
        return Err(Rejection::new(Reason::PriceGivenTwice, detail).field("quoted_price"));
    }
    if item.quoted_price.is_some() && !settings.allow_quoted_prices {
        let detail = "prices can be quoted only where the setting allow_quoted_prices is on";
        return Err(Rejection::new(Reason::QuotedPriceNotAllowed, detail).field("quoted_price"));
    }
    let product = prices
        .product(&item.sku)
        .ok_or_else(|| unknown(&item.sku))?;
    if product.retired {
        return Err(retired(&item.sku));
    }
    if let Some(quoted) = &item.quoted_price {
        checks::positive_price("quoted_price", quoted)?;
        checks::in_currency("quoted_price", &quoted.currency, currency)?;
        return Ok(PricedItem {
            item,
            name: product.name,
            unit_price_minor: quoted.amount_minor,
            source: PriceSource::Quoted,
            catalog_seq: None,
        });
    }
    checks::in_currency("sku", &product.currency, currency)?;
    if let Some(expected) = &item.expected_price {
        checks::in_currency("expected_price", &expected.currency, currency)?;
        if expected.amount_minor != product.price_minor {
            return Err(changed(item, expected, product.price_minor));
        }
    }
    Ok(PricedItem {
        item,
        name: product.name,
        unit_price_minor: product.price_minor,
        source: PriceSource::Catalog,
        catalog_seq: Some(product.catalog_seq),
    })
}

fn changed(item: &NewItem, expected: &Price, current_minor: i64) -> Rejection {
    let Price {
        amount_minor,
        currency,
    } = expected;
    let detail = format!(
        "{} costs {current_minor} {currency} (minor units) now, {amount_minor} was expected",
        item.sku
    );
    let price = |amount_minor: i64| serde_json::json!({ "amount_minor": amount_minor, "currency": currency });
    Rejection::new(Reason::PriceChanged, detail)
        .field("expected_price")
        .with("sku", item.sku.as_str())
        .with("expected_price", price(*amount_minor))
        .with("current_price", price(current_minor))
}
