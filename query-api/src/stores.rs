//! The two stores, each with its limits: how many reads at a time, how long for one.

mod by_key;
mod look;
mod relational;

pub use by_key::ByKey;
pub use relational::{Lease, Relational};

use std::future::Future;
use std::time::{Duration, Instant};

use cartwright_read_model::control::Control;
use cartwright_read_model::{ReadModelError, Store};
use metrics::{counter, histogram};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Config;
use crate::errors::StoreError;
use crate::metric_names as names;

/// How much longer than the store itself we wait for a statement: for a connection that went dead
/// without a word.
const GRACE: Duration = Duration::from_millis(500);

/// The stores behind every read. Neither has to be there when the service boots.
pub struct Stores {
    /// Views by key.
    pub by_key: ByKey,
    /// Lists, search, timelines and reports.
    pub relational: Relational,
}

impl Stores {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// A database URL that cannot be read.
    pub fn new(config: &Config) -> Result<Self, ReadModelError> {
        Ok(Self {
            by_key: ByKey::new(&config.cassandra, &config.query),
            relational: Relational::new(&config.postgres, &config.query)?,
        })
    }
}

impl Stores {
    /// The control tables of a store; `None` until it has answered once.
    #[must_use]
    pub fn control(&self, store: Store) -> Option<Control> {
        match store {
            Store::Cassandra => self.by_key.control(),
            Store::Postgres => Some(self.relational.control()),
        }
    }

    /// Makes the next call to the control tables of a store connect anew, after one that was given up: it
    /// would queue behind that. The driver of Cassandra does so by itself.
    pub fn forget_control(&self, store: Store) {
        match store {
            Store::Cassandra => {}
            Store::Postgres => self.relational.forget_control(),
        }
    }
}

/// Waits for a turn, up to `limit`.
async fn turn(
    permits: &Semaphore,
    limit: Duration,
    store: Store,
) -> Result<SemaphorePermit<'_>, StoreError> {
    match tokio::time::timeout(limit, permits.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(failed(StoreError::Busy(store))),
    }
}

/// Runs one read with a limit on its time.
async fn timed<T>(
    store: Store,
    limit: Duration,
    read: impl Future<Output = Result<T, ReadModelError>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let result = tokio::time::timeout(limit + GRACE, read).await;
    histogram!(names::STORE_SECONDS, "store" => store.name()).record(began.elapsed());
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(classify(store, &error))),
        Err(_) => Err(failed(StoreError::TimedOut(store))),
    }
}

/// Counts and logs a failure; clients are told no more than its kind.
fn failed(error: StoreError) -> StoreError {
    let labels = [("store", error.store().name()), ("kind", error.kind())];
    counter!(names::STORE_FAILURES, &labels).increment(1);
    tracing::warn!(%error, "a store did not answer");
    error
}

/// Whether the store will answer another time, and what it said.
fn classify(store: Store, error: &ReadModelError) -> StoreError {
    let told = error.to_string();
    // Who reads the reason is told which store it is.
    let prefix = format!("{}: ", store.name());
    let reason = told.strip_prefix(&prefix).unwrap_or(&told).to_owned();
    match error {
        ReadModelError::Postgres(error) => match error.as_db_error() {
            Some(db) => of_sql_state(store, db.code().code(), reason),
            None => StoreError::Failed { store, reason },
        },
        ReadModelError::Pool { .. } | ReadModelError::Cassandra { .. } => {
            StoreError::Failed { store, reason }
        }
        ReadModelError::Drift { .. }
        | ReadModelError::Gone { .. }
        | ReadModelError::Type { .. } => StoreError::Broken { store, reason },
    }
}

/// PostgreSQL's error classes that pass: connection (08), transaction rollback (40), resources (53),
/// operator (57), system (58). A missing table (42P01) is one that the projector has yet to make, and
/// a missing database (3D000) was lost with everything in it.
fn of_sql_state(store: Store, state: &str, reason: String) -> StoreError {
    const QUERY_CANCELED: &str = "57014";
    const UNDEFINED_TABLE: &str = "42P01";
    const UNDEFINED_DATABASE: &str = "3D000";
    match state.get(..2) {
        _ if state == QUERY_CANCELED => StoreError::TimedOut(store),
        _ if state == UNDEFINED_TABLE || state == UNDEFINED_DATABASE => {
            StoreError::NotConnected { store, reason }
        }
        Some("08" | "40" | "53" | "57" | "58") => StoreError::Failed { store, reason },
        _ => StoreError::Broken { store, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let kind = |state| of_sql_state(Store::Postgres, state, String::new()).kind();
        assert_eq!(kind("57014"), "timed_out");
        assert_eq!(kind("42P01"), "not_connected");
        assert_eq!(kind("3D000"), "not_connected", "the database is gone");
        assert_eq!(kind("57P01"), "failed", "the server is stopping");
        assert_eq!(kind("53300"), "failed", "too many connections");
        assert_eq!(kind("22003"), "broken", "a sum that does not fit");
        assert_eq!(kind("42601"), "broken", "a mistake in our SQL");
    }

    #[test]
    fn a_failure_names_its_store_once() {
        let reason = "no connection in time".to_owned();
        let error = classify(Store::Postgres, &ReadModelError::Pool { reason });
        assert_eq!(error.to_string(), "postgres: no connection in time");
    }

    #[tokio::test]
    async fn a_store_that_says_nothing_is_not_waited_for_long() {
        let limit = Duration::from_millis(1);
        let never = std::future::pending::<Result<(), ReadModelError>>();
        let result = timed(Store::Cassandra, limit, never).await;
        assert_eq!(result, Err(StoreError::TimedOut(Store::Cassandra)));
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_an_overload() {
        let permits = Semaphore::new(1);
        let limit = Duration::from_millis(5);
        let _first = turn(&permits, limit, Store::Postgres).await.unwrap();
        let second = turn(&permits, limit, Store::Postgres).await;
        assert_eq!(second.err(), Some(StoreError::Busy(Store::Postgres)));
    }
}
