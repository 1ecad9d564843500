//! What must hold after every run, judged from the log and from what shoppers were told.

use std::collections::{BTreeMap, HashMap};

use cartwright_events::inventory::StockEvent;
use cartwright_events::order::OrderEvent;
use cartwright_events::{Context, EventBody, Stream};
use cartwright_shard::Outcome;

use crate::world::World;

/// Checks everything. Returns how many orders reached each end.
pub(crate) fn check(world: &World) -> Result<BTreeMap<String, u64>, String> {
    seqs_and_versions_are_dense(world)?;
    acknowledged_once_and_only_once(world)?;
    let held = stock_is_conserved(world)?;
    let (orders, open) = orders_end_and_add_up(world)?;
    for (sku, held) in held {
        let wanted = open.get(&sku).copied().unwrap_or_default();
        if held != wanted {
            return Err(format!(
                "{held} units of {sku} are held, {wanted} are waiting to be shipped"
            ));
        }
    }
    Ok(orders)
}

fn seqs_and_versions_are_dense(world: &World) -> Result<(), String> {
    for stream in Stream::ALL {
        let mut seqs: HashMap<u32, u64> = HashMap::new();
        let mut versions: HashMap<String, u64> = HashMap::new();
        for (record, event) in world.events(stream)? {
            let seq = record
                .header("seq")
                .and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok())
                .ok_or("an event has no seq")?;
            let last = seqs.insert(record.partition, seq).unwrap_or_default();
            let version = versions
                .insert(event.aggregate_id.clone(), event.version)
                .unwrap_or_default();
            if seq != last + 1 || event.version != version + 1 {
                return Err(format!(
                    "{}[{}]: seq {seq} after {last}, version {} of {} after {version}",
                    stream.topic(),
                    record.partition,
                    event.version,
                    event.aggregate_id
                ));
            }
        }
    }
    Ok(())
}

