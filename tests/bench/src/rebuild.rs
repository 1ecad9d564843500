//! Rebuilding projections: rows into the real stores, as ratios to what one run reaches without them.
//!
//! `CARTWRIGHT_TEST_POSTGRES` (a URL) and `CARTWRIGHT_TEST_CASSANDRA` (`host:port`) name the stores;
//! without one, its part is left out. `CARTWRIGHT_TEST_KAFKA` (`host:port`) names the log: a shop's,
//! with `CARTWRIGHT_TEST_REGISTRY` (a URL) for its schemas, or one whose topics have been made and are
//! empty, which this fills. Without it the log is in memory, and reading costs next to nothing.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{
    EventLog, LogReader, LogWriter, NewRecord, ReaderPurpose, Start, TopicPartition,
};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::partition::partition_of;
use cartwright_events::{Event, Stream, Timestamp};
use cartwright_projector::{FixedPartitions, Limits, Plan, Step, Worker, envelope};
use cartwright_read_model::PositionKey;
use cartwright_read_model::cassandra::CassandraOptions;
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{self, PostgresOptions};
use cartwright_replay::build::{self, Board, Work};
use cartwright_sinks::{
    Batch, CassandraSink, CassandraStore, Loaded, PostgresSink, Sink, SinkError,
};

const PARTITIONS: u32 = 2;
const ORDERS: u32 = 20_000;
/// Cassandra takes rows far more slowly.
const ORDERS_BY_KEY: u32 = 4_000;
const ROUNDS: u32 = 3;
/// Records taken at a time, as the replay tool does.
const MAX_RECORDS: usize = 20_000;

/// Prints the ratios.
///
/// # Errors
/// A store that does not answer, or a rebuild that does not end.
pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let codec = match std::env::var("CARTWRIGHT_TEST_REGISTRY") {
        Ok(url) => Codec::connect(&url)?,
        Err(_) => Codec::fixed(),
    };
    println!("{ROUNDS} rounds, medians:");
    if let Ok(brokers) = std::env::var("CARTWRIGHT_TEST_KAFKA") {
        let log = KafkaLog::new(KafkaOptions::new(brokers))?;
        let first = TopicPartition::new(Stream::Order.topic(), 0);
        if log.reader(ReaderPurpose::Recovery)?.watermarks(&first)?.1 == 0 {
            write_history(&log, &codec, ORDERS)?;
        }
        return ratios(&runtime, &codec, |_| Ok(log.clone()));
    }
    ratios(&runtime, &codec, |orders| {
        let log = MemoryLog::new();
        for stream in Stream::ALL {
            log.create_topic(stream.topic(), PARTITIONS);
        }
        write_history(&log, &codec, orders)?;
        Ok(log)
    })
}

fn ratios<L: EventLog>(
    runtime: &tokio::runtime::Runtime,
    codec: &Codec,
    log_of: impl Fn(u32) -> anyhow::Result<L>,
) -> anyhow::Result<()> {
    if let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") {
        relational(runtime, &log_of(ORDERS)?, codec, &url)?;
    }
    if let Ok(node) = std::env::var("CARTWRIGHT_TEST_CASSANDRA") {
        by_key(runtime, &log_of(ORDERS_BY_KEY)?, codec, node)?;
    }
    Ok(())
}

fn relational<L: EventLog>(
    runtime: &tokio::runtime::Runtime,
    log: &L,
    codec: &Codec,
    url: &str,
) -> anyhow::Result<()> {
    let pool = postgres::pool(&PostgresOptions::new(url))?;
    let control = Control::Postgres(pool.clone());
    let (mut alone, mut bulk, mut ordinary) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let plan = plan("sales", first_version() + 2 * round)?;
        alone.push(decode_alone(log, codec, &plan)?);
        let make = |version: u32| {
            let handle = runtime.handle().clone();
            PostgresSink::new(handle, pool.clone(), plan.projection, version)
        };
        let sink = || -> Box<dyn Sink> { Box::new(make(plan.version).in_bulk()) };
        // What is left for the end: keys and indexes.
        let finish = || make(plan.version).prepare();
        bulk.push(rebuild(log, codec, plan, &sink, finish)?);
        let second = Plan {
            version: plan.version + 1,
            ..plan
        };
        let live = Box::new(make(second.version));
        ordinary.push(live_way(log, codec, second, live)?);
        for version in [plan.version, second.version] {
            runtime.block_on(control.remove_version(plan.projection, version))?;
        }
    }
    let (alone, bulk, ordinary) = (median(alone), median(bulk), median(ordinary));
    println!(
        "PostgreSQL: rebuild {:.2} of the speed of reading and decoding alone ({bulk:.2} s to {alone:.2} s)",
        alone / bulk
    );
    println!(
        "PostgreSQL: rebuild {:.2} times as fast as the live way",
        ordinary / bulk
    );
    Ok(())
}

fn by_key<L: EventLog>(
    runtime: &tokio::runtime::Runtime,
    log: &L,
    codec: &Codec,
    node: String,
) -> anyhow::Result<()> {
    let store = CassandraStore::new(CassandraOptions::new(vec![node], "cartwright_bench"), 128);
    let (mut ceiling, mut full) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let plan = plan("orders", first_version() + 2 * round)?;
        let make = |version: u32| -> Box<dyn Sink> {
            let handle = runtime.handle().clone();
            Box::new(CassandraSink::new(
                handle,
                store.clone(),
                plan.projection,
                version,
            ))
        };
        full.push(rebuild(
            log,
            codec,
            plan,
            &|| make(plan.version),
            || Ok(()),
        )?);
        // The same batches again, with no log behind them.
        let kept: Arc<Mutex<Vec<Arc<Batch>>>> = Arc::default();
        let keeper = || -> Box<dyn Sink> { Box::new(Keeper(Arc::clone(&kept))) };
        rebuild(log, codec, plan, &keeper, || Ok(()))?;
        let batches = std::mem::take(&mut *kept.lock().map_err(|_| anyhow::anyhow!("poisoned"))?);
        ceiling.push(write_alone(batches, &|| make(plan.version + 1))?);
        let session = runtime.block_on(store.session())?;
        let control = Control::Cassandra(session, "cartwright_bench".into());
        for version in [plan.version, plan.version + 1] {
            runtime.block_on(control.remove_version(plan.projection, version))?;
        }
    }
    let ratio = median(ceiling) / median(full);
    println!("Cassandra: rebuild {ratio:.2} of the speed of the same statements alone");
    Ok(())
}

