//! The sink contract over running servers.
//!
//! Set `CARTWRIGHT_TEST_POSTGRES` (a URL of a database that may be written to) and
//! `CARTWRIGHT_TEST_CASSANDRA` (`host:port`); without them there is nothing to test against.

use cartwright_read_model::cassandra::CassandraOptions;
use cartwright_sinks::contract::{CassandraSubject, PostgresSubject, check};

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

#[test]
fn cassandra_keeps_the_contract() {
    let Ok(node) = std::env::var("CARTWRIGHT_TEST_CASSANDRA") else {
        return eprintln!("skipped: CARTWRIGHT_TEST_CASSANDRA is not set");
    };
    let runtime = runtime();
    let options = CassandraOptions::new(vec![node], "cartwright_suites");
    check(&CassandraSubject::new(runtime.handle().clone(), options));
}
