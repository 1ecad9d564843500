//! A cart: lines with prices that add up to its total, until it becomes an order or is abandoned.

pub(super) mod abandon;
pub mod add_item;
pub mod change_item;
pub mod check_out;
pub mod create;
mod pricing;
pub mod remove_item;
pub mod state;

use cartwright_events::{CartId, OrderId};

use crate::reason::Reason;
use crate::rejection::Rejection;
use state::{Cart, CartLine, CartStage};

/// The cart, if there is one and it takes changes.
fn open<'a>(cart: Option<&'a Cart>, id: &CartId) -> Result<&'a Cart, Rejection> {
    let cart = cart.ok_or_else(|| {
        Rejection::new(Reason::UnknownCart, format!("there is no cart {id}"))
            .field("cart_id")
            .with("cart_id", id.as_str())
    })?;
    match cart.stage {
        CartStage::Open => Ok(cart),
        CartStage::CheckedOut => {
            let order_id = OrderId::from(id.clone());
            let detail = format!("cart {id} has become order {order_id}");
            Err(Rejection::new(Reason::CartCheckedOut, detail).with("order_id", order_id.as_str()))
        }
        CartStage::Abandoned => {
            let detail = format!("cart {id} was left alone for too long");
            Err(Rejection::new(Reason::CartAbandoned, detail)
                .with("abandoned_at", cart.changed_at.to_string()))
        }
    }
}

/// The line of an open cart.
fn line_of<'a>(cart: &'a Cart, id: &CartId, line: u32) -> Result<&'a CartLine, Rejection> {
    cart.line(line).ok_or_else(|| {
        Rejection::new(Reason::UnknownLine, format!("cart {id} has no line {line}"))
            .field("line")
            .with("line", line)
    })
}

#[cfg(test)]
mod tests;
