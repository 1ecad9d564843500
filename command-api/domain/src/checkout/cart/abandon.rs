//! A cart that nobody touches is abandoned.

use cartwright_events::Timestamp;
use cartwright_events::cart::{CartAbandoned, CartEvent};

use super::state::Cart;
use crate::context::Decision;
use crate::facts::Facts;

/// When an open cart will be abandoned, unless it is touched.
pub(in crate::checkout) fn due(cart: &Cart, idle_ms: i64) -> Option<Timestamp> {
    cart.is_open()
        .then(|| cart.changed_at().plus_millis(idle_ms))
}

/// Abandons it.
pub(in crate::checkout) fn decide(cart: &Cart, id: &str, now: Timestamp) -> Decision {
    let mut facts = Facts::<CartEvent>::new(id, cart.version, cart.next_change(now));
    facts.push(CartAbandoned {
        idle_since: cart.changed_at(),
    });
    facts.silent(Vec::new())
}
