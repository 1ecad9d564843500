//! A line is taken out of a cart.

use cartwright_events::cart::{CartEvent, CartItemRemoved};
use cartwright_events::{CartId, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::Cart;
use super::{line_of, open};
use crate::checks;
use crate::facts::{Decided, Facts, object};

/// Take a line out of a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveItem {
    /// The cart.
    pub cart_id: CartId,
    /// The line.
    pub line: u32,
}

pub(in crate::checkout) fn decide(
    cart: Option<&Cart>,
    command: &RemoveItem,
    now: Timestamp,
) -> Decided {
    let RemoveItem { cart_id, line } = command;
    let cart = open(cart, cart_id)?;
    let line = line_of(cart, cart_id, *line)?;
    let cart_total_minor = checks::in_range("line", cart.total_with(Some(line), 0))?;

    let mut facts = Facts::<CartEvent>::new(cart_id.as_str(), cart.version, cart.next_change(now));
    facts.push(CartItemRemoved {
        line: line.line,
        sku: line.sku.clone(),
        quantity: line.quantity,
        cart_total_minor,
    });
    let mut data = object(cart.data(cart_id.as_str(), cart_total_minor));
    data.insert("line".to_owned(), line.line.into());
    Ok(facts.answered(Vec::new(), data.into()))
}
