//! A line's number of units changes.

use cartwright_events::cart::CartEvent;
use cartwright_events::{CartId, Timestamp};
use serde::{Deserialize, Serialize};

use super::add_item::changed;
use super::state::Cart;
use super::{line_of, open};
use crate::checks;
use crate::facts::{Decided, Facts, object, repeat};
use crate::memory::Written;
use crate::settings::CheckoutSettings;

/// Set a line's number of units. The number that it already has is accepted and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeItem {
    /// The cart.
    pub cart_id: CartId,
    /// The line.
    pub line: u32,
    /// Units from now on: 1 to `max_line_quantity`.
    pub quantity: i64,
}

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    cart: Option<&Cart>,
    command: &ChangeItem,
    now: Timestamp,
) -> Decided {
    let ChangeItem {
        cart_id,
        line,
        quantity,
    } = command;
    checks::quantity("quantity", *quantity, settings.max_line_quantity)?;
    let cart = open(cart, cart_id)?;
    let line = line_of(cart, cart_id, *line)?;

    let body = changed(cart, line, *quantity)?;
    let mut data = object(cart.data(cart_id.as_str(), body.cart_total_minor));
    data.insert("line".to_owned(), line.line.into());
    data.insert("sku".to_owned(), line.sku.as_str().into());
    data.insert("quantity".to_owned(), body.quantity.into());
    data.insert("unit_price_minor".to_owned(), line.unit_price_minor.into());
    data.insert("line_total_minor".to_owned(), body.line_total_minor.into());
    if line.quantity == *quantity {
        let latest = Written::one(cart.version, cart.last_seq);
        return Ok(repeat(
            cart_id.as_str(),
            cart.version,
            Cart::seqs(&latest),
            data.into(),
        ));
    }
    let at = cart.next_change(now);
    let mut facts = Facts::<CartEvent>::new(cart_id.as_str(), cart.version, at);
    facts.push(body);
    Ok(facts.answered(Vec::new(), data.into()))
}
