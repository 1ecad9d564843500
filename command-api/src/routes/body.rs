//! Parts of bodies that several commands share.

use cartwright_domain::Price;
use cartwright_events::Currency;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An amount of money.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// The amount, in minor units of the currency (cents, pence).
    #[schema(example = 1295)]
    pub amount_minor: i64,
    /// ISO 4217.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "GBP")]
    pub currency: Currency,
}

impl From<Money> for Price {
    fn from(money: Money) -> Price {
        Price {
            amount_minor: money.amount_minor,
            currency: money.currency,
        }
    }
}

/// A body without a field: `{}`, or none at all.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// What every accepted command is answered with, beside members of its own.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedBody {
    /// The aggregate: a SKU, a cart id or an order id.
    #[schema(example = "8e03978e-40d5-53e8-bc93-6894a57f9324")]
    pub id: String,
    /// The aggregate's version after the command; for a repeat, after what it repeats.
    #[schema(example = 3)]
    pub version: u64,
    /// Where its events stand: give it to a read as `Cartwright-Position`, to read your own write.
    #[schema(example = "g1:c0=12,o0=7")]
    pub position: String,
    /// What the command has to say beside that.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a checkout is answered with.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckoutBody {
    /// The aggregate's id, the cart's and the order's at once.
    pub id: String,
    /// The order, which has the id of its cart.
    pub order_id: String,
    /// The order's status as far as it is decided: `pending` (stock is being asked for),
    /// `confirmed`, `rejected`, …
    #[schema(example = "confirmed")]
    pub status: String,
    /// The order's total, in minor units.
    #[schema(example = 2590)]
    pub total_minor: i64,
    /// Currency of the total.
    #[schema(example = "GBP")]
    pub currency: String,
    /// For an order that was rejected: per SKU, what was asked for and what was there.
    pub shortages: Option<Vec<Value>>,
    /// The aggregate's version.
    pub version: u64,
    /// Where the events stand.
    pub position: String,
    /// How far the order has got in money and units.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}
