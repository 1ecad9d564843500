//! A log to project: orders, their events mixed.

use std::collections::BTreeMap;

use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::partition::partition_of;
use cartwright_events::{Event, Stream};

use crate::rebuild::PARTITIONS;

/// Orders of three lines that are created, confirmed, captured and paid, their events mixed.
pub(crate) fn write_history<L: EventLog>(
    log: &L,
    codec: &Codec,
    orders: u32,
) -> anyhow::Result<()> {
    let mut writer = log.writer("bench")?;
    writer.take_over()?;
    let mut seqs: BTreeMap<u32, u64> = BTreeMap::new();
    for block in 0..orders / 500 {
        for step in 0..4 {
            let orders = (block * 500)..((block + 1) * 500);
            let records: anyhow::Result<Vec<NewRecord>> = orders
                .map(|order| record(codec, &mut seqs, order, step))
                .collect();
            if writer.commit(records?)?.doubtful {
                writer.take_over()?;
            }
        }
    }
    Ok(())
}

fn record(
    codec: &Codec,
    seqs: &mut BTreeMap<u32, u64>,
    order: u32,
    step: u32,
) -> anyhow::Result<NewRecord> {
    use serde_json::json;
    let id = format!("order-{order}");
    let lines: Vec<_> = (1..=3)
        .map(|line| {
            json!({"line": line, "sku": format!("sku-{}", (order + line) % 4_000), "name": "Lantern",
                "quantity": 2, "unit_price_minor": 50, "line_total_minor": 100})
        })
        .collect();
    let deadline = "2026-03-02T00:00:00Z";
    let (kind, data) = match step {
        0 => (
            "OrderCreated",
            json!({"cart_id": id, "customer_id": format!("c-{}", order % 999),
            "currency": "EUR", "ship_to_country": "Norway", "lines": lines, "units": 6,
            "total_minor": 300, "payment_deadline": deadline}),
        ),
        1 => (
            "OrderConfirmed",
            json!({"total_minor": 300, "currency": "EUR",
            "payment_deadline": deadline}),
        ),
        2 => (
            "OrderPaymentCaptured",
            json!({"payment_id": "pay", "operation_id": "capture",
            "amount_minor": 300, "currency": "EUR", "captured_minor": 300}),
        ),
        _ => (
            "OrderPaid",
            json!({"total_minor": 300, "captured_minor": 300, "currency": "EUR"}),
        ),
    };
    let event: Event = serde_json::from_value(json!({
        "aggregate_id": id, "version": step + 1, "occurred_at": "2026-03-01T10:00:00Z",
        "type": kind, "data": data,
    }))?;
    let partition = partition_of(&id, PARTITIONS);
    let seq = seqs.entry(partition).or_default();
    *seq += 1;
    Ok(NewRecord {
        topic: Stream::Order.topic().into(),
        partition,
        key: id.into_bytes(),
        value: Some(codec.encode_event(&event)),
        headers: vec![
            (header::SEQ, seq.to_string().into_bytes()),
            (header::WRITER_EPOCH, b"1".to_vec()),
            (header::COMMAND_ID, b"command".to_vec()),
            (header::CORRELATION_ID, b"request".to_vec()),
        ],
    })
}
