//! Benchmarks as ratios within one run, in interleaved rounds: machines are noisy, ratios less so.
//!
//! `cargo run --release -p cartwright-bench` measures the codec, with `admission` what becomes of
//! three times the load that command-api can bear, with `poison` what bad records cost good ones,
//! with `rebuild` (and the stores' addresses) how fast projections are rebuilt.

mod admission;
mod cpu;
mod history;
mod poison;
mod rebuild;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use cartwright_events::codec::Codec;
use cartwright_events::order::{OrderCreated, OrderEvent, OrderLine};
use cartwright_events::schema_book::SchemaTopic;
use cartwright_events::{CartId, Currency, Event, EventBody, Sku, Stream, Timestamp};

const ROUNDS: usize = 9;
const EVENTS_PER_ROUND: u32 = 20_000;
/// Magic byte and schema id before the Avro body.
const FRAME_BYTES: usize = 5;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        None | Some("codec") => codec(),
        Some("admission") => admission::run(),
        Some("poison") => poison::storm(),
        Some("rebuild") => rebuild::run(),
        Some(other) => {
            anyhow::bail!("no benchmark is called `{other}`: codec, admission, poison or rebuild")
        }
    }
}

fn codec() -> anyhow::Result<()> {
    let event = order_of(3)?;
    let codec = Codec::fixed();
    let topic = SchemaTopic::ALL
        .into_iter()
        .find(|topic| topic.topic() == Stream::Order.topic())
        .context("the order topic has a schema")?;
    let schema = Schema::parse_str(topic.schema())?;
    let framed = codec.encode_event(&event);
    let value = from_avro_datum(&schema, &mut &framed[FRAME_BYTES..], None)?;

    let mut encode = Vec::new();
    let mut decode = Vec::new();
    for _ in 0..ROUNDS {
        let ours = time(|| drop(black_box(codec.encode_event(black_box(&event)))));
        let general = time(|| drop(black_box(to_avro_datum(&schema, black_box(value.clone())))));
        encode.push(general.as_secs_f64() / ours.as_secs_f64());
        let ours = time(|| {
            drop(black_box(
                codec.decode_event(Stream::Order, black_box(&framed)),
            ))
        });
        let general = time(|| {
            drop(black_box(from_avro_datum(
                &schema,
                &mut black_box(&framed[FRAME_BYTES..]),
                None,
            )));
        });
        decode.push(general.as_secs_f64() / ours.as_secs_f64());
    }
    println!(
        "an OrderCreated of three lines, {} bytes, median of {ROUNDS} rounds:",
        framed.len()
    );
    println!(
        "encode: {:.1} times as fast as a general-purpose Avro library",
        median(&mut encode)
    );
    println!(
        "decode: {:.1} times as fast as a general-purpose Avro library",
        median(&mut decode)
    );
    Ok(())
}

fn time(mut work: impl FnMut()) -> Duration {
    let begun = Instant::now();
    for _ in 0..EVENTS_PER_ROUND {
        work();
    }
    begun.elapsed()
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn order_of(lines: u32) -> anyhow::Result<Event> {
    let lines: Vec<OrderLine> = (1..=lines)
        .map(|line| {
            Ok(OrderLine {
                line,
                sku: Sku::new(format!("85123A-{line}"))?,
                name: "White hanging heart lantern".to_owned(),
                quantity: 6,
                unit_price_minor: 255,
                line_total_minor: 1_530,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let created = OrderCreated {
        cart_id: CartId::new("cart-1")?,
        customer_id: None,
        currency: Currency::new("GBP")?,
        ship_to_country: None,
        external_reference: None,
        units: 18,
        total_minor: 4_590,
        lines,
        payment_deadline: Timestamp::from_micros(1_300_000_000_000_000),
    };
    Ok(Event {
        aggregate_id: "cart-1".to_owned(),
        version: 1,
        occurred_at: Timestamp::from_micros(1_300_000_000_000_000),
        body: EventBody::Order(OrderEvent::from(created)),
    })
}
