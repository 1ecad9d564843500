//! Goods leave for the customer.

use cartwright_events::messages::ShipStock;
use cartwright_events::order::{OrderEvent, OrderShipped, ShippedLine};
use cartwright_events::{Message, OrderId, Reference, Timestamp};
use serde::{Deserialize, Serialize};

use super::messages::items;
use super::movement::{Exceeding, distinct, known_lines, reused};
use super::state::{Order, Placed, Stage, Standing, by_partition, data, lines_content};
use super::{not_ended, placed};
use crate::checks;
use crate::context::Outgoing;
use crate::facts::{Decided, Facts, repeat};
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CheckoutSettings;

/// Units of an order's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineQuantity {
    /// The line.
    pub line: u32,
    /// Units; above zero.
    pub quantity: i64,
}

/// Record a shipment of a paid order, in full or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// The order.
    pub order_id: OrderId,
    /// The shipment's reference, remembered for ever.
    pub shipment_id: Reference,
    /// What left, each line once; `None`: everything that had not left yet.
    #[serde(default)]
    pub lines: Option<Vec<LineQuantity>>,
    /// Business time, where the settings allow it to be given; otherwise the shard's time is used.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
}

pub(in crate::checkout) fn decide(
    settings: &CheckoutSettings,
    order: Option<&Order>,
    command: &Ship,
    now: Timestamp,
) -> Decided {
    let Ship {
        order_id: id,
        shipment_id,
        lines,
        occurred_at,
    } = command;
    let at = checks::business_time(*occurred_at, settings.allow_occurred_at, now)?;
    let asked = lines.as_deref().map(distinct).transpose()?;
    let (order, placed) = placed(order, id)?;
    if let Some(earlier) = placed.shipments.get(shipment_id) {
        let same = match &asked {
            Some(asked) => earlier.content == lines_content(asked.iter().map(|(k, v)| (*k, *v))),
            None => earlier.took_the_rest,
        };
        if !same {
            return Err(reused("shipment_id", shipment_id));
        }
        let data = data(id, &placed.currency, &earlier.standing);
        let written = &earlier.written;
        return Ok(repeat(
            id.as_str(),
            written.version,
            Order::seqs(written),
            data,
        ));
    }

    may_ship(id, placed)?;
    let asked = asked.unwrap_or_else(|| {
        let left = placed
            .lines
            .iter()
            .map(|line| (line.line, line.quantity.saturating_sub(line.shipped)));
        left.filter(|(_, left)| *left > 0).collect()
    });
    let leaving = known_lines(id, placed, &asked)?;
    let mut exceeding = Exceeding::default();
    for (line, quantity) in &leaving {
        exceeding.check(line, *quantity, line.quantity.saturating_sub(line.shipped));
    }
    let detail = format!("more is shipped than is left of order {id}");
    exceeding.refuse(Reason::QuantityExceedsOrder, detail)?;

    // What leaves is at most what is left, so the sum stays within the order's units.
    let units = leaving
        .iter()
        .fold(0i64, |sum, (_, quantity)| sum.saturating_add(*quantity));
    let shipped_units = placed.standing.shipped_units.saturating_add(units);
    let after = Standing {
        shipped_units,
        ..placed.standing
    };
    let mut facts = Facts::<OrderEvent>::new(id.as_str(), order.version, at);
    facts.push(OrderShipped {
        shipment_id: shipment_id.clone(),
        lines: leaving
            .iter()
            .map(|(line, quantity)| ShippedLine {
                line: line.line,
                sku: line.sku.clone(),
                quantity: *quantity,
            })
            .collect(),
        shipped_units,
        fully_shipped: shipped_units == after.units,
    });
    let skus = leaving
        .iter()
        .map(|(line, quantity)| (&line.sku, *quantity));
    let messages = by_partition(skus, settings.inventory_partitions)
        .into_iter()
        .map(|(partition, skus)| Outgoing {
            partition,
            message: Message::ShipStock(ShipStock {
                order_id: id.clone(),
                shipment_id: shipment_id.clone(),
                items: items(&skus),
            }),
        })
        .collect();
    Ok(facts.answered(messages, data(id, &placed.currency, &after)))
}

/// The order is paid and something of it is left.
fn may_ship(id: &OrderId, placed: &Placed) -> Result<(), Rejection> {
    let standing = &placed.standing;
    not_ended(id, standing)?;
    if standing.stage != Stage::Paid {
        let detail = format!(
            "order {id} is {}, it can be shipped when it is paid",
            standing.status()
        );
        return Err(Rejection::new(Reason::OrderNotPaid, detail)
            .with("order_status", standing.status())
            .with("total_minor", standing.total_minor)
            .with("captured_minor", standing.captured_minor));
    }
    if standing.shipped_units >= standing.units {
        let detail = format!("all of order {id} has been shipped");
        return Err(Rejection::new(Reason::NothingLeftToShip, detail));
    }
    Ok(())
}
