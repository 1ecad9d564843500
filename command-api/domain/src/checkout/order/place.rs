//! A checked-out cart becomes an order.

use cartwright_events::order::{OrderCreated, OrderEvent, OrderLine};
use cartwright_events::{OrderId, Timestamp};
use serde_json::Value;

use super::messages::reserve;
use super::state::{Order, Stage, Standing, by_partition, data};
use crate::checkout::cart::state::{Cart, CartLine};
use crate::checks;
use crate::context::Outgoing;
use crate::facts::Facts;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// An order that is being placed.
pub(in crate::checkout) struct NewOrder {
    pub(in crate::checkout) facts: Facts<OrderEvent>,
    pub(in crate::checkout) messages: Vec<Outgoing>,
    pub(in crate::checkout) data: Value,
}

/// Places an order for the cart's `lines`, as they were priced at checkout. The first inventory
/// partition is asked at once, the others in turn.
pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    id: &OrderId,
    cart: &Cart,
    lines: &[CartLine],
    known: Option<&Order>,
    (at, now): (Timestamp, Timestamp),
) -> Result<NewOrder, Rejection> {
    let mut units = 0i64;
    let mut total_minor = 0i64;
    let mut order_lines = Vec::with_capacity(lines.len());
    for line in lines {
        let line_total_minor = checks::in_range("cart_id", line.total_minor())?;
        units = checks::in_range("cart_id", units.checked_add(line.quantity))?;
        total_minor = checks::in_range("cart_id", total_minor.checked_add(line_total_minor))?;
        order_lines.push(OrderLine {
            line: line.line,
            sku: line.sku.clone(),
            name: line.name.clone(),
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
            line_total_minor,
        });
    }
    let skus = lines.iter().map(|line| (&line.sku, line.quantity));
    let messages = by_partition(skus, settings.inventory_partitions)
        .iter()
        .next()
        .map(|(partition, skus)| reserve(id, *partition, skus))
        .into_iter()
        .collect();
    let standing = Standing::new(total_minor, units);
    let mut facts = Facts::new(id.as_str(), known.map_or(0, |order| order.version), at);
    facts.push(OrderCreated {
        cart_id: id.clone().into(),
        customer_id: cart.customer_id.clone(),
        currency: cart.currency.clone(),
        ship_to_country: cart.ship_to_country.clone(),
        external_reference: cart.external_reference.clone(),
        lines: order_lines,
        units,
        total_minor,
        payment_deadline: now.plus_millis(settings.payment_deadline_ms),
    });
    Ok(NewOrder {
        facts,
        messages,
        data: data(id, &cart.currency, &standing),
    })
}

impl Standing {
    /// Of an order that was just placed.
    pub(super) const fn new(total_minor: i64, units: i64) -> Self {
        Self {
            stage: Stage::Pending,
            total_minor,
            units,
            captured_minor: 0,
            refunded_minor: 0,
            returned_minor: 0,
            shipped_units: 0,
            returned_units: 0,
        }
    }
}
