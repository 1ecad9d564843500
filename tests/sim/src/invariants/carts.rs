//! An order is of what was in its cart.

use std::collections::BTreeMap;

use cartwright_events::cart::CartEvent;
use cartwright_events::order::OrderEvent;
use cartwright_events::{EventBody, Stream};

use crate::world::World;

/// By line: what, how many, and for how much each.
type Lines = BTreeMap<u32, (String, i64, i64)>;

pub(super) fn became_the_orders(world: &World) -> Result<(), String> {
    let mut carts: BTreeMap<String, Lines> = BTreeMap::new();
    for (_, event) in world.events(Stream::Cart)?.iter() {
        let lines = carts.entry(event.aggregate_id.clone()).or_default();
        if let EventBody::Cart(body) = event.body.clone() {
            see(lines, body).map_err(|problem| format!("{}: {problem}", event.aggregate_id))?;
        }
    }
    for (_, event) in world.events(Stream::Order)?.iter() {
        let EventBody::Order(OrderEvent::Created(created)) = &event.body else {
            continue;
        };
        let lines = created.lines.iter().map(|line| {
            let sku = line.sku.to_string();
            (line.line, (sku, line.quantity, line.unit_price_minor))
        });
        let ordered: Lines = lines.collect();
        let in_cart = carts.get(&event.aggregate_id);
        if in_cart != Some(&ordered) {
            return Err(format!(
                "{}: {ordered:?} were ordered of {in_cart:?}",
                event.aggregate_id
            ));
        }
    }
    Ok(())
}

fn see(lines: &mut Lines, body: CartEvent) -> Result<(), String> {
    match body {
        CartEvent::ItemAdded(added) => {
            let line = (
                added.sku.to_string(),
                added.quantity,
                added.unit_price_minor,
            );
            if lines.insert(added.line, line).is_some() {
                return Err(format!("line {} is there twice", added.line));
            }
        }
        CartEvent::ItemQuantityChanged(changed) => {
            let line = lines.get_mut(&changed.line);
            let (_, quantity, _) = line.ok_or("a line was changed that is not there")?;
            if std::mem::replace(quantity, changed.quantity) != changed.old_quantity {
                return Err(format!("line {} had another quantity", changed.line));
            }
        }
        CartEvent::ItemRepriced(repriced) => {
            let line = lines.get_mut(&repriced.line);
            let (_, _, price) = line.ok_or("a line was repriced that is not there")?;
            *price = repriced.unit_price_minor;
        }
        CartEvent::ItemRemoved(removed) => {
            let line = lines.remove(&removed.line);
            line.ok_or("a line was removed that is not there")?;
        }
        CartEvent::Created(_) | CartEvent::CheckedOut(_) | CartEvent::Abandoned(_) => {}
    }
    Ok(())
}
