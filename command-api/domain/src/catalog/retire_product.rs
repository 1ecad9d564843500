//! A product is no longer sold.

use cartwright_events::Sku;
use serde::{Deserialize, Serialize};

/// Stop selling a product, for good. A second time is a repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireProduct {
    /// The product.
    pub sku: Sku,
}