/// What a shopper was told is in the journal, once, as it was told.
fn acknowledged_once_and_only_once(world: &World) -> Result<(), String> {
    let mut decided: HashMap<String, String> = HashMap::new();
    for context in Context::ALL {
        let mut transactions: HashMap<u32, u64> = HashMap::new();
        for record in world.records(context.journal_topic())? {
            let value = record.value.as_deref().unwrap_or_default();
            let journal = world
                .codec
                .decode_journal(context, value)
                .map_err(|error| error.to_string())?;
            let last = transactions
                .insert(record.partition, journal.transaction)
                .unwrap_or_default();
            if journal.transaction != last + 1 {
                return Err(format!("transaction {} after {last}", journal.transaction));
            }
            for command in journal.decided {
                let key = command.idempotency_key.ok_or("a command without a key")?;
                if decided.insert(key.clone(), command.outcome).is_some() {
                    return Err(format!("{key} was decided twice"));
                }
            }
        }
    }
    for (key, outcome) in world.shoppers.iter().flat_map(|shopper| &shopper.answered) {
        let told = serde_json::to_string(outcome).map_err(|error| error.to_string())?;
        match decided.get(key) {
            Some(stored) if *stored == told => {}
            other => {
                return Err(format!(
                    "{key} was answered {told}, the journal has {other:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Returns what is held per SKU in the end.
fn stock_is_conserved(world: &World) -> Result<BTreeMap<String, i64>, String> {
    let mut on_hand: BTreeMap<String, i64> = BTreeMap::new();
    let mut reserved: BTreeMap<String, i64> = BTreeMap::new();
    for (_, event) in world.events(Stream::Stock)? {
        let sku = event.aggregate_id.clone();
        let have = on_hand.entry(sku.clone()).or_default();
        let held = reserved.entry(sku.clone()).or_default();
        let EventBody::Stock(body) = event.body else {
            continue;
        };
        let after = match body {
            StockEvent::Received(body) => {
                *have += body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::Adjusted(body) => {
                *have += body.delta;
                (body.on_hand, body.reserved)
            }
            StockEvent::Reserved(body) => {
                *held += body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::Released(body) => {
                *held -= body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::Shipped(body) => {
                *held -= body.quantity;
                *have -= body.quantity - body.unbooked;
                (body.on_hand, body.reserved)
            }
            StockEvent::Restocked(body) => {
                *have += body.quantity;
                (body.on_hand, body.reserved)
            }
            StockEvent::ReservationRejected(body) => (body.on_hand, body.reserved),
            StockEvent::ShortfallChanged(body) => (body.on_hand, body.reserved),
        };
        if after != (*have, *held) {
            return Err(format!(
                "{sku}: an event says {after:?}, the events before it {:?}",
                (*have, *held)
            ));
        }
        if *held < 0 || *have < 0 || *held > *have {
            return Err(format!("{sku}: {held} held of {have} on hand: oversold"));
        }
    }
    Ok(reserved)
}

/// What an order's events add up to.
#[derive(Default)]
struct Seen {
    lines: BTreeMap<u32, (String, i64)>,
    total: i64,
    captured: i64,
    paid: u32,
    ended: Vec<&'static str>,
    shipped: BTreeMap<u32, i64>,
    returned: BTreeMap<u32, i64>,
}

type Ends = (BTreeMap<String, u64>, BTreeMap<String, i64>);

/// Returns how many orders reached each end, and the units that paid orders still wait for.
fn orders_end_and_add_up(world: &World) -> Result<Ends, String> {
    let mut orders: BTreeMap<String, Seen> = BTreeMap::new();
    for (_, event) in world.events(Stream::Order)? {
        let id = event.aggregate_id.clone();
        let EventBody::Order(body) = event.body else {
            continue;
        };
        see(orders.entry(id.clone()).or_default(), body)
            .map_err(|problem| format!("{id}: {problem}"))?;
    }
    let checked_out = world
        .shoppers
        .iter()
        .flat_map(|shopper| &shopper.answered)
        .filter(|(key, outcome)| {
            key.starts_with("shopper-")
                && key.ends_with("/1")
                && matches!(outcome, Outcome::Accepted(_))
        });
    for (key, _) in checked_out {
        let id = key.trim_end_matches("/1");
        if !orders.contains_key(id) {
            return Err(format!("{id} was told of an order that is not in the log"));
        }
    }
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for (id, seen) in &orders {
        let end = match (seen.ended.as_slice(), seen.paid) {
            ([], 1) => "paid",
            ([end], _) => end,
            (ends, paid) => return Err(format!("{id}: ends {ends:?}, paid {paid} times")),
        };
        if end == "paid" {
            if seen.captured < seen.total {
                return Err(format!(
                    "{id}: paid with {} of {}",
                    seen.captured, seen.total
                ));
            }
            for (line, (sku, quantity)) in &seen.lines {
                *open.entry(sku.clone()).or_default() +=
                    quantity - seen.shipped.get(line).copied().unwrap_or_default();
            }
        }
        *ends.entry(end.to_owned()).or_default() += 1;
    }
    Ok((ends, open))
}

fn see(seen: &mut Seen, body: OrderEvent) -> Result<(), String> {
    match body {
        OrderEvent::Created(created) => {
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
        OrderEvent::Cancelled(_) => seen.ended.push("cancelled"),
        OrderEvent::Expired(_) => seen.ended.push("expired"),
        OrderEvent::Shipped(shipped) => {
            for line in shipped.lines {
                let units = seen.shipped.entry(line.line).or_default();
                *units += line.quantity;
                if *units
                    > seen
                        .lines
                        .get(&line.line)
                        .map_or(0, |(_, quantity)| *quantity)
                {
                    return Err(format!(
                        "line {} was shipped beyond what was ordered",
                        line.line
                    ));
                }
            }
        }
        OrderEvent::Returned(returned) => {
            for line in returned.lines {
                let units = seen.returned.entry(line.line).or_default();
                *units += line.quantity;
                if *units > seen.shipped.get(&line.line).copied().unwrap_or_default() {
                    return Err(format!(
                        "line {} was returned beyond what was shipped",
                        line.line
                    ));
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
        }
        _ => {}
    }
    Ok(())
}
