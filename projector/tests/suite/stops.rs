//! Where going on would lose or invent something, the projection stops and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cartwright_event_log::memory::{Fault, MemoryReader};
use cartwright_event_log::{GroupEvent, GroupReader, LogError, Start, TopicPartition};
use cartwright_events::catalog::ProductEvent;
use cartwright_events::wire::Wire;
use cartwright_events::{SchemaTopic, Stream, Timestamp};
use cartwright_projector::{FixedPartitions, Limits, Plan, Step, Worker};
use cartwright_read_model::tables::{CONTROL_VERSION, PARKED};
use cartwright_read_model::{ParkedRow, PositionKey};
use cartwright_sinks::{MemoryFault, MemorySink, MemoryStore, Semantics, Sink};

use crate::history::{History, price_changed, product_created};
use crate::setup::{Entry, TestLog, limits, partition_of, plan, rows, run};

fn stopped(step: Step) -> String {
    match step {
        Step::Stopped { reason } => reason,
        other => panic!("not stopped: {other:?}"),
    }
}

fn parked(store: &MemoryStore) -> Vec<ParkedRow> {
    let key = |partition| PositionKey {
        projection: "products",
        version: 1,
        stream: Stream::Product,
        partition,
    };
    let mut sink = MemorySink::new(store.clone(), 1);
    (0..2)
        .flat_map(|partition| sink.load(&key(partition), 1).expect("up").parked)
        .collect()
}

/// The value of an event whose type this version does not know: no branch is set.
fn from_a_newer_writer(log: &TestLog, key: &str) -> Vec<u8> {
    let id = log.codec.schema_id(SchemaTopic::Events(Stream::Product));
    let mut value = vec![0];
    value.extend(id.to_be_bytes());
    key.to_owned().encode(&mut value);
    2_u64.encode(&mut value);
    Timestamp::EPOCH.encode(&mut value);
    value.extend(ProductEvent::TYPE_NAMES.iter().map(|_| 0));
    value
}

#[test]
fn an_event_of_a_newer_writer_stops_the_projection_after_what_came_before() {
    let mut log = TestLog::new();
    let value = from_a_newer_writer(&log, "cup");
    log.write([Entry::Event(&product_created("cup", 5))]);
    log.write([Entry::Raw(Stream::Product, "cup", Some(value))]);
    log.write([Entry::Event(&price_changed("cup", 3, 6))]);
    let store = MemoryStore::new(Semantics::Transactional);
    for _ in 0..2 {
        let reason = stopped(run(&mut log.worker("products", &store)));
        assert!(reason.contains("newer version"), "{reason}");
    }
    let rows = rows(&store, "products");
    assert_eq!(
        rows[0].value("price_minor"),
        &5_i64.into(),
        "nothing is skipped"
    );
    assert_eq!(parked(&store), [], "nor parked");
}

#[test]
fn a_schema_that_nobody_knows_stops_the_projection() {
    let mut log = TestLog::new();
    let value = vec![0, 0, 0, 99, 1, 1];
    log.write([Entry::Raw(Stream::Product, "cup", Some(value))]);
    let store = MemoryStore::new(Semantics::Transactional);
    let reason = stopped(run(&mut log.worker("products", &store)));
    assert!(reason.contains("schema"), "{reason}");
}

#[test]
fn a_gap_in_the_seqs_stops_the_projection() {
    let mut log = TestLog::new();
    log.write([Entry::Event(&product_created("cup", 5))]);
    log.skip_seq(Stream::Product, "cup");
    log.write([Entry::Event(&price_changed("cup", 2, 6))]);
    let store = MemoryStore::new(Semantics::CellTimes);
    let reason = stopped(run(&mut log.worker("products", &store)));
    assert!(reason.contains("seq 3 where 2 is due"), "{reason}");
    let rows = rows(&store, "products");
    assert_eq!(rows[0].value("price_minor"), &5_i64.into());
}

#[test]
fn a_gap_in_one_partition_does_not_keep_the_others_from_being_applied() {
    let keys: Vec<String> = (0..20).map(|number| format!("sku-{number}")).collect();
    let of = |partition| keys.iter().find(|key| partition_of(key) == partition);
    let (first, second) = (of(0).expect("a key"), of(1).expect("a key"));
    let mut log = TestLog::new();
    log.skip_seq(Stream::Product, first);
    log.write([
        Entry::Event(&product_created(first, 5)),
        Entry::Event(&product_created(second, 5)),
    ]);
    let store = MemoryStore::new(Semantics::CellTimes);
    stopped(run(&mut log.worker("products", &store)));
    let rows = rows(&store, "products");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].values[0], second.as_str().into());
}

#[test]
fn a_store_that_refuses_for_good_stops_the_projection() {
    let log = TestLog::with(&History::new(1, 3).events);
    let store = MemoryStore::new(Semantics::Transactional);
    store.inject(MemoryFault::Refused);
    let reason = stopped(run(&mut log.worker("sales", &store)));
    assert!(reason.contains("refused"), "{reason}");
}

