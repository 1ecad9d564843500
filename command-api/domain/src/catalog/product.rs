//! A product: its state and how it evolves.

use cartwright_events::catalog::{ProductCreated, ProductEvent};
use cartwright_events::{Currency, Event, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::EvolveError;
use crate::facts::{misfit, must_be, must_follow};
use crate::memory::{Digest, Written};

/// A product as the catalog's writer needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub(super) version: u64,
    pub(super) price_minor: i64,
    pub(super) currency: Currency,
    pub(super) created_content: Digest,
    pub(super) created_price_minor: i64,
    pub(super) created: Written,
    /// The event that set the present price.
    pub(super) priced: Written,
    pub(super) retired: Option<Written>,
}

impl Product {
    /// What a caller is told of a product at some price.
    pub(super) fn data(sku: &str, price_minor: i64, currency: &Currency, retired: bool) -> Value {
        json!({
            "sku": sku,
            "price_minor": price_minor,
            "currency": currency,
            "retired": retired,
        })
    }

    /// Where an earlier event of the product stands.
    pub(super) fn seqs(written: &Written) -> Vec<(Stream, u64)> {
        written.seqs(Stream::Product)
    }
}

/// The digest of what a product was created with.
pub(super) fn content(
    name: &str,
    description: Option<&str>,
    price_minor: i64,
    currency: &Currency,
) -> Digest {
    Digest::new()
        .text(name)
        .maybe_text(description)
        .number(price_minor)
        .text(currency.as_str())
}

/// The product after `event`.
pub(super) fn evolve(
    product: Option<Product>,
    event: &Event,
    body: &ProductEvent,
    seq: u64,
) -> Result<Product, EvolveError> {
    let written = Written::one(event.version, seq);
    let mut product = match (product, body) {
        (None, ProductEvent::Created(created)) => return create(event, created, written),
        (Some(_), ProductEvent::Created(_)) => return Err(misfit(event, "the product exists")),
        (None, _) => return Err(misfit(event, "there is no such product")),
        (Some(product), _) => product,
    };
    must_follow(event, product.version)?;
    if product.retired.is_some() {
        return Err(misfit(event, "the product is retired"));
    }
    match body {
        ProductEvent::Created(_) => {}
        ProductEvent::PriceChanged(changed) => {
            must_be(
                event,
                "old_price_minor",
                changed.old_price_minor,
                product.price_minor,
            )?;
            must_be(event, "currency", &changed.currency, &product.currency)?;
            product.price_minor = changed.price_minor;
            product.priced = written;
        }
        ProductEvent::Retired(retired) => {
            must_be(
                event,
                "price_minor",
                retired.price_minor,
                product.price_minor,
            )?;
            product.retired = Some(written);
        }
    }
    product.version = event.version;
    Ok(product)
}

fn create(event: &Event, body: &ProductCreated, written: Written) -> Result<Product, EvolveError> {
    must_follow(event, 0)?;
    if body.price_minor <= 0 {
        return Err(misfit(event, "the price is not above zero"));
    }
    Ok(Product {
        version: event.version,
        price_minor: body.price_minor,
        currency: body.currency.clone(),
        created_content: content(
            &body.name,
            body.description.as_deref(),
            body.price_minor,
            &body.currency,
        ),
        created_price_minor: body.price_minor,
        created: written,
        priced: written,
        retired: None,
    })
}
