//! The payment provider reports an operation.

use cartwright_events::order::PaymentKind;
use cartwright_events::{OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};

use crate::price::Price;

/// Record what the payment provider reports. Operations may come in any order and any number of
/// times: known by payment and operation id, each counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// The order that the money is for; an unknown one is recorded and its money due for refund.
    pub order_id: OrderId,
    /// The provider's payment.
    pub payment_id: Reference,
    /// The provider's operation on it.
    pub operation_id: Reference,
    /// What happened.
    pub kind: PaymentKind,
    /// How much; above zero. Any currency: another than the order's is due for refund.
    pub amount: Price,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}
