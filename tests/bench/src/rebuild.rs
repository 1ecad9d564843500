//! Rebuilding projections: rows into the real stores, as ratios to what one run reaches without them.
//!
//! `CARTWRIGHT_TEST_POSTGRES` (a URL) and `CARTWRIGHT_TEST_CASSANDRA` (`host:port`) name the stores;
//! without one, its part is left out. `CARTWRIGHT_TEST_KAFKA` (`host:port`) names the log: a shop's,
//! with `CARTWRIGHT_TEST_REGISTRY` (a URL) for its schemas, or one whose topics have been made and are
//! empty, which this fills. Without it the log is in memory, and reading costs next to nothing.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Stream, Timestamp};
use cartwright_projector::{FixedPartitions, Limits, Plan, Step, Worker, envelope};
use cartwright_read_model::PositionKey;
use cartwright_read_model::cassandra::CassandraOptions;
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{self, PostgresOptions};
use cartwright_replay::build::{self, Board, Work};
use cartwright_sinks::{
    Batch, CassandraSink, CassandraStore, Loaded, PostgresSink, Sink, SinkError,
};

use crate::cpu::{Apart, Meter, Took};
use crate::history::{self, History};

pub(crate) const PARTITIONS: u32 = 2;
/// Events of orders, and of products, for PostgreSQL.
const EVENTS: u32 = 960_000;
/// What Cassandra takes in about the same time.
const EVENTS_BY_KEY: u32 = 40_000;
const ROUNDS: u32 = 5;
/// Versions that a round makes.
const VERSIONS: u32 = 4;
/// Records in a batch, as in the replay tool.
const MAX_RECORDS: usize = 20_000;
/// Records read at a time, as a worker does.
const MAX_POLL_RECORDS: usize = 1_000;

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
        return ratios(&runtime, &codec, |history, events| {
            let first = TopicPartition::new(history.stream.topic(), 0);
            if log.reader(ReaderPurpose::Recovery)?.watermarks(&first)?.1 == 0 {
                history.write(&log, &codec, events)?;
            }
            Ok(log.clone())
        });
    }
    ratios(&runtime, &codec, |history, events| {
        let log = MemoryLog::new();
        log.create_topic(history.stream.topic(), PARTITIONS);
        history.write(&log, &codec, events)?;
        Ok(log)
    })
}

fn ratios<L: EventLog>(
    runtime: &tokio::runtime::Runtime,
    codec: &Codec,
    log_of: impl Fn(&History, u32) -> anyhow::Result<L>,
) -> anyhow::Result<()> {
    if let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") {
        for (name, history) in [("sales", &history::ORDERS), ("catalog", &history::PRICES)] {
            relational(runtime, &log_of(history, EVENTS)?, codec, &url, name)?;
        }
    }
    if let Ok(node) = std::env::var("CARTWRIGHT_TEST_CASSANDRA") {
        let log = log_of(&history::ORDERS, EVENTS_BY_KEY)?;
        by_key(runtime, &log, codec, node)?;
    }
    Ok(())
}

