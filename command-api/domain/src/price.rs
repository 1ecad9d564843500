//! An amount of money with its currency, as commands carry it.

use cartwright_events::Currency;
use serde::{Deserialize, Serialize};

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The amount, in minor units of the currency.
    pub amount_minor: i64,
    /// The currency.
    pub currency: Currency,
}
