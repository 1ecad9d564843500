//! Goods come back.

use cartwright_events::messages::RestockReturn;
use cartwright_events::order::{OrderEvent, OrderReturned, ReturnedLine};
use cartwright_events::{Message, OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::messages::items;
use super::movement::{Exceeding, distinct, known_lines, return_content, reused};
use super::placed;
use super::ship::LineQuantity;
use super::state::{Order, Placed, Standing, by_partition, data};
use crate::checks;
use crate::context::Outgoing;
use crate::facts::{Decided, Facts, repeat};
use crate::reason::Reason;
use crate::settings::CheckoutSettings;

/// Record goods that came back: what they were charged is owed to the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// The order.
    pub order_id: OrderId,
    /// The return's reference, remembered for ever.
    pub return_id: Reference,
    /// What came back, each line once; never more than was shipped.
    pub lines: Vec<LineQuantity>,
    /// Whether the goods go back on the shelf.
    pub restock: bool,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    order: Option<&Order>,
    command: &Return,
    now: Timestamp,
) -> Decided {
    let Return {
        order_id: id,
        return_id,
        lines,
        restock,
        occurred_at,
    } = command;
    let at = checks::business_time(*occurred_at, settings.allow_occurred_at, now)?;
    let asked = distinct(lines)?;
    let (order, placed) = placed(order, id)?;
    if let Some(earlier) = placed.returns.get(return_id) {
        if earlier.content != return_content(asked.iter().map(|(k, v)| (*k, *v)), *restock) {
            return Err(reused("return_id", return_id));
        }
        // The same lines, and so what they were charged then: a line's price is settled for good.
        let coming = known_lines(id, placed, &asked)?;
        let charges = coming
            .iter()
            .map(|(line, quantity)| line.unit_price_minor.saturating_mul(*quantity));
        let charge_minor = charges.fold(0, i64::saturating_add);
        let data = told(id, placed, &earlier.standing, charge_minor);
        let written = &earlier.written;
        return Ok(repeat(
            id.as_str(),
            written.version,
            Order::seqs(written),
            data,
        ));
    }

    let coming = known_lines(id, placed, &asked)?;
    let mut exceeding = Exceeding::default();
    for (line, quantity) in &coming {
        exceeding.check(line, *quantity, line.shipped.saturating_sub(line.returned));
    }
    let detail = format!("more is returned than was shipped of order {id}");
    exceeding.refuse(Reason::ReturnExceedsShipped, detail)?;

    let mut after = placed.standing;
    let mut returned = Vec::with_capacity(coming.len());
    for (line, quantity) in &coming {
        let charge = line.unit_price_minor.checked_mul(*quantity);
        let charge_minor = checks::in_range("lines", charge)?;
        let sum = after.returned_minor.checked_add(charge_minor);
        after.returned_minor = checks::in_range("lines", sum)?;
        // At most what was shipped, so within the order's units.
        after.returned_units = after.returned_units.saturating_add(*quantity);
        returned.push(ReturnedLine {
            line: line.line,
            sku: line.sku.clone(),
            quantity: *quantity,
            charge_minor,
        });
    }
    let mut facts = Facts::<OrderEvent>::new(id.as_str(), order.version, at);
    let charge_minor = after
        .returned_minor
        .saturating_sub(placed.standing.returned_minor);
    facts.push(OrderReturned {
        return_id: return_id.clone(),
        lines: returned,
        charge_minor,
        currency: placed.currency.clone(),
        ship_to_country: placed.ship_to_country.clone(),
        restock: *restock,
        returned_units: after.returned_units,
        refund_due_minor: after.owed_minor(),
    });
    let skus = coming.iter().map(|(line, quantity)| (&line.sku, *quantity));
    let restocked = by_partition(skus, settings.inventory_partitions)
        .into_iter()
        .filter(|_| *restock)
        .map(|(partition, skus)| Outgoing {
            partition,
            message: Message::RestockReturn(RestockReturn {
                order_id: id.clone(),
                return_id: return_id.clone(),
                items: items(&skus),
            }),
        })
        .collect();
    let data = told(id, placed, &after, charge_minor);
    Ok(facts.answered(restocked, data))
}

/// What the caller is told: where the order stands, and what the goods of this return were charged.
fn told(id: &OrderId, placed: &Placed, standing: &Standing, charge_minor: i64) -> Value {
    let mut data = data(id, &placed.currency, standing);
    data["charge_minor"] = charge_minor.into();
    data
}