/// Reads, decodes and throws away, the partitions side by side.
fn decode_alone<L: EventLog>(log: &L, codec: &Codec, plan: &Plan) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let partitions = build::partitions(log, plan, |_| None)?;
    std::thread::scope(|scope| {
        let readers: Vec<_> = partitions
            .iter()
            .map(|(at, end)| scope.spawn(move || decode(log, codec, at, end.offset)))
            .collect();
        readers.into_iter().try_for_each(|reader| {
            reader
                .join()
                .map_err(|_| anyhow::anyhow!("a reader panicked"))?
        })
    })?;
    Ok(begun.elapsed())
}

fn decode<L: EventLog>(
    log: &L,
    codec: &Codec,
    at: &TopicPartition,
    end: u64,
) -> anyhow::Result<()> {
    let stream = Stream::of_topic(&at.topic).context("a topic of events")?;
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    reader.assign(&[(at.clone(), Start::Beginning)])?;
    while reader.position(at)? < end {
        for record in reader.poll(MAX_RECORDS, Duration::from_millis(10))? {
            black_box(envelope(stream, &record)?);
            let value = record.value.as_deref().unwrap_or_default();
            black_box(codec.decode_event(stream, value)?);
        }
    }
    Ok(())
}

fn rebuild<L: EventLog>(
    log: &L,
    codec: &Codec,
    plan: Plan,
    sink: &(dyn Fn() -> Box<dyn Sink> + Sync),
    finish: impl FnOnce() -> Result<(), SinkError>,
) -> anyhow::Result<Duration> {
    // Tables are made once a version, and take as long for one row as for a million.
    sink().prepare()?;
    let (board, begun) = (Board::default(), Instant::now());
    let work = Work {
        log: log.clone(),
        codec: codec.clone(),
        plan,
        limits: limits(),
        sink,
        partitions: build::partitions(log, &plan, |_| None)?,
        parallel: PARTITIONS as usize,
        rate: None,
    };
    ensure!(build::run(&work, &board), "{:?}", board.partitions());
    finish()?;
    Ok(begun.elapsed())
}

/// One worker over all partitions, with the limits of a projector.
fn live_way<L: EventLog>(
    log: &L,
    codec: &Codec,
    plan: Plan,
    mut sink: Box<dyn Sink>,
) -> anyhow::Result<Duration> {
    sink.prepare()?;
    let partitions = build::partitions(log, &plan, |_| None)?;
    let partitions = partitions.into_iter().map(|(at, _)| at).collect();
    let source = FixedPartitions::new(log.reader(ReaderPurpose::Recovery)?, partitions);
    let limits = Limits {
        heartbeat: None,
        poll: Duration::from_millis(1),
        ..Limits::default()
    };
    let mut worker = Worker::new(plan, limits, source, codec.clone(), sink);
    let begun = Instant::now();
    loop {
        match worker.step() {
            Step::Idle if worker.report().iter().all(|each| each.behind == Some(0)) => {
                return Ok(begun.elapsed());
            }
            Step::Idle | Step::Applied(_) | Step::Rebalanced => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
}

fn write_alone(
    batches: Vec<Arc<Batch>>,
    make: &(dyn Fn() -> Box<dyn Sink> + Sync),
) -> anyhow::Result<Duration> {
    make().prepare()?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let batches = &batches;
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut sink = make();
                    sink.prepare()?;
                    let mut own = batches
                        .iter()
                        .filter(|batch| batch.key.partition == partition);
                    own.try_for_each(|batch| Ok(sink.apply(batch)?))
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))?
        })
    })?;
    Ok(begun.elapsed())
}

/// Keeps batches in place of writing them.
struct Keeper(Arc<Mutex<Vec<Arc<Batch>>>>);

impl Sink for Keeper {
    fn prepare(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn load(&mut self, _: &PositionKey, _: u32) -> Result<Loaded, SinkError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        if let Ok(mut kept) = self.0.lock() {
            kept.push(Arc::clone(batch));
        }
        Ok(())
    }
}

fn plan(name: &str, version: u32) -> anyhow::Result<Plan> {
    let plan = Plan::named(name, 1)?;
    Ok(Plan { version, ..plan })
}

/// A number that no run before has used: one that was stopped has left its positions.
fn first_version() -> u32 {
    let seconds = Timestamp::now().as_micros() / 1_000_000;
    1_000 + 10 * u32::try_from(seconds % 100_000_000).unwrap_or(0)
}

fn limits() -> Limits {
    Limits {
        max_records: MAX_RECORDS,
        max_rows: 100_000,
        linger: Duration::from_secs(1),
        poll: Duration::from_millis(1),
        heartbeat: None,
        ..Limits::default()
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Orders of three lines that are created, confirmed, captured and paid, their events mixed.
fn write_history<L: EventLog>(log: &L, codec: &Codec, orders: u32) -> anyhow::Result<()> {
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
