//! What callers can ask of the checkout.

use serde::{Deserialize, Serialize};

use super::cart::add_item::AddItem;
use super::cart::change_item::ChangeItem;
use super::cart::check_out::CheckOut;
use super::cart::create::CreateCart;
use super::cart::remove_item::RemoveItem;
use super::order::cancel::Cancel;
use super::order::pay::Pay;
use super::order::return_goods::Return;
use super::order::ship::Ship;

/// A command to the checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", content = "body", rename_all = "snake_case")]
pub enum CheckoutCommand {
    /// See [`CreateCart`].
    CreateCart(CreateCart),
    /// See [`AddItem`].
    AddItem(AddItem),
    /// See [`ChangeItem`].
    ChangeItem(ChangeItem),
    /// See [`RemoveItem`].
    RemoveItem(RemoveItem),
    /// See [`CheckOut`].
    CheckOut(CheckOut),
    /// See [`Pay`].
    Pay(Pay),
    /// See [`Ship`].
    Ship(Ship),
    /// See [`Return`].
    Return(Return),
    /// See [`Cancel`].
    Cancel(Cancel),
}

impl CheckoutCommand {
    /// Whether its decision looks at the catalog's prices.
    #[must_use]
    pub fn needs_prices(&self) -> bool {
        match self {
            Self::CreateCart(command) => !command.items.is_empty(),
            Self::AddItem(_) | Self::CheckOut(_) => true,
            Self::ChangeItem(_)
            | Self::RemoveItem(_)
            | Self::Pay(_)
            | Self::Ship(_)
            | Self::Return(_)
            | Self::Cancel(_) => false,
        }
    }

    /// The cart or order that it is about.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::CreateCart(command) => command.cart_id.as_str(),
            Self::AddItem(command) => command.cart_id.as_str(),
            Self::ChangeItem(command) => command.cart_id.as_str(),
            Self::RemoveItem(command) => command.cart_id.as_str(),
            Self::CheckOut(command) => command.cart_id.as_str(),
            Self::Pay(command) => command.order_id.as_str(),
            Self::Ship(command) => command.order_id.as_str(),
            Self::Return(command) => command.order_id.as_str(),
            Self::Cancel(command) => command.order_id.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CheckoutCommand;

    #[test]
    fn a_field_that_nobody_knows_is_refused() {
        let known = r#"{"command":"remove_item","body":{"cart_id":"c","line":1}}"#;
        assert!(serde_json::from_str::<CheckoutCommand>(known).is_ok());
        let unknown = r#"{"command":"remove_item","body":{"cart_id":"c","line":1,"force":true}}"#;
        assert!(serde_json::from_str::<CheckoutCommand>(unknown).is_err());
    }
}
