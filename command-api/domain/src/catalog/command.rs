//! What callers can ask of the catalog.

use cartwright_events::Sku;
use serde::{Deserialize, Serialize};

use super::change_price::ChangePrice;
use super::create_product::CreateProduct;
use super::retire_product::RetireProduct;

/// A command to the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", content = "body", rename_all = "snake_case")]
pub enum CatalogCommand {
    /// See [`CreateProduct`].
    CreateProduct(CreateProduct),
    /// See [`ChangePrice`].
    ChangePrice(ChangePrice),
    /// See [`RetireProduct`].
    RetireProduct(RetireProduct),
}

impl CatalogCommand {
    /// The product that it is about.
    #[must_use]
    pub fn sku(&self) -> &Sku {
        match self {
            Self::CreateProduct(command) => &command.sku,
            Self::ChangePrice(command) => &command.sku,
            Self::RetireProduct(command) => &command.sku,
        }
    }
}
