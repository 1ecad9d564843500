//! The sink contract over running servers.
//!
//! Set `CARTWRIGHT_TEST_POSTGRES` (a URL of a database that may be written to) and
//! `CARTWRIGHT_TEST_CASSANDRA` (`host:port`); without them there is nothing to test against.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::cassandra::CassandraOptions;
use cartwright_read_model::postgres::{PostgresOptions, pool};
use cartwright_read_model::{Position, PositionKey, RowOp};
use cartwright_sinks::contract::{
    CassandraSubject, PARTS, PROJECTION, PostgresSubject, Subject, THINGS, check,
};
use cartwright_sinks::{Batch, SeqOp, Sink, SinkError, Unparked};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn postgres_keeps_the_contract() {
    let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") else {
        return eprintln!("skipped: CARTWRIGHT_TEST_POSTGRES is not set");
    };
    let runtime = runtime();
    check(&PostgresSubject::new(runtime.handle().clone(), &url));
}

#[test]
fn postgres_in_bulk_keeps_the_contract() {
    let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") else {
        return eprintln!("skipped: CARTWRIGHT_TEST_POSTGRES is not set");
    };
    let runtime = runtime();
    check(&PostgresSubject::new(runtime.handle().clone(), &url).in_bulk());
}

/// Partition 0 between the positions `from` and `to`, with a label for each thing.
fn labels(subject: &PostgresSubject, from: u64, to: u64, things: &[&str]) -> Arc<Batch> {
    let position = |seq| Position {
        generation: 1,
        next_offset: seq,
        seq,
        recorded_at: Timestamp::EPOCH,
    };
    let op = |thing: &&str| SeqOp {
        seq: to,
        op: RowOp::upsert(&THINGS, [(*thing).into()], [("label", "new".into())]),
    };
    Arc::new(Batch {
        key: PositionKey {
            projection: PROJECTION.name,
            version: subject.version(),
            stream: Stream::Order,
            partition: 0,
        },
        expected: (from > 0).then(|| position(from)),
        next: position(to),
        ops: things.iter().map(op).collect(),
        parked: Vec::new(),
        unparked: Unparked::default(),
    })
}

#[test]
fn tables_built_in_bulk_get_their_keys_when_a_row_may_be_there_and_at_the_end() {
    let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") else {
        return eprintln!("skipped: CARTWRIGHT_TEST_POSTGRES is not set");
    };
    let runtime = runtime();
    let subject = PostgresSubject::new(runtime.handle().clone(), &url).in_bulk();
    let mut sink = subject.sink();
    sink.prepare().expect("tables");
    let nothing = labels(&subject, 0, 1, &[]);
    let loaded = sink.load(&nothing.key, 1).expect("what is there");
    assert_eq!(loaded.position, None);

    sink.apply(&labels(&subject, 0, 2, &["cup", "hat"]))
        .expect("new rows");
    assert!(!subject.has_key(&THINGS), "new rows are copied without one");
    sink.apply(&labels(&subject, 2, 3, &["hat", "mug"]))
        .expect("one that is there, and a new one");
    assert!(subject.has_key(&THINGS));
    assert_eq!(subject.rows(&THINGS).len(), 3);

    assert!(!subject.has_key(&PARTS));
    subject.live_sink().prepare().expect("the rest");
    assert!(subject.has_key(&PARTS));
}

/// A process that is frozen, or cut off without a word, in the middle of a transaction has the partition
/// locked; whoever takes it over must not wait for it to wake.
#[test]
fn who_stands_still_in_a_transaction_does_not_keep_others_from_its_partition() {
    let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") else {
        return eprintln!("skipped: CARTWRIGHT_TEST_POSTGRES is not set");
    };
    let runtime = runtime();
    let subject = PostgresSubject::new(runtime.handle().clone(), &url);
    let mut successor = subject.sink();
    successor.prepare().expect("tables");
    let first = labels(&subject, 0, 1, &["cup"]);
    successor.load(&first.key, 1).expect("what is there");
    successor.apply(&first).expect("the first batch");

    let mut options = PostgresOptions::new(url);
    options.idle_in_transaction_timeout = Some(Duration::from_millis(300));
    let pool = pool(&options).expect("a pool");
    let mut client = runtime.block_on(pool.get()).expect("a connection");
    let frozen = runtime.block_on(async {
        let transaction = client.transaction().await.expect("a transaction");
        let lock = "SELECT FROM positions_v1 WHERE projection_version = $1 FOR UPDATE";
        let version = i64::from(subject.version());
        let locked = transaction.query_one(lock, &[&version]).await;
        locked.expect("the partition's position");
        transaction
    });
    let (applied, outcome) = mpsc::channel();
    let second = labels(&subject, 1, 2, &["hat"]);
    std::thread::spawn(move || applied.send(successor.apply(&second)));
    let outcome = outcome.recv_timeout(Duration::from_secs(30));
    outcome
        .expect("the successor waits for ever")
        .expect("the second batch");

    let woken = runtime.block_on(frozen.batch_execute("SELECT 1"));
    let told = SinkError::from(woken.expect_err("the transaction has been ended"));
    assert!(matches!(told, SinkError::Retry { .. }), "{told}");
}

#[test]
fn cassandra_keeps_the_contract() {
    let Ok(node) = std::env::var("CARTWRIGHT_TEST_CASSANDRA") else {
        return eprintln!("skipped: CARTWRIGHT_TEST_CASSANDRA is not set");
    };
    let runtime = runtime();
    let mut options = CassandraOptions::new(vec![node], "cartwright_suites");
    options.request_timeout = Duration::from_secs(60);
    check(&CassandraSubject::new(runtime.handle().clone(), options));
}
