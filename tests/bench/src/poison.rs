//! A storm of poison: every tenth record can't be folded. What does it cost the healthy keys?
//!
//! To the pipeline alone, whose batches nobody writes, and with the PostgreSQL that `CARTWRIGHT_TEST_POSTGRES`
//! (a URL) names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{EventLog, LogWriter, NewRecord, ReaderPurpose, TopicPartition};
use cartwright_events::catalog::ProductCreated;
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::{Event, Stream, Timestamp};
use cartwright_projector::{FixedPartitions, Limits, Plan, Step, Worker};
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{self, PostgresOptions};
use cartwright_sinks::{PostgresSink, Sink};

use crate::median;
use crate::rebuild::{Keeper, first_version, plan};

const HEALTHY: usize = 45_000;
const POISON: usize = 5_000;
const KEYS: usize = 1_000;
const ROUNDS: usize = 5;

/// Records per second of healthy keys in a storm, as a part of those without one; the median of
/// rounds that are run in turn.
pub(crate) fn storm() -> anyhow::Result<()> {
    let codec = Codec::fixed();
    let calm = log(&codec, 0)?;
    let stormy = log(&codec, POISON)?;
    let kept = |_: &Plan| -> Box<dyn Sink> { Box::new(Keeper::default()) };
    compare("no store", (&calm, &stormy), &codec, "products", kept)?;
    let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") else {
        return Ok(());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let pool = postgres::pool(&PostgresOptions::new(url))?;
    let mut made = Vec::new();
    let in_postgres = |plan: &Plan| -> Box<dyn Sink> {
        made.push(*plan);
        let handle = runtime.handle().clone();
        Box::new(PostgresSink::new(
            handle,
            pool.clone(),
            plan.projection,
            plan.version,
        ))
    };
    compare(
        "PostgreSQL",
        (&calm, &stormy),
        &codec,
        "catalog",
        in_postgres,
    )?;
    let control = Control::Postgres(pool);
    for plan in made {
        runtime.block_on(control.remove_version(plan.projection, plan.version))?;
    }
    Ok(())
}

/// Runs both logs through the pipeline in turn, each time into a version of its own.
fn compare(
    place: &str,
    (calm, stormy): (&MemoryLog, &MemoryLog),
    codec: &Codec,
    projection: &str,
    mut sink: impl FnMut(&Plan) -> Box<dyn Sink>,
) -> anyhow::Result<()> {
    let mut versions = first_version()..;
    let mut project = |log: &MemoryLog, poison| -> anyhow::Result<Duration> {
        let version = versions.next().context("endless")?;
        let plan = plan(projection, version)?;
        project(log, codec, plan, sink(&plan), poison)
    };
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let without = project(calm, 0)?;
        let with = project(stormy, POISON)?;
        ratios.push(without.as_secs_f64() / with.as_secs_f64());
    }
    println!(
        "poison, every tenth record, {place}: healthy keys keep {:.0} % of their throughput",
        100.0 * median(&mut ratios)
    );
    Ok(())
}

fn log(codec: &Codec, poison: usize) -> anyhow::Result<MemoryLog> {
    let log = MemoryLog::new();
    log.create_topic(Stream::Product.topic(), 1);
    let mut writer = log.writer("bench")?;
    writer.take_over()?;
    let mut records = Vec::new();
    for number in 0..HEALTHY {
        let key = format!("sku-{}", number % KEYS);
        let event = Event {
            aggregate_id: key.clone(),
            version: (number / KEYS + 1) as u64,
            occurred_at: Timestamp::EPOCH,
            body: cartwright_events::EventBody::Product(
                ProductCreated {
                    name: "White hanging heart lantern".to_owned(),
                    description: None,
                    price_minor: number as i64,
                    currency: "GBP".parse()?,
                }
                .into(),
            ),
        };
        records.push((key, codec.encode_event(&event)));
        // Ten in a hundred records are bad, so one after nine.
        if poison > 0 && number % 9 == 8 {
            let key = format!("bad-{}", number % KEYS);
            records.push((key, b"no event".to_vec()));
        }
    }
    let records: Vec<NewRecord> = (1..)
        .zip(records)
        .map(|(seq, (key, value))| record(seq, &key, value))
        .collect();
    for group in records.chunks(1_000) {
        writer.commit(group.to_vec())?;
    }
    Ok(log)
}

fn record(seq: u64, key: &str, value: Vec<u8>) -> NewRecord {
    NewRecord {
        topic: Stream::Product.topic().into(),
        partition: 0,
        key: key.as_bytes().to_vec(),
        value: Some(value),
        headers: vec![
            (header::SEQ, seq.to_string().into_bytes()),
            (header::WRITER_EPOCH, b"1".to_vec()),
        ],
    }
}

/// How long the pipeline takes over the whole log.
fn project(
    log: &MemoryLog,
    codec: &Codec,
    plan: Plan,
    mut sink: Box<dyn Sink>,
    poison: usize,
) -> anyhow::Result<Duration> {
    sink.prepare()?;
    let limits = Limits {
        poll: Duration::ZERO,
        linger: Duration::ZERO,
        heartbeat: None,
        ..Limits::default()
    };
    let reader = log.reader(ReaderPurpose::Recovery)?;
    let at = TopicPartition::new(Arc::from(Stream::Product.topic()), 0);
    let source = FixedPartitions::new(reader, vec![at]);
    let mut worker = Worker::new(plan, limits, source, codec.clone(), sink);
    let begun = Instant::now();
    loop {
        match worker.step() {
            Step::Applied(_) | Step::Rebalanced => {}
            Step::Idle => break,
            other => anyhow::bail!("{other:?}"),
        }
    }
    let took = begun.elapsed();
    let parked = worker.totals().parked;
    ensure!(
        parked == poison,
        "{parked} records are parked, not {poison}"
    );
    Ok(took)
}