#[test]
fn what_the_store_refuses_is_not_passed_over_because_another_partition_waits() {
    let keys: Vec<String> = (0..20).map(|number| format!("sku-{number}")).collect();
    let of = |partition| keys.iter().find(|key| partition_of(key) == partition);
    let mut log = TestLog::new();
    for key in [of(0), of(1)] {
        log.write([Entry::Event(&product_created(key.expect("a key"), 5))]);
    }
    let store = MemoryStore::new(Semantics::Transactional);
    store.inject(MemoryFault::AfterRows(0));
    store.inject(MemoryFault::Refused);
    let mut worker = log.worker("products", &store);
    let reason = stopped(run(&mut worker));
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(rows(&store, "products").len(), 0);
    assert_eq!(run(&mut worker), Step::Idle);
    assert_eq!(rows(&store, "products").len(), 2);
}

#[test]
fn a_log_whose_beginning_is_gone_stops_the_projection_rather_than_be_skipped() {
    let mut log = TestLog::new();
    log.write([Entry::Event(&product_created("cup", 5))]);
    let store = MemoryStore::new(Semantics::Transactional);
    assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
    for version in 2..8 {
        log.write([Entry::Event(&price_changed("cup", version, 6))]);
    }
    let at = TopicPartition::new(Stream::Product.topic(), partition_of("cup"));
    log.log.delete_records(&at, 6);
    stopped(run(&mut log.worker("products", &store)));
}

#[test]
fn a_log_that_does_not_answer_is_waited_for() {
    let log = TestLog::with(&History::new(6, 5).events);
    let store = MemoryStore::new(Semantics::Transactional);
    let mut worker = log.worker("sales", &store);
    worker.step();
    log.log.inject(Fault::ReaderError);
    let waited = (0..3).any(|_| matches!(worker.step(), Step::Waiting { .. }));
    assert!(waited);
    assert_eq!(run(&mut worker), Step::Idle);
    let whole = log.project("sales", Semantics::Transactional);
    assert_eq!(rows(&store, "sales"), rows(&whole, "sales"));
}

/// A log that does not say where its first partition ends; it counts how often it is asked.
struct NoEnd(FixedPartitions<MemoryReader>, Arc<AtomicUsize>);

impl GroupReader for NoEnd {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<GroupEvent, LogError> {
        self.0.poll(max, timeout)
    }

    fn seek_all(&mut self, starts: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        self.0.seek_all(starts)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.0.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        if at.partition > 0 {
            return self.0.watermarks(at);
        }
        self.1.fetch_add(1, Ordering::Relaxed);
        Err(LogError::Unavailable {
            reason: "no leader".to_owned(),
        })
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.0.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.0.resume(partitions)
    }
}

/// Each call waits for as long as one may.
#[test]
fn a_partition_whose_end_is_not_told_does_not_hold_the_others_up_again_and_again() {
    let log = TestLog::with(&History::new(6, 5).events);
    let store = MemoryStore::new(Semantics::Transactional);
    let (plan, asked) = (plan("sales"), Arc::new(AtomicUsize::new(0)));
    let limits = Limits {
        heartbeat: Some(Duration::ZERO),
        ..limits()
    };
    let reader = NoEnd(log.fixed(&plan), Arc::clone(&asked));
    let sink = Box::new(MemorySink::new(store.clone(), 1));
    let mut worker = Worker::new(plan, limits, reader, log.codec.clone(), sink);
    for _ in 0..50 {
        worker.step();
        let reports = worker.report();
        assert!(
            reports.iter().all(|each| each.behind.is_none()),
            "{reports:?}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let whole = log.project("sales", Semantics::Transactional);
    assert_eq!(rows(&store, "sales"), rows(&whole, "sales"));
}

fn worker_of_generation(
    log: &TestLog,
    generation: u32,
    store: &MemoryStore,
) -> Worker<impl cartwright_event_log::GroupReader> {
    let plan = Plan {
        generation,
        ..plan("products")
    };
    let sink = MemorySink::new(store.clone(), 1);
    Worker::new(
        plan,
        limits(),
        log.fixed(&plan),
        log.codec.clone(),
        Box::new(sink),
    )
}

#[test]
fn a_log_made_anew_is_read_from_its_beginning_and_an_older_one_is_refused() {
    for semantics in [Semantics::Transactional, Semantics::CellTimes] {
        let store = MemoryStore::new(semantics);
        let mut old = TestLog::new();
        for version in 1..6 {
            old.write([Entry::Event(&match version {
                1 => product_created("cup", 5),
                _ => price_changed("cup", version, 10 + version as i64),
            })]);
        }
        old.write([Entry::Raw(Stream::Product, "cup", None)]);
        assert_eq!(run(&mut worker_of_generation(&old, 1, &store)), Step::Idle);
        assert_eq!(store.rows(&PARKED, CONTROL_VERSION).len(), 1);
        // The new log is shorter: its seqs are below those of the old one, and win all the same.
        let mut new = TestLog::new();
        new.write([Entry::Event(&product_created("cup", 7))]);
        assert_eq!(run(&mut worker_of_generation(&new, 2, &store)), Step::Idle);
        let rows = rows(&store, "products");
        assert_eq!(rows[0].value("price_minor"), &7_i64.into(), "{semantics:?}");
        assert_eq!(store.rows(&PARKED, CONTROL_VERSION), [], "{semantics:?}");
        let reason = stopped(run(&mut worker_of_generation(&old, 1, &store)));
        assert!(reason.contains("generation 2"), "{reason}");
    }
}
