//! Every order reaches an end, its money adds up, and its goods are those of the inventory.

use std::collections::{BTreeMap, BTreeSet};

use cartwright_domain::CheckoutCommand;
use cartwright_events::order::OrderEvent;
use cartwright_events::{EventBody, Reference, Stream};
use cartwright_shard::Outcome;

use super::stock::{Stock, Units};
use crate::world::World;

/// What an order's events add up to.
#[derive(Default)]
pub(super) struct Seen {
    is_placed: bool,
    lines: BTreeMap<u32, (String, i64)>,
    total: i64,
    captured: i64,
    refunded: i64,
    due: i64,
    paid: u32,
    ended: Vec<&'static str>,
    shipped: BTreeMap<u32, i64>,
    returned: BTreeMap<u32, i64>,
    /// What counts once: what the payment provider has done, shipments, returns.
    references: BTreeSet<String>,
    /// By shipment and SKU.
    shipments: Units<(String, String)>,
    /// By return and SKU, of goods that go back on the shelf.
    restocked: Units<(String, String)>,
}

impl Seen {
    /// Notes what counts once however often it is told.
    fn once(&mut self, what: &str, reference: &Reference) -> Result<(), String> {
        let reference = format!("{what} {reference}");
        match self.references.insert(reference.clone()) {
            true => Ok(()),
            false => Err(format!("{reference} counts twice")),
        }
    }

    /// How the order ended, and what else has come of it.
    pub(super) fn came_to(&self) -> Result<Vec<&'static str>, String> {
        let shipped = (!self.shipped.is_empty()).then_some("shipped");
        let returned = (!self.returned.is_empty()).then_some("returned");
        let end = [Some(self.end()?), shipped, returned];
        Ok(end.into_iter().flatten().collect())
    }

    /// How the order ended.
    pub(super) fn end(&self) -> Result<&'static str, String> {
        match (self.ended.as_slice(), self.paid) {
            // Money came in for one whose checkout was refused.
            ([], 0) if !self.is_placed => Ok("never placed"),
            ([], 1) => Ok("paid"),
            ([end], 0) => Ok(end),
            (ends, paid) => Err(format!("ends {ends:?}, paid {paid} times")),
        }
    }
}

pub(super) fn end_and_add_up(world: &World) -> Result<BTreeMap<String, Seen>, String> {
    let mut orders: BTreeMap<String, Seen> = BTreeMap::new();
    for (_, event) in world.events(Stream::Order)?.iter() {
        let id = event.aggregate_id.clone();
        let EventBody::Order(body) = event.body.clone() else {
            return Err(format!("{id}: an event of another stream"));
        };
        see(orders.entry(id.clone()).or_default(), body)
            .map_err(|problem| format!("{id}: {problem}"))?;
    }
    for shopper in &world.shoppers {
        let is_accepted = |outcome| matches!(outcome, Some(&Outcome::Accepted(_)));
        let shipped = shopper.told_of(|command| matches!(command, CheckoutCommand::Ship(_)));
        let returned = shopper.told_of(|command| matches!(command, CheckoutCommand::Return(_)));
        if is_accepted(shipped) && matches!(returned, Some(Outcome::Rejected(_))) {
            return Err(format!(
                "{}: what was shipped was not taken back: {returned:?}",
                shopper.name
            ));
        }
        // The last one: one before it asked for a version that there was no more.
        let told = shopper.told_of(|command| matches!(command, CheckoutCommand::CheckOut(_)));
        let told = is_accepted(told);
        let order = orders.get(&shopper.name);
        if told && order.is_none_or(|order| !order.is_placed) {
            return Err(format!(
                "{} was told of an order that is not in the log",
                shopper.name
            ));
        }
    }
    for (id, seen) in &orders {
        let end = seen.end().map_err(|problem| format!("{id}: {problem}"))?;
        if !seen.is_placed && !world.forgets() {
            return Err(format!("{id}: {end}, though every checkout is accepted"));
        }
        if end == "paid" && seen.captured < seen.total {
            return Err(format!(
                "{id}: paid with {} of {}",
                seen.captured, seen.total
            ));
        }
        // What came in beyond what the order is worth is owed, less what went back. (The shop may
        // give back more than it owes.)
        let worth = match end {
            "paid" => seen.total - returned_value(seen),
            _ => 0,
        };
        if seen.due != (seen.captured - worth - seen.refunded).max(0) {
            return Err(format!(
                "{id}: {} came in for what is worth {worth}, {} went back, {} is owed",
                seen.captured, seen.refunded, seen.due
            ));
        }
    }
    Ok(orders)
}

fn returned_value(seen: &Seen) -> i64 {
    let units: i64 = seen.returned.values().sum();
    units * crate::script::PRICE
}

