//! PostgreSQL when it is slow, silent, read-only, or has lost a table.
//!
//! Set `CARTWRIGHT_TEST_POSTGRES` (a URL of a database that may be written to); without it there is
//! nothing to test against.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{self, PostgresOptions, pool};
use cartwright_read_model::tables::{BUILDS, CONTROL_TABLES, CONTROL_VERSION};
use cartwright_read_model::{PositionKey, ReadModelError, RowOp};
use cartwright_sinks::contract::{self, PARTS, PROJECTION, PostgresSubject, Subject, THINGS};
use cartwright_sinks::{Batch, PostgresSink, SeqOp, Sink, SinkError};
use deadpool_postgres::Pool;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    url: String,
    runtime: Runtime,
    pool: Pool,
    subject: PostgresSubject,
}

impl Server {
    fn find() -> Option<Self> {
        let Ok(url) = std::env::var("CARTWRIGHT_TEST_POSTGRES") else {
            eprintln!("skipped: CARTWRIGHT_TEST_POSTGRES is not set");
            return None;
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let subject = PostgresSubject::new(runtime.handle().clone(), &url);
        Some(Self {
            pool: pool(&PostgresOptions::new(&url)).expect("a pool"),
            url,
            runtime,
            subject,
        })
    }

    fn sql(&self, sql: &str) {
        self.runtime.block_on(async {
            let client = self.pool.get().await.expect("a connection");
            client.batch_execute(sql).await.expect("done");
        });
    }

    fn sink(&self, pool: &Pool) -> PostgresSink {
        let runtime = self.runtime.handle().clone();
        PostgresSink::new(runtime, pool.clone(), &PROJECTION, self.subject.version())
    }

    fn key(&self) -> PositionKey {
        contract::key(self.subject.version(), 0)
    }

    /// One thing, between two positions.
    fn batch(&self, from: u64, to: u64) -> Arc<Batch> {
        let thing = format!("thing-{to}");
        let op = RowOp::upsert(&THINGS, [thing.into()], [("label", "new".into())]);
        contract::batch(self.key(), from, to, vec![SeqOp { seq: to, op }])
    }
}

#[test]
fn keys_indexes_and_whole_tables_may_take_longer_than_a_statement() {
    let Some(server) = Server::find() else { return };
    let version = server.subject.version();
    server.runtime.block_on(async {
        let mut client = server.pool.get().await.expect("a connection");
        postgres::migrate_bare(&mut client, &[(&PROJECTION, version)])
            .await
            .expect("tables");
    });
    let parts = PARTS.physical_name(version);
    server.sql(&format!(
        "INSERT INTO {parts} (thing_id, at, part, label) SELECT 'thing-' || n, now(), n, 'a' \
         FROM generate_series(1, 1000000) AS n"
    ));
    let options = PostgresOptions {
        statement_timeout: Some(Duration::from_millis(200)),
        ..PostgresOptions::new(&server.url)
    };
    let hasty = pool(&options).expect("a pool");
    server.sink(&hasty).prepare().expect("the keys are made");
    assert!(server.subject.has_key(&PARTS));
    let mut rows = 0;
    let scan = server.runtime.block_on(async {
        let mut count = |_| rows += 1;
        Control::Postgres(hasty)
            .scan(&PARTS, version, &mut count)
            .await
    });
    scan.expect("all of it is read");
    assert_eq!(rows, 1_000_000);
}

#[test]
fn who_makes_a_versions_keys_keeps_nobody_from_the_others() {
    let Some(server) = Server::find() else { return };
    let (first, second) = (
        server.subject.version(),
        PostgresSubject::new(server.runtime.handle().clone(), &server.url),
    );
    server.runtime.block_on(async {
        let mut client = server.pool.get().await.expect("a connection");
        postgres::migrate_bare(&mut client, &[(&PROJECTION, first)])
            .await
            .expect("tables");
        // Whoever adds the key waits as long as this transaction is open.
        let mut reader = server.pool.get().await.expect("a connection");
        let reading = reader.transaction().await.expect("begun");
        let parts = PARTS.physical_name(first);
        let lock = format!("LOCK TABLE {parts} IN ACCESS SHARE MODE");
        reading.batch_execute(&lock).await.expect("locked");
        let pool = server.pool.clone();
        let adding = tokio::spawn(async move {
            let mut client = pool.get().await.expect("a connection");
            postgres::add_key(&mut client, &PARTS, first).await
        });
        let waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = to_regclass($1)";
        let deadline = Instant::now() + PATIENCE;
        while reading
            .query(waits, &[&parts])
            .await
            .expect("asked")
            .is_empty()
        {
            assert!(Instant::now() < deadline, "nobody waits");
        }
        let others = async {
            postgres::make_control_tables(&mut client).await?;
            postgres::migrate(&mut client, &[(&PROJECTION, second.version())]).await
        };
        let others = tokio::time::timeout(PATIENCE / 2, others).await;
        others.expect("in time").expect("made");
        reading.commit().await.expect("ended");
        adding.await.expect("no panic").expect("added");
    });
}

#[test]
fn a_table_that_is_gone_under_its_positions_is_not_made_anew() {
    let Some(server) = Server::find() else { return };
    let mut sink = server.sink(&server.pool);
    sink.prepare().expect("tables");
    server.sql(&format!(
        "DROP TABLE {}",
        PARTS.physical_name(server.subject.version())
    ));
    sink.prepare().expect("nothing is stored yet");
    sink.load(&server.key(), 1).expect("loaded");
    sink.apply(&server.batch(0, 1)).expect("applied");
    let parts = PARTS.physical_name(server.subject.version());
    server.sql(&format!("DROP TABLE {parts}"));
    for mut sink in [
        server.sink(&server.pool),
        server.sink(&server.pool).in_bulk(),
    ] {
        let refused = sink.prepare().expect_err("it is gone");
        let SinkError::Fatal { reason } = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.starts_with(&format!("{parts} is gone")), "{reason}");
    }
}

