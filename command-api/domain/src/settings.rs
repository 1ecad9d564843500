//! Settings of the three contexts. Every one has a default; unknown keys are refused.

use serde::{Deserialize, Serialize};

/// Settings of the catalog. There are none yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogSettings {}

/// Settings of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InventorySettings {
    /// Partitions of the inventory context, fixed at its birth. Default 2.
    pub inventory_partitions: u32,
    /// Partitions of the checkout context, fixed at its birth: answers go there. Default 2.
    pub checkout_partitions: u32,
}

impl Default for InventorySettings {
    fn default() -> Self {
        Self {
            inventory_partitions: 2,
            checkout_partitions: 2,
        }
    }
}

/// Settings of the checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckoutSettings {
    /// Whether an item's price may be quoted by the caller instead of taken from the catalog.
    /// For imports and trusted back offices. Default false.
    pub allow_quoted_prices: bool,
    /// Whether callers may say when something happened. For imports. Default false.
    pub allow_occurred_at: bool,
    /// A cart that nobody touched for so long is abandoned. Default 24 hours.
    pub cart_idle_ms: i64,
    /// An order that is not paid so long after checkout expires. Default 30 minutes.
    pub payment_deadline_ms: i64,
    /// From an authorisation on, an order has at least so long to be paid. Default 60 minutes.
    pub payment_extension_ms: i64,
    /// Most lines in a cart. Default 2,000.
    pub max_lines: usize,
    /// Most units in a line. Default 1,000,000.
    pub max_line_quantity: i64,
    /// Partitions of the inventory context, fixed at its birth: reservations go there. Default 2.
    pub inventory_partitions: u32,
}

impl Default for CheckoutSettings {
    fn default() -> Self {
        Self {
            allow_quoted_prices: false,
            allow_occurred_at: false,
            cart_idle_ms: 24 * 60 * 60 * 1000,
            payment_deadline_ms: 30 * 60 * 1000,
            payment_extension_ms: 60 * 60 * 1000,
            max_lines: 2_000,
            max_line_quantity: 1_000_000,
            inventory_partitions: 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_has_its_default_and_what_is_not_known_is_refused() {
        let settings: CheckoutSettings = serde_json::from_str(r#"{"max_lines": 7}"#).unwrap();
        let expected = CheckoutSettings {
            max_lines: 7,
            ..CheckoutSettings::default()
        };
        assert_eq!(settings, expected);
        assert!(serde_json::from_str::<CheckoutSettings>(r#"{"max_line": 7}"#).is_err());
        assert!(serde_json::from_str::<InventorySettings>(r#"{"max_lines": 7}"#).is_err());
        assert!(serde_json::from_str::<CatalogSettings>(r#"{"max_lines": 7}"#).is_err());
    }
}
