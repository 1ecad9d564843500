//! A cart becomes an order.

use cartwright_events::cart::{CartCheckedOut, CartEvent, CartItemRepriced, PriceSource};
use cartwright_events::{CartId, OrderId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::open;
use super::state::{Cart, CartLine, CartStage};
use crate::catalog::{retired, unknown};
use crate::checkout::order::{self, state::Order};
use crate::checks;
use crate::context::Prices;
use crate::facts::{Decided, Facts, nothing};
use crate::price::Price;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// Make an order of a cart. A cart that is one already answers with its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckOut {
    /// The cart.
    pub cart_id: CartId,
    /// The total that the shopper agreed to: with any other, there is no order.
    #[serde(default)]
    pub expected_total: Option<Price>,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    prices: &dyn Prices,
    cart: Option<&Cart>,
    order: Option<&Order>,
    command: &CheckOut,
    now: Timestamp,
) -> Decided {
    let CheckOut {
        cart_id,
        expected_total,
        occurred_at,
    } = command;
    let order_id = OrderId::from(cart_id.clone());
    let at = checks::business_time(*occurred_at, settings.allow_occurred_at, now)?;
    let done = cart.is_some_and(|cart| cart.stage == CartStage::CheckedOut);
    if let (true, Some(placed)) = (done, order.and_then(Order::placed)) {
        let mut accepted = order::checked_out(&order_id, placed);
        let checked_out = cart.and_then(|cart| cart.checked_out.as_ref());
        accepted
            .earlier
            .extend(checked_out.map(Cart::seqs).unwrap_or_default());
        return Ok((nothing(), accepted));
    }
    let cart = open(cart, cart_id)?;
    if cart.lines.is_empty() {
        let detail = format!("there is nothing in cart {cart_id}");
        return Err(Rejection::new(Reason::CartEmpty, detail));
    }
    if let Some(expected) = expected_total {
        checks::in_currency("expected_total", &expected.currency, &cart.currency)?;
    }

    let Repriced {
        lines,
        changes,
        total_minor,
    } = reprice(prices, cart)?;
    agreed(cart, expected_total.as_ref(), &changes, total_minor)?;
    let mut facts = Facts::<CartEvent>::new(cart_id.as_str(), cart.version, at);
    for change in changes {
        facts.push(change);
    }
    facts.push(CartCheckedOut {
        order_id: order_id.clone(),
        total_minor,
        currency: cart.currency.clone(),
    });
    let placed = order::place::decide(settings, &order_id, cart, &lines, order, (at, now))?;
    let (mut decision, accepted) = placed.facts.answered(placed.messages, placed.data);
    let mut events = facts.into_events();
    events.append(&mut decision.events);
    decision.events = events;
    Ok((decision, accepted))
}

/// The cart at today's prices.
struct Repriced {
    lines: Vec<CartLine>,
    changes: Vec<CartItemRepriced>,
    total_minor: i64,
}

/// Prices the lines that the catalog priced anew; quoted lines keep their price. What is no longer
/// sold cannot be bought at any price.
fn reprice(prices: &dyn Prices, cart: &Cart) -> Result<Repriced, Rejection> {
    let mut lines = cart.lines.clone();
    let mut changes = Vec::new();
    let mut total_minor = cart.total_minor;
    for line in &mut lines {
        let product = prices
            .product(&line.sku)
            .ok_or_else(|| of_line(unknown(&line.sku), line))?;
        if product.retired {
            return Err(of_line(retired(&line.sku), line));
        }
        if line.source == PriceSource::Quoted || line.unit_price_minor == product.price_minor {
            continue;
        }
        let before = checks::in_range("cart_id", line.total_minor())?;
        let old_unit_price_minor = line.unit_price_minor;
        line.unit_price_minor = product.price_minor;
        let line_total_minor = checks::in_range("cart_id", line.total_minor())?;
        let total = total_minor
            .checked_sub(before)
            .and_then(|total| total.checked_add(line_total_minor));
        total_minor = checks::in_range("cart_id", total)?;
        changes.push(CartItemRepriced {
            line: line.line,
            sku: line.sku.clone(),
            old_unit_price_minor,
            unit_price_minor: product.price_minor,
            catalog_seq: Some(product.catalog_seq),
            line_total_minor,
            cart_total_minor: total_minor,
        });
    }
    Ok(Repriced {
        lines,
        changes,
        total_minor,
    })
}

/// A refusal because of a line of the cart: the request names nothing but the cart.
fn of_line(rejection: Rejection, line: &CartLine) -> Rejection {
    rejection.field("cart_id").with("line", line.line)
}

/// The shopper agrees: to unchanged prices by saying nothing, to anything else only by expecting
/// exactly the new total.
fn agreed(
    cart: &Cart,
    expected: Option<&Price>,
    changes: &[CartItemRepriced],
    total_minor: i64,
) -> Result<(), Rejection> {
    let price =
        |amount_minor: i64| json!({ "amount_minor": amount_minor, "currency": cart.currency });
    let expected_minor = expected.map(|price| price.amount_minor);
    if expected_minor == Some(total_minor) || (expected.is_none() && changes.is_empty()) {
        return Ok(());
    }
    let reason = if changes.is_empty() {
        Reason::TotalChanged
    } else {
        Reason::PriceChanged
    };
    let detail = format!(
        "the cart costs {total_minor} {} (minor units) now",
        cart.currency
    );
    let mut rejection = Rejection::new(reason, detail)
        .field("expected_total")
        .with("current_total", price(total_minor));
    if let Some(expected) = expected_minor {
        rejection = rejection.with("expected_total", price(expected));
    }
    if !changes.is_empty() {
        let lines: Vec<Value> = changes
            .iter()
            .map(|change| {
                json!({
                    "line": change.line,
                    "sku": change.sku,
                    "expected_price": price(change.old_unit_price_minor),
                    "current_price": price(change.unit_price_minor),
                })
            })
            .collect();
        rejection = rejection.with("lines", lines);
    }
    Err(rejection)
}
