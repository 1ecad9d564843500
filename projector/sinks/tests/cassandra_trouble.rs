//! Cassandra when it has lost a table.
//!
//! Set `CARTWRIGHT_TEST_CASSANDRA` (`host:port`); without it there is nothing to test against.

use std::sync::Arc;
use std::time::Duration;

use cartwright_read_model::cassandra::{self, CassandraOptions};
use cartwright_read_model::control::Control;
use cartwright_read_model::tables::{BUILDS, CONTROL_VERSION, PARKED, WORKERS};
use cartwright_read_model::{ReadModelError, RowOp};
use cartwright_sinks::contract::{self, CassandraSubject, PARTS, PROJECTION, Subject, THINGS};
use cartwright_sinks::{Batch, CassandraSink, CassandraStore, SeqOp, Sink, SinkError};
use tokio::runtime::Runtime;

/// Dropping a keyspace takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn options(keyspace: &str) -> Option<CassandraOptions> {
    let Ok(node) = std::env::var("CARTWRIGHT_TEST_CASSANDRA") else {
        eprintln!("skipped: CARTWRIGHT_TEST_CASSANDRA is not set");
        return None;
    };
    let mut options = CassandraOptions::new(vec![node], keyspace);
    options.request_timeout = PATIENCE;
    Some(options)
}

/// One thing, between two positions.
fn batch(version: u32, from: u64, to: u64) -> Arc<Batch> {
    let op = RowOp::upsert(&THINGS, ["cup".into()], [("label", "new".into())]);
    let ops = vec![SeqOp { seq: to, op }];
    contract::batch(contract::key(version, 0), from, to, ops)
}

#[test]
fn a_table_that_is_gone_under_its_positions_is_not_made_anew_and_who_writes_to_it_is_told_so() {
    let Some(options) = options("cartwright_suites") else {
        return;
    };
    let runtime = runtime();
    let subject = CassandraSubject::new(runtime.handle().clone(), options.clone());
    let (version, keyspace) = (subject.version(), &options.keyspace);
    let drop = |name: &str| {
        runtime.block_on(async {
            let session = cassandra::connect(&options).await.expect("a session");
            let drop = format!("DROP TABLE {keyspace}.{name}");
            session.query_unpaged(drop, ()).await.expect("dropped");
        });
    };
    // A store of its own: as a process that begins anew has it.
    let new_sink = || {
        let store = CassandraStore::new(options.clone(), 8);
        CassandraSink::new(runtime.handle().clone(), store, &PROJECTION, version)
    };
    let mut sink = new_sink();
    sink.prepare().expect("tables");
    drop(&PARTS.physical_name(version));
    sink.prepare().expect("nothing is stored yet");
    sink.apply(&batch(version, 0, 1)).expect("applied");

    let things = THINGS.physical_name(version);
    drop(&things);
    let told = [
        sink.apply(&batch(version, 1, 2)).expect_err("it is gone"),
        new_sink().prepare().expect_err("it is gone"),
    ];
    for refused in told {
        let SinkError::Fatal { reason } = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.starts_with(&format!("{things} is gone")), "{reason}");
    }
}

/// A control table comes with the code that is the first to need it.
#[test]
fn a_control_table_that_an_older_keyspace_lacks_is_made_and_the_others_kept() {
    let Some(options) = options("cartwright_older") else {
        return;
    };
    let keyspace = &options.keyspace;
    let drop_all = format!("DROP KEYSPACE IF EXISTS {keyspace}");
    runtime().block_on(async {
        let session = Arc::new(cassandra::connect(&options).await.expect("a session"));
        let change = async |statement: &str| {
            let changed = session.query_unpaged(statement, ()).await;
            changed.map(|_| ()).expect("changed");
        };
        change(&drop_all).await;
        let found = async {
            cassandra::migrate(&session, &options, &[]).await?;
            let control = Control::Cassandra(Arc::clone(&session), keyspace.as_str().into());
            let build = [
                "contract".into(),
                1_u32.into(),
                "topic".into(),
                0_u32.into(),
            ];
            control.put(&BUILDS, &build, &[]).await?;
            let lacking = WORKERS.physical_name(CONTROL_VERSION);
            change(&format!("DROP TABLE {keyspace}.{lacking}")).await;
            assert!(control.rows(&WORKERS, &[]).await.is_err(), "it is there");
            cassandra::migrate(&session, &options, &[]).await?;
            let workers = control.rows(&WORKERS, &[]).await?.len();
            let builds = control.rows(&BUILDS, &[]).await?.len();
            Ok::<_, ReadModelError>((workers, builds))
        };
        let found = found.await;
        change(&drop_all).await;
        assert_eq!(found.expect("made"), (0, 1));
    });
}

/// Settled records leave marks in one partition, and a select that meets too many of them is refused.
#[test]
fn removed_pointers_to_parked_records_are_not_remembered_for_long_also_where_the_table_is_older() {
    let Some(options) = options("cartwright_settled") else {
        return;
    };
    let keyspace = &options.keyspace;
    let drop_all = format!("DROP KEYSPACE IF EXISTS {keyspace}");
    let parked = PARKED.physical_name(CONTROL_VERSION);
    runtime().block_on(async {
        let session = cassandra::connect(&options).await.expect("a session");
        let run = async |statement: &str| session.query_unpaged(statement, ()).await;
        let remembered_s = async || {
            let asked = format!(
                "SELECT gc_grace_seconds FROM system_schema.tables \
                 WHERE keyspace_name = '{keyspace}' AND table_name = '{parked}'"
            );
            let answer = run(&asked).await.expect("an answer").into_rows_result();
            let (seconds,) = answer.expect("rows").first_row::<(i32,)>().expect("a row");
            seconds
        };
        run(&drop_all).await.expect("dropped");
        let found = async {
            cassandra::migrate(&session, &options, &[]).await?;
            let made = remembered_s().await;
            let older = format!("ALTER TABLE {keyspace}.{parked} WITH gc_grace_seconds = 864000");
            run(&older).await.expect("changed");
            cassandra::migrate(&session, &options, &[]).await?;
            Ok::<_, ReadModelError>((made, remembered_s().await))
        };
        let found = found.await;
        run(&drop_all).await.expect("dropped");
        assert_eq!(found.expect("made"), (14_400, 14_400));
    });
}