#[test]
fn who_writes_to_a_table_that_is_gone_is_told_so() {
    let Some(server) = Server::find() else { return };
    let mut sinks = [
        server.sink(&server.pool),
        server.sink(&server.pool).in_bulk(),
    ];
    sinks[0].prepare().expect("tables");
    sinks[0].load(&server.key(), 1).expect("loaded");
    sinks[0].apply(&server.batch(0, 1)).expect("applied");
    sinks[1].load(&server.key(), 1).expect("loaded");
    let things = THINGS.physical_name(server.subject.version());
    server.sql(&format!("DROP TABLE {things}"));
    for mut sink in sinks {
        let refused = sink.apply(&server.batch(1, 2)).expect_err("it is gone");
        let SinkError::Fatal { reason } = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.starts_with(&format!("{things} is gone")), "{reason}");
    }
}

/// A control table comes with the code that is the first to need it.
#[test]
fn control_tables_that_an_older_database_lacks_are_made_and_the_others_kept() {
    let Some(server) = Server::find() else { return };
    let name = format!("older_{}", server.subject.version());
    let (at, _) = server.url.rsplit_once('/').expect("a database");
    let options = PostgresOptions::new(format!("{at}/{name}"));
    let found = server.runtime.block_on(async {
        postgres::make_database(&options).await?;
        let pool = pool(&options)?;
        let control = Control::Postgres(pool.clone());
        let mut client = pool.get().await?;
        postgres::make_control_tables(&mut client).await?;
        let mut rows = Vec::new();
        let build = [
            "contract".into(),
            1_u32.into(),
            "topic".into(),
            0_u32.into(),
        ];
        let cells = [("seen_at", Timestamp::EPOCH.into())];
        for lacking in CONTROL_TABLES {
            control.put(&BUILDS, &build, &cells).await?;
            let drop = format!("DROP TABLE {}", lacking.physical_name(CONTROL_VERSION));
            client.batch_execute(&drop).await?;
            assert!(control.rows(lacking, &[]).await.is_err(), "{drop}");
            postgres::make_control_tables(&mut client).await?;
            rows.push((lacking.name, control.rows(&BUILDS, &[]).await?.len()));
        }
        Ok::<_, ReadModelError>(rows)
    });
    server.sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
    for (lacking, builds) in found.expect("made") {
        assert_eq!(builds, usize::from(lacking != BUILDS.name), "{lacking}");
    }
}

