//! A cart is opened.

use cartwright_events::{CartId, Country, Currency, CustomerId, Reference};
use serde::{Deserialize, Serialize};

use super::add_item::NewItem;

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