/// What orders shipped, took back and still wait for is what inventory has booked for them.
pub(super) fn agree_with_the_stock(
    orders: &BTreeMap<String, Seen>,
    stock: &Stock,
) -> Result<(), String> {
    let mut held: Units<(String, String)> = Units::new();
    let mut shipped: Units<(String, String, String)> = Units::new();
    let mut restocked: Units<(String, String, String)> = Units::new();
    for (id, seen) in orders {
        for ((shipment, sku), units) in &seen.shipments {
            shipped.insert((id.clone(), shipment.clone(), sku.clone()), *units);
        }
        for ((back, sku), units) in &seen.restocked {
            restocked.insert((id.clone(), back.clone(), sku.clone()), *units);
        }
        if seen.end()? == "paid" {
            for (line, (sku, quantity)) in &seen.lines {
                let left = quantity - seen.shipped.get(line).copied().unwrap_or_default();
                if left > 0 {
                    *held.entry((id.clone(), sku.clone())).or_default() += left;
                }
            }
        }
    }
    same("held", &stock.held, &held)?;
    same("shipped", &stock.shipped, &shipped)?;
    same("restocked", &stock.restocked, &restocked)
}

fn same<K: Ord + std::fmt::Debug>(
    what: &str,
    inventory: &Units<K>,
    orders: &Units<K>,
) -> Result<(), String> {
    let differs = |(key, units): (&K, &i64)| {
        let (ours, theirs) = (inventory.get(key), orders.get(key));
        (ours != theirs).then(|| {
            format!("{what} of {key:?}: inventory has {ours:?}, the order {theirs:?} ({units})")
        })
    };
    match inventory.iter().chain(orders).find_map(differs) {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

fn see(seen: &mut Seen, body: OrderEvent) -> Result<(), String> {
    match body {
        OrderEvent::Created(created) => {
            seen.is_placed = true;
            for line in created.lines {
                if line.line_total_minor != line.quantity * line.unit_price_minor {
                    return Err(format!("line {} does not add up", line.line));
                }
                seen.total += line.line_total_minor;
                seen.lines
                    .insert(line.line, (line.sku.to_string(), line.quantity));
            }
            if seen.total != created.total_minor {
                return Err(format!(
                    "total {} of lines that sum to {}",
                    created.total_minor, seen.total
                ));
            }
        }
        OrderEvent::PaymentCaptured(captured) => {
            seen.once("operation", &captured.operation_id)?;
            seen.captured += captured.amount_minor;
            if seen.captured != captured.captured_minor {
                return Err(format!(
                    "captured {} by sum, {} by event",
                    seen.captured, captured.captured_minor
                ));
            }
        }
        OrderEvent::Paid(_) => seen.paid += 1,
        OrderEvent::Rejected(_) => seen.ended.push("rejected"),
        OrderEvent::Cancelled(cancelled) => {
            seen.ended.push("cancelled");
            seen.due = cancelled.refund_due_minor;
        }
        OrderEvent::Expired(expired) => {
            seen.ended.push("expired");
            seen.due = expired.refund_due_minor;
        }
        OrderEvent::RefundDue(due) => seen.due = due.refund_due_minor,
        OrderEvent::Shipped(shipped) => {
            seen.once("shipment", &shipped.shipment_id)?;
            for line in shipped.lines {
                let most = seen.lines.get(&line.line).map_or(0, |(_, most)| *most);
                let units = seen.shipped.entry(line.line).or_default();
                *units += line.quantity;
                if *units > most {
                    return Err(format!("line {} was shipped beyond its order", line.line));
                }
                let shipment = (shipped.shipment_id.to_string(), line.sku.to_string());
                *seen.shipments.entry(shipment).or_default() += line.quantity;
            }
        }
        OrderEvent::Returned(returned) => {
            seen.once("return", &returned.return_id)?;
            seen.due = returned.refund_due_minor;
            for line in returned.lines {
                let most = seen.shipped.get(&line.line).copied().unwrap_or_default();
                let units = seen.returned.entry(line.line).or_default();
                *units += line.quantity;
                if *units > most {
                    return Err(format!(
                        "line {} was returned beyond what was shipped",
                        line.line
                    ));
                }
                if returned.restock {
                    let back = (returned.return_id.to_string(), line.sku.to_string());
                    *seen.restocked.entry(back).or_default() += line.quantity;
                }
            }
        }
        OrderEvent::PaymentRefunded(refunded) => {
            let shares: i64 = refunded.shares.iter().map(|share| share.amount_minor).sum();
            if shares != refunded.amount_minor {
                return Err(format!(
                    "refund shares sum to {shares} of {}",
                    refunded.amount_minor
                ));
            }
            seen.once("operation", &refunded.operation_id)?;
            seen.refunded += refunded.amount_minor;
            seen.due = refunded.refund_due_minor;
            if seen.refunded != refunded.refunded_minor {
                return Err(format!(
                    "refunded {} by sum, {} by event",
                    seen.refunded, refunded.refunded_minor
                ));
            }
        }
        _ => {}
    }
    Ok(())
}
