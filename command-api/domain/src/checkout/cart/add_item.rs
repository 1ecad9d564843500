//! An item is put into a cart.

use cartwright_events::cart::{CartEvent, CartItemAdded, CartItemQuantityChanged};
use cartwright_events::{CartId, Sku, Timestamp};
use serde::{Deserialize, Serialize};

use super::open;
use super::pricing::{PricedItem, price_item};
use super::state::{Cart, CartLine};
use crate::checks;
use crate::context::Prices;
use crate::facts::{Decided, Facts, object};
use crate::price::Price;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// An item to be put into a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// What.
    pub sku: Sku,
    /// Units: 1 to `max_line_quantity`.
    pub quantity: i64,
    /// The unit price that the shopper saw: if the catalog's is another, nothing is added.
    #[serde(default)]
    pub expected_price: Option<Price>,
    /// The unit price to charge instead of the catalog's; needs `allow_quoted_prices`.
    #[serde(default)]
    pub quoted_price: Option<Price>,
}

/// Put an item into a cart. It joins the line that has the same SKU, unit price and price source, or
/// becomes a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddItem {
    /// The cart.
    pub cart_id: CartId,
    /// The item.
    pub item: NewItem,
}

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    prices: &dyn Prices,
    cart: Option<&Cart>,
    command: &AddItem,
    now: Timestamp,
) -> Decided {
    let id = command.cart_id.as_str();
    let cart = open(cart, &command.cart_id)?;
    let priced = price_item(settings, prices, &cart.currency, &command.item)?;
    let mut facts = Facts::<CartEvent>::new(id, cart.version, cart.next_change(now));

    let same = cart.lines.iter().find(|line| {
        line.sku == priced.item.sku
            && line.unit_price_minor == priced.unit_price_minor
            && line.source == priced.source
    });
    let (line, quantity, line_total, cart_total) = match same {
        Some(line) => {
            let body = raised(settings, cart, line, priced.item.quantity)?;
            let resulting = (
                body.line,
                body.quantity,
                body.line_total_minor,
                body.cart_total_minor,
            );
            facts.push(body);
            resulting
        }
        None => {
            has_room(settings, cart.lines.len(), "sku")?;
            let body = added(
                cart.next_line,
                &priced,
                priced.item.quantity,
                cart.total_minor,
            )?;
            let resulting = (
                body.line,
                body.quantity,
                body.line_total_minor,
                body.cart_total_minor,
            );
            facts.push(body);
            resulting
        }
    };
    let mut data = object(cart.data(id, cart_total));
    data.insert("line".to_owned(), line.into());
    data.insert("sku".to_owned(), command.item.sku.as_str().into());
    data.insert("quantity".to_owned(), quantity.into());
    data.insert(
        "unit_price_minor".to_owned(),
        priced.unit_price_minor.into(),
    );
    data.insert("line_total_minor".to_owned(), line_total.into());
    Ok(facts.answered(Vec::new(), data.into()))
}

/// The line with `more` units.
fn raised(
    settings: &CheckoutSettings,
    cart: &Cart,
    line: &CartLine,
    more: i64,
) -> Result<CartItemQuantityChanged, Rejection> {
    let quantity = checks::in_range("quantity", line.quantity.checked_add(more))?;
    checks::quantity("quantity", quantity, settings.max_line_quantity)?;
    changed(cart, line, quantity)
}

/// The line with another number of units.
pub(super) fn changed(
    cart: &Cart,
    line: &CartLine,
    quantity: i64,
) -> Result<CartItemQuantityChanged, Rejection> {
    let total = line.unit_price_minor.checked_mul(quantity);
    let line_total_minor = checks::in_range("quantity", total)?;
    let cart_total = cart.total_with(Some(line), line_total_minor);
    Ok(CartItemQuantityChanged {
        line: line.line,
        sku: line.sku.clone(),
        old_quantity: line.quantity,
        quantity,
        unit_price_minor: line.unit_price_minor,
        line_total_minor,
        cart_total_minor: checks::in_range("quantity", cart_total)?,
    })
}

/// A new line, put into a cart that costs `cart_total_minor` so far.
pub(super) fn added(
    line: u32,
    priced: &PricedItem<'_>,
    quantity: i64,
    cart_total_minor: i64,
) -> Result<CartItemAdded, Rejection> {
    let total = priced.unit_price_minor.checked_mul(quantity);
    let line_total_minor = checks::in_range("quantity", total)?;
    let cart_total = cart_total_minor.checked_add(line_total_minor);
    Ok(CartItemAdded {
        line,
        sku: priced.item.sku.clone(),
        name: priced.name.clone(),
        quantity,
        unit_price_minor: priced.unit_price_minor,
        price_source: priced.source,
        catalog_seq: priced.catalog_seq,
        line_total_minor,
        cart_total_minor: checks::in_range("quantity", cart_total)?,
    })
}

/// A cart with `lines` lines can take one more, which `field` asks for.
pub(super) fn has_room(
    settings: &CheckoutSettings,
    lines: usize,
    field: &str,
) -> Result<(), Rejection> {
    if lines < settings.max_lines {
        return Ok(());
    }
    let detail = format!("a cart has at most {} lines", settings.max_lines);
    Err(Rejection::new(Reason::TooManyLines, detail)
        .field(field)
        .with("most", settings.max_lines))
}
