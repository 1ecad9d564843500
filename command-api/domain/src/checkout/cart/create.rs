//! A cart is opened.

use std::collections::HashMap;

use cartwright_events::cart::{CartCreated, CartEvent};
use cartwright_events::{CartId, Country, Currency, CustomerId, Reference, Sku, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::add_item::{NewItem, added, has_room};
use super::pricing::price_item;
use super::state::{Cart, content, with_item};
use crate::checks;
use crate::context::Prices;
use crate::facts::{Decided, Facts, repeat};
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// Open a cart. Again with the same content: a repeat; with other content: `cart_exists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCart {
    /// The cart's id, which will be the order's too.
    pub cart_id: CartId,
    /// Who shops; none for a guest.
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    /// Currency of all prices in the cart.
    pub currency: Currency,
    /// Where the order will ship to.
    #[serde(default)]
    pub ship_to_country: Option<Country>,
    /// The shop's own number for what becomes of the cart.
    #[serde(default)]
    pub external_reference: Option<Reference>,
    /// What is in it from the start. Items of the same SKU and price become one line.
    #[serde(default)]
    pub items: Vec<NewItem>,
}

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    prices: &dyn Prices,
    cart: Option<&Cart>,
    command: &CreateCart,
    now: Timestamp,
) -> Decided {
    let id = command.cart_id.as_str();
    let future_lines = future_lines(command)?;
    if let Some(cart) = cart {
        return repeated(cart, command, &future_lines);
    }

    let priced = command
        .items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            price_item(settings, prices, &command.currency, item)
                .map_err(|rejection| rejection.under(&format!("items[{index}]")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut facts = Facts::<CartEvent>::new(id, 0, now);
    facts.push(CartCreated {
        customer_id: command.customer_id.clone(),
        currency: command.currency.clone(),
        ship_to_country: command.ship_to_country.clone(),
        external_reference: command.external_reference.clone(),
    });
    let mut total_minor = 0;
    let mut lines = Vec::with_capacity(future_lines.len());
    for (line, future) in (1u32..).zip(&future_lines) {
        has_room(settings, lines.len(), "items")?;
        let Some(item) = priced.get(future.first_item) else {
            continue;
        };
        let body = checks::quantity("quantity", future.quantity, settings.max_line_quantity)
            .and_then(|()| added(line, item, future.quantity, total_minor))
            .map_err(|rejection| rejection.under(&format!("items[{}]", future.first_item)))?;
        total_minor = body.cart_total_minor;
        lines.push(json!({
            "line": line,
            "sku": body.sku,
            "quantity": body.quantity,
            "unit_price_minor": body.unit_price_minor,
            "line_total_minor": body.line_total_minor,
        }));
        facts.push(body);
    }
    let data = json!({
        "cart_id": id,
        "cart_total_minor": total_minor,
        "currency": command.currency,
        "lines": lines,
    });
    Ok(facts.answered(Vec::new(), data))
}

/// The answer when the cart exists: a repeat, if it was created with just this.
fn repeated(cart: &Cart, command: &CreateCart, lines: &[FutureLine<'_>]) -> Decided {
    let id = command.cart_id.as_str();
    let attributes = content(
        command.customer_id.as_ref(),
        &command.currency,
        command.ship_to_country.as_ref(),
        command.external_reference.as_ref(),
    );
    let asked = lines.iter().fold(attributes, |content, line| {
        with_item(content, line.sku, line.quantity, line.quoted_minor)
    });
    if cart.created_content != asked {
        let detail = format!("cart {id} was created with other content");
        return Err(Rejection::new(Reason::CartExists, detail).field("cart_id"));
    }
    let data = cart.data(id, cart.total_minor);
    Ok(repeat(
        id,
        cart.created.version,
        Cart::seqs(&cart.created),
        data,
    ))
}

/// Items that will share a line.
struct FutureLine<'a> {
    first_item: usize,
    sku: &'a Sku,
    quoted_minor: Option<i64>,
    quantity: i64,
}

/// The lines that the items will make. At one moment the catalog has one price for a SKU, so the SKU
/// and what is quoted tell, without looking at prices: a repeat must not depend on today's.
fn future_lines(command: &CreateCart) -> Result<Vec<FutureLine<'_>>, Rejection> {
    let mut places: HashMap<(&Sku, Option<i64>), usize> = HashMap::new();
    let mut lines: Vec<FutureLine<'_>> = Vec::new();
    for (first_item, item) in command.items.iter().enumerate() {
        if let Some(quoted) = &item.quoted_price {
            checks::in_currency("quoted_price", &quoted.currency, &command.currency)
                .map_err(|rejection| rejection.under(&format!("items[{first_item}]")))?;
        }
        let quoted_minor = item.quoted_price.as_ref().map(|price| price.amount_minor);
        let place = *places
            .entry((&item.sku, quoted_minor))
            .or_insert(lines.len());
        if let Some(line) = lines.get_mut(place) {
            line.quantity = line.quantity.saturating_add(item.quantity);
        } else {
            lines.push(FutureLine {
                first_item,
                sku: &item.sku,
                quoted_minor,
                quantity: item.quantity,
            });
        }
    }
    Ok(lines)
}