fn relational<L: EventLog>(
    runtime: &tokio::runtime::Runtime,
    log: &L,
    codec: &Codec,
    url: &str,
    name: &str,
) -> anyhow::Result<()> {
    let pool = postgres::pool(&PostgresOptions::new(url))?;
    let control = Control::Postgres(pool.clone());
    let client = runtime.block_on(pool.get())?;
    let backend = runtime.block_on(client.query_one("SELECT pg_backend_pid()", &[]))?;
    let backend = backend.try_get(0)?;
    let meter = Meter::beside(backend);
    let apart = Apart::from(backend);
    match &apart {
        Ok(_) => println!("PostgreSQL and this process have cores of their own"),
        Err(error) => println!("PostgreSQL and this process share their cores: {error:#}"),
    }
    let (mut alone, mut bulk, mut live, mut ceiling) = Default::default();
    for round in 0..ROUNDS {
        let plan = plan(name, first_version() + VERSIONS * round)?;
        let make = |version: u32| {
            let handle = runtime.handle().clone();
            PostgresSink::new(handle, pool.clone(), plan.projection, version)
        };
        meter.time(&mut alone, || decode_alone(log, codec, &plan))?;
        let in_bulk = || -> Box<dyn Sink> { Box::new(make(plan.version).in_bulk()) };
        // What is left for the end: keys and indexes.
        let finish = || runtime.block_on(control.complete(plan.projection, plan.version));
        in_bulk().prepare()?;
        meter.time(&mut bulk, || {
            rebuild(log, codec, plan, &in_bulk)?;
            Ok(finish()?)
        })?;
        let sink = |version: u32| -> Box<dyn Sink> { Box::new(make(version)) };
        live_and_ceiling(&meter, log, codec, plan, &sink, (&mut live, &mut ceiling))?;
        for version in plan.version..plan.version + VERSIONS {
            runtime.block_on(control.remove_version(plan.projection, version))?;
        }
    }
    let say = |what: &str, first: &[Took], second: &[Took]| {
        say(&format!("PostgreSQL, {name}: {what}"), first, second);
    };
    say("rebuild, to reading and decoding alone", &alone, &bulk);
    say("rebuild, to the live way", &live, &bulk);
    say("live way, to the same writes alone", &ceiling, &live);
    Ok(())
}

fn by_key<L: EventLog>(
    runtime: &tokio::runtime::Runtime,
    log: &L,
    codec: &Codec,
    node: String,
) -> anyhow::Result<()> {
    let meter = Meter::default();
    let store = CassandraStore::new(CassandraOptions::new(vec![node], "cartwright_bench"), 128);
    let (mut ceiling, mut full, mut live, mut live_ceiling) = Default::default();
    for round in 0..ROUNDS {
        let plan = plan("orders", first_version() + VERSIONS * round)?;
        let make = |version: u32| -> Box<dyn Sink> {
            let handle = runtime.handle().clone();
            let store = store.clone();
            Box::new(CassandraSink::new(handle, store, plan.projection, version))
        };
        make(plan.version).prepare()?;
        meter.time(&mut full, || {
            rebuild(log, codec, plan, &|| make(plan.version))
        })?;
        let kept = Keeper::default();
        let version = plan.version + VERSIONS - 1;
        let alone = Plan { version, ..plan };
        rebuild(log, codec, alone, &|| Box::new(kept.clone()))?;
        write_alone(&meter, &mut ceiling, kept, &|| make(version))?;
        live_and_ceiling(
            &meter,
            log,
            codec,
            plan,
            &make,
            (&mut live, &mut live_ceiling),
        )?;
        let session = runtime.block_on(store.session())?;
        let control = Control::Cassandra(session, "cartwright_bench".into());
        for version in plan.version..plan.version + VERSIONS {
            runtime.block_on(control.remove_version(plan.projection, version))?;
        }
    }
    say(
        "Cassandra: rebuild, to the same writes alone",
        &ceiling,
        &full,
    );
    say(
        "Cassandra: live way, to the same writes alone",
        &live_ceiling,
        &live,
    );
    Ok(())
}

/// The live way, and the writes of its batches with no log behind them.
fn live_and_ceiling<L: EventLog>(
    meter: &Meter,
    log: &L,
    codec: &Codec,
    plan: Plan,
    make: &(dyn Fn(u32) -> Box<dyn Sink> + Sync),
    (live, ceiling): (&mut Vec<Took>, &mut Vec<Took>),
) -> anyhow::Result<()> {
    let as_version = |version| Plan { version, ..plan };
    let (first, second) = (plan.version + 1, plan.version + 2);
    make(first).prepare()?;
    meter.time(live, || {
        live_way(log, codec, as_version(first), &|| make(first))
    })?;
    let kept = Keeper::default();
    live_way(log, codec, as_version(second), &|| Box::new(kept.clone()))?;
    write_alone(meter, ceiling, kept, &|| make(second))
}

