//! A log to project: the events of orders, or of products, mixed.

use std::collections::BTreeMap;

use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::partition::partition_of;
use cartwright_events::{Event, Stream};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rebuild::PARTITIONS;

/// Aggregates whose events are mixed.
const MIXED: u32 = 500;
const TIME: &str = "2026-03-01T10:00:00Z";

/// Events of one kind of aggregate.
pub(crate) struct History {
    pub(crate) stream: Stream,
    /// Events of each aggregate.
    events: u32,
    /// The id, type and data of an aggregate's event, by their numbers from 0.
    event: fn(u32, u32) -> (String, &'static str, Value),
}

/// Orders of three lines that are created, confirmed, captured, paid and shipped: with the sales, four
/// rows for five events.
pub(crate) const ORDERS: History = History {
    stream: Stream::Order,
    events: 5,
    event: order_event,
};

/// Products that get nineteen other prices: in the catalog, a row for twenty events.
pub(crate) const PRICES: History = History {
    stream: Stream::Product,
    events: 20,
    event: product_event,
};

impl History {
    /// Writes so many events.
    pub(crate) fn write<L: EventLog>(
        &self,
        log: &L,
        codec: &Codec,
        events: u32,
    ) -> anyhow::Result<()> {
        let mut writer = log.writer("bench")?;
        writer.take_over()?;
        let mut seqs: BTreeMap<u32, u64> = BTreeMap::new();
        for block in 0..events / self.events / MIXED {
            for step in 0..self.events {
                let mixed = (block * MIXED)..((block + 1) * MIXED);
                let records: anyhow::Result<Vec<NewRecord>> = mixed
                    .map(|number| self.record(codec, &mut seqs, number, step))
                    .collect();
                if writer.commit(records?)?.doubtful {
                    writer.take_over()?;
                }
            }
        }
        Ok(())
    }

    fn record(
        &self,
        codec: &Codec,
        seqs: &mut BTreeMap<u32, u64>,
        number: u32,
        step: u32,
    ) -> anyhow::Result<NewRecord> {
        let (id, kind, data) = (self.event)(number, step);
        let event: Event = serde_json::from_value(json!({
            "aggregate_id": id, "version": step + 1, "occurred_at": TIME, "type": kind, "data": data,
        }))?;
        let partition = partition_of(&id, PARTITIONS);
        let seq = seqs.entry(partition).or_default();
        *seq += 1;
        let topic = self.stream.topic();
        let context = self.stream.context().name();
        let cause = uuid(&format!("{id} {step}"));
        let trace = cause.simple();
        Ok(NewRecord {
            topic: topic.into(),
            partition,
            key: id.into_bytes(),
            value: Some(codec.encode_event(&event)),
            // Those that a shard writes.
            headers: vec![
                (
                    header::CE_ID,
                    format!("{topic}/{partition}/{seq}").into_bytes(),
                ),
                (header::CE_TYPE, kind.as_bytes().to_vec()),
                (header::CE_TIME, TIME.as_bytes().to_vec()),
                (header::CE_SPECVERSION, b"1.0".to_vec()),
                (header::COMMAND_ID, cause.to_string().into_bytes()),
                (header::CORRELATION_ID, cause.to_string().into_bytes()),
                (
                    header::TRACEPARENT,
                    format!("00-{trace}-00f067aa0ba902b7-01").into_bytes(),
                ),
                (
                    header::CE_SOURCE,
                    format!("/cartwright/{context}/{partition}").into_bytes(),
                ),
                (header::SEQ, seq.to_string().into_bytes()),
                (header::WRITER_EPOCH, b"1".to_vec()),
            ],
        })
    }
}

/// As ids are made of keys.
fn uuid(of: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, of.as_bytes())
}

fn sku(number: u32) -> String {
    format!("sku-{}", number % 4_000)
}

fn order_event(order: u32, step: u32) -> (String, &'static str, Value) {
    let id = uuid(&format!("order {order}")).to_string();
    let deadline = "2026-03-02T00:00:00Z";
    let (kind, data) = match step {
        0 => {
            let lines: Vec<_> = (1..=3)
                .map(|line| {
                    json!({"line": line, "sku": sku(order + line), "name": "Lantern", "quantity": 2,
                        "unit_price_minor": 50, "line_total_minor": 100})
                })
                .collect();
            let data = json!({"cart_id": id, "customer_id": format!("c-{}", order % 999),
                "currency": "EUR", "ship_to_country": "Norway", "lines": lines, "units": 6,
                "total_minor": 300, "payment_deadline": deadline});
            ("OrderCreated", data)
        }
        1 => (
            "OrderConfirmed",
            json!({"total_minor": 300, "currency": "EUR", "payment_deadline": deadline}),
        ),
        2 => (
            "OrderPaymentCaptured",
            json!({"payment_id": "pay", "operation_id": "capture", "amount_minor": 300,
                "currency": "EUR", "captured_minor": 300}),
        ),
        3 => (
            "OrderPaid",
            json!({"total_minor": 300, "captured_minor": 300, "currency": "EUR"}),
        ),
        _ => {
            let lines: Vec<_> = (1..=3)
                .map(|line| json!({"line": line, "sku": sku(order + line), "quantity": 2}))
                .collect();
            let data = json!({"shipment_id": "parcel", "lines": lines, "shipped_units": 6,
                "fully_shipped": true});
            ("OrderShipped", data)
        }
    };
    (id, kind, data)
}

fn product_event(product: u32, step: u32) -> (String, &'static str, Value) {
    let id = format!("sku-{product}");
    let price = 100 + step;
    match step {
        0 => {
            let data = json!({"name": "Lantern", "price_minor": price, "currency": "EUR"});
            (id, "ProductCreated", data)
        }
        _ => {
            let data =
                json!({"price_minor": price, "old_price_minor": price - 1, "currency": "EUR"});
            (id, "ProductPriceChanged", data)
        }
    }
}
