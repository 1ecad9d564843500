//! What callers can ask of the inventory.

use cartwright_events::Sku;
use serde::{Deserialize, Serialize};

use super::adjust::AdjustStock;
use super::receive::ReceiveStock;

/// A command to the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", content = "body", rename_all = "snake_case")]
pub enum InventoryCommand {
    /// See [`ReceiveStock`].
    ReceiveStock(ReceiveStock),
    /// See [`AdjustStock`].
    AdjustStock(AdjustStock),
}

impl InventoryCommand {
    /// The SKU that it is about.
    #[must_use]
    pub fn sku(&self) -> &Sku {
        match self {
            Self::ReceiveStock(command) => &command.sku,
            Self::AdjustStock(command) => &command.sku,
        }
    }
}