#[test]
fn a_server_that_takes_no_writes_is_tried_again_over_other_connections() {
    let Some(server) = Server::find() else { return };
    server.sink(&server.pool).prepare().expect("tables");
    let options = PostgresOptions {
        read_only: true,
        ..PostgresOptions::new(&server.url)
    };
    let standby = pool(&options).expect("a pool");
    let mut sink = server.sink(&standby);
    sink.load(&server.key(), 1).expect("loaded");
    let refused = sink.apply(&server.batch(0, 1)).expect_err("read-only");
    assert!(matches!(refused, SinkError::Retry { .. }), "{refused:?}");
    assert_eq!(standby.status().size, 0, "no connection is kept");
}

/// Passes bytes on between a client and a server, until it freezes.
struct Proxy {
    port: u16,
    frozen: Arc<AtomicBool>,
}

impl Proxy {
    fn to(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let frozen = Arc::new(AtomicBool::new(false));
        let passes = Arc::clone(&frozen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&upstream).expect("the server");
                let pairs = [
                    (
                        client.try_clone().expect("a clone"),
                        server.try_clone().expect("a clone"),
                    ),
                    (server, client),
                ];
                for (from, to) in pairs {
                    let frozen = Arc::clone(&passes);
                    std::thread::spawn(move || pass(from, to, &frozen));
                }
            }
        });
        Self { port, frozen }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool) {
    let mut bytes = [0; 4_096];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        while frozen.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_server_that_goes_silent_is_given_up_and_found_again() {
    let Some(server) = Server::find() else { return };
    let config: tokio_postgres::Config = server.url.parse().expect("a URL");
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let proxy = Proxy::to(format!("127.0.0.1:{port}"));
    let url = server
        .url
        .replace(&format!(":{port}"), &format!(":{}", proxy.port));
    let silent = pool(&PostgresOptions::new(url)).expect("a pool");
    let mut sink = server.sink(&silent);
    sink.prepare().expect("tables");
    sink.load(&server.key(), 1).expect("loaded");
    sink.apply(&server.batch(0, 1)).expect("applied");

    let mut sink = sink.with_limit(Duration::from_secs(1));
    proxy.frozen.store(true, Ordering::Release);
    let begun = Instant::now();
    let given_up = sink.apply(&server.batch(1, 2)).expect_err("no answer");
    assert!(begun.elapsed() < PATIENCE);
    let SinkError::Retry { reason } = given_up else {
        panic!("{given_up:?}");
    };
    assert_eq!(reason, "postgres: no answer in 1 s");
    assert_eq!(silent.status().size, 0, "no connection is kept");

    proxy.frozen.store(false, Ordering::Release);
    let mut sink = sink.with_limit(PATIENCE);
    let mut from = 1;
    let deadline = Instant::now() + PATIENCE;
    while from < 2 {
        assert!(Instant::now() < deadline);
        match sink.apply(&server.batch(from, 2)) {
            Ok(()) => break,
            // What was sent before may have been carried out after all.
            Err(SinkError::PositionMoved) => {
                let loaded = sink.load(&server.key(), 1).expect("loaded");
                from = loaded.position.expect("a position").seq;
            }
            Err(SinkError::Retry { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(server.subject.rows(&THINGS).len(), 2);
}