/// How fast the second is, with the first as 1.
fn say(what: &str, first: &[Took], second: &[Took]) {
    let (first, second) = (Took::median(first), Took::median(second));
    let ratio = first.wall.as_secs_f64() / second.wall.as_secs_f64();
    println!("{what}: {ratio:.2} ({second} to {first})");
}

/// Reads, decodes and throws away, the partitions side by side.
fn decode_alone<L: EventLog>(log: &L, codec: &Codec, plan: &Plan) -> anyhow::Result<()> {
    let partitions = build::partitions(log, plan, |_| None)?;
    side_by_side(&partitions, |(at, end)| decode(log, codec, at, end.offset))
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
        for record in reader.poll(MAX_POLL_RECORDS, Duration::from_millis(10))? {
            black_box(envelope(stream, &record)?);
            let value = record.value.as_deref().unwrap_or_default();
            black_box(codec.decode_event(stream, value)?);
        }
    }
    Ok(())
}

/// Tables are there already: they take as long for one row as for a million.
fn rebuild<L: EventLog>(
    log: &L,
    codec: &Codec,
    plan: Plan,
    sink: &(dyn Fn() -> Box<dyn Sink> + Sync),
) -> anyhow::Result<()> {
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
    let board = Board::default();
    ensure!(build::run(&work, &board), "{:?}", board.partitions());
    Ok(())
}

/// A worker for each partition, with the limits of a projector.
fn live_way<L: EventLog>(
    log: &L,
    codec: &Codec,
    plan: Plan,
    sink: &(dyn Fn() -> Box<dyn Sink> + Sync),
) -> anyhow::Result<()> {
    let partitions = build::partitions(log, &plan, |_| None)?;
    side_by_side(&partitions, |(at, _)| follow(log, codec, plan, at, sink()))
}

fn follow<L: EventLog>(
    log: &L,
    codec: &Codec,
    plan: Plan,
    at: &TopicPartition,
    sink: Box<dyn Sink>,
) -> anyhow::Result<()> {
    let reader = log.reader(ReaderPurpose::Recovery)?;
    let source = FixedPartitions::new(reader, vec![at.clone()]);
    let limits = Limits {
        heartbeat: None,
        poll: Duration::from_millis(1),
        ..Limits::default()
    };
    let mut worker = Worker::new(plan, limits, source, codec.clone(), sink);
    loop {
        match worker.step() {
            Step::Idle if worker.report().iter().all(|each| each.behind == Some(0)) => {
                return Ok(());
            }
            Step::Idle | Step::Applied(_) | Step::Rebalanced => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
}

fn side_by_side<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })
    })
}

/// Applies what was kept, each partition in its order, beside each other.
fn write_alone(
    meter: &Meter,
    times: &mut Vec<Took>,
    kept: Keeper,
    make: &(dyn Fn() -> Box<dyn Sink> + Sync),
) -> anyhow::Result<()> {
    let batches = kept.0.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
    make().prepare()?;
    let partitions: Vec<u32> = (0..PARTITIONS).collect();
    meter.time(times, || {
        side_by_side(&partitions, |partition| {
            let mut sink = make();
            sink.prepare()?;
            let mut own = batches
                .iter()
                .filter(|batch| batch.key.partition == *partition);
            own.try_for_each(|batch| Ok(sink.apply(batch)?))
        })
    })
}

/// Keeps batches in place of writing them.
#[derive(Clone, Default)]
pub(crate) struct Keeper(Arc<Mutex<Vec<Arc<Batch>>>>);

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

pub(crate) fn plan(name: &str, version: u32) -> anyhow::Result<Plan> {
    let plan = Plan::named(name, 1)?;
    Ok(Plan { version, ..plan })
}

/// A number that no run before has used: one that was stopped has left its positions.
pub(crate) fn first_version() -> u32 {
    let seconds = Timestamp::now().as_micros() / 1_000_000;
    1_000 + 20 * u32::try_from(seconds % 100_000_000).unwrap_or(0)
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
