//! Stock is conserved, never negative, and nothing is oversold.

use std::collections::BTreeMap;

use cartwright_events::inventory::StockEvent;
use cartwright_events::{EventBody, OrderId, Stream};

use crate::world::World;

/// Units by what they are about.
pub(super) type Units<K> = BTreeMap<K, i64>;

/// What became of the stock.
#[derive(Default)]
pub(super) struct Stock {
    /// Units held in the end, by order and SKU.
    pub(super) held: Units<(String, String)>,
    /// Units shipped, by order, shipment and SKU.
    pub(super) shipped: Units<(String, String, String)>,
    /// Units put back, by order, return and SKU.
    pub(super) restocked: Units<(String, String, String)>,
    /// Units delivered, by reference and SKU.
    delivered: Units<(String, String)>,
}

#[derive(Default)]
struct Shelf {
    on_hand: i64,
    reserved: i64,
}

pub(super) fn is_conserved(world: &World) -> Result<Stock, String> {
    let mut stock = Stock::default();
    let mut shelves: BTreeMap<String, Shelf> = BTreeMap::new();
    for (_, event) in world.events(Stream::Stock)?.iter() {
        let sku = event.aggregate_id.clone();
        let shelf = shelves.entry(sku.clone()).or_default();
        let EventBody::Stock(body) = event.body.clone() else {
            return Err(format!("{sku}: an event of another stream"));
        };
        let after = stock
            .see(shelf, &sku, body)
            .map_err(|problem| format!("{sku}: {problem}"))?;
        if after != (shelf.on_hand, shelf.reserved) {
            return Err(format!(
                "{sku}: an event says {after:?}, the events before it {:?}",
                (shelf.on_hand, shelf.reserved)
            ));
        }
        if shelf.reserved < 0 || shelf.on_hand < 0 || shelf.reserved > shelf.on_hand {
            return Err(format!(
                "{sku}: {} held of {} on hand: oversold",
                shelf.reserved, shelf.on_hand
            ));
        }
    }
    Ok(stock)
}

impl Stock {
    /// Returns what the event says of on hand and reserved.
    fn see(
        &mut self,
        shelf: &mut Shelf,
        sku: &str,
        body: StockEvent,
    ) -> Result<(i64, i64), String> {
        let holder = |order: &OrderId| (order.as_str().to_owned(), sku.to_owned());
        Ok(match body {
            StockEvent::Received(body) => {
                shelf.on_hand += body.quantity;
                if let Some(reference) = &body.reference {
                    let delivery = (reference.to_string(), sku.to_owned());
                    once(&mut self.delivered, delivery, body.quantity)?;
                }
                (body.on_hand, body.reserved)
            }
            StockEvent::Adjusted(body) => {
                shelf.on_hand += body.delta;
                (body.on_hand, body.reserved)
            }
            StockEvent::Reserved(body) => {
                shelf.reserved += body.quantity;
                once(&mut self.held, holder(&body.order_id), body.quantity)?;
                (body.on_hand, body.reserved)
            }
            StockEvent::Released(body) => {
                shelf.reserved -= body.quantity;
                take(&mut self.held, holder(&body.order_id), body.quantity)?;
                (body.on_hand, body.reserved)
            }
            StockEvent::Shipped(body) => {
                shelf.reserved -= body.quantity;
                shelf.on_hand -= body.quantity - body.unbooked;
                take(&mut self.held, holder(&body.order_id), body.quantity)?;
                let (order, sku) = holder(&body.order_id);
                let shipment = (order, body.shipment_id.to_string(), sku);
                once(&mut self.shipped, shipment, body.quantity)?;
                (body.on_hand, body.reserved)
            }
            StockEvent::Restocked(body) => {
                shelf.on_hand += body.quantity;
                let (order, sku) = holder(&body.order_id);
                let back = (order, body.return_id.to_string(), sku);
                once(&mut self.restocked, back, body.quantity)?;
                (body.on_hand, body.reserved)
            }
            StockEvent::ReservationRejected(body) => (body.on_hand, body.reserved),
            StockEvent::ShortfallChanged(body) => (body.on_hand, body.reserved),
        })
    }
}

fn once<K: Ord + std::fmt::Debug>(
    units: &mut Units<K>,
    key: K,
    quantity: i64,
) -> Result<(), String> {
    let name = format!("{key:?}");
    match units.insert(key, quantity) {
        Some(before) => Err(format!("{name} was booked for {before} and again")),
        None => Ok(()),
    }
}

fn take(
    held: &mut Units<(String, String)>,
    holder: (String, String),
    quantity: i64,
) -> Result<(), String> {
    let left = held.get(&holder).copied().unwrap_or_default() - quantity;
    match left {
        ..0 => Err(format!(
            "{holder:?} lets go of {quantity} units, {left} too many"
        )),
        0 => {
            held.remove(&holder);
            Ok(())
        }
        _ => {
            held.insert(holder, left);
            Ok(())
        }
    }
}
