//! PostgreSQL: lists, search, timelines and reports.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{PostgresOptions, forget_connections, missing_tables, pool};
use cartwright_read_model::{ReadModelError, Store};
use cartwright_service::config::Postgres;
use deadpool_postgres::tokio_postgres::Client;
use deadpool_postgres::{Object, Pool};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{classify, failed, timed, turn};
use crate::config::Query;
use crate::errors::StoreError;
use crate::pointers::View;

const STORE: Store = Store::Postgres;

/// The versions are looked at by one task.
const CONTROL_CONNECTIONS: usize = 1;

/// PostgreSQL, through a pool that connects when it is asked to.
pub struct Relational {
    pool: Pool,
    /// One connection for the versions and for saying which one is read.
    control: Pool,
    permits: Semaphore,
    report_permits: Semaphore,
    queue: Duration,
    statement_timeout: Duration,
}

impl Relational {
    pub(super) fn new(postgres: &Postgres, query: &Query) -> Result<Self, ReadModelError> {
        let mut options = PostgresOptions::new(postgres.url.expose());
        options.max_connections = postgres.max_connections;
        options.connect_timeout = postgres.connect_timeout();
        options.statement_timeout = Some(query.store_timeout());
        let mut control = options.clone();
        control.max_connections = CONTROL_CONNECTIONS;
        options.read_only = true;
        // One connection is left for positions: a wait must not queue behind slow lists.
        let reads = postgres.max_connections.saturating_sub(1).max(1);
        Ok(Self {
            pool: pool(&options)?,
            control: pool(&control)?,
            permits: Semaphore::new(reads.min(Semaphore::MAX_PERMITS)),
            report_permits: Semaphore::new(query.reports_max_in_flight.min(reads)),
            queue: query.store_queue(),
            statement_timeout: query.store_timeout(),
        })
    }

    /// A connection for one read, when its turn comes.
    ///
    /// # Errors
    /// No turn or no connection in time.
    pub async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let turn = turn(&self.permits, self.queue, STORE).await?;
        let mut lease = self.lease_unlimited().await?;
        lease.turns.push(turn);
        Ok(lease)
    }

    /// A connection for a report; fewer of those are had at a time.
    ///
    /// # Errors
    /// As [`Relational::lease`].
    pub async fn lease_for_report(&self) -> Result<Lease<'_>, StoreError> {
        let turn = turn(&self.report_permits, self.queue, STORE).await?;
        let mut lease = self.lease().await?;
        lease.turns.push(turn);
        Ok(lease)
    }

    pub(super) async fn lease_unlimited(&self) -> Result<Lease<'_>, StoreError> {
        let client = self.connection().await.map_err(failed)?;
        Ok(self.lease_of(client))
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        let client = self.pool.get().await;
        client.map_err(|error| classify(STORE, &error.into()))
    }

    fn lease_of(&self, client: Object) -> Lease<'_> {
        Lease {
            client: Some(client),
            statement_timeout: self.statement_timeout,
            cut_off: AtomicBool::new(false),
            turns: Vec::new(),
        }
    }

    /// The control tables.
    pub(super) fn control(&self) -> Control {
        Control::Postgres(self.control.clone())
    }

    /// See [`Stores::forget_control`](super::Stores::forget_control).
    pub(super) fn forget_control(&self) {
        forget_connections(&self.control);
    }

    /// Connects, and looks which tables of `views` are not there yet.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn probe(&self, views: &[View]) -> Result<Vec<String>, StoreError> {
        let views: Vec<_> = views
            .iter()
            .map(|view| (view.projection, view.version))
            .collect();
        // A failure here is told by readiness, and is nobody's read.
        let lease = self.lease_of(self.connection().await?);
        lease.run(missing_tables(lease.client(), &views)).await
    }
}

/// A connection, for as long as a read takes.
pub struct Lease<'a> {
    /// `None` only while it is dropped.
    client: Option<Object>,
    statement_timeout: Duration,
    cut_off: AtomicBool,
    turns: Vec<SemaphorePermit<'a>>,
}

impl Lease<'_> {
    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        match &self.client {
            Some(client) => client,
            None => unreachable!("the connection is taken only by drop"),
        }
    }

    /// Runs one read on [`Lease::client`].
    ///
    /// # Errors
    /// No answer in time, or what the store said.
    pub async fn run<T>(
        &self,
        read: impl Future<Output = Result<T, ReadModelError>>,
    ) -> Result<T, StoreError> {
        // Also true for whoever drops this future because the client has gone.
        self.cut_off.store(true, Ordering::Relaxed);
        let result = timed(STORE, self.statement_timeout, read).await;
        let timed_out = matches!(result, Err(StoreError::TimedOut(_)));
        self.cut_off.store(timed_out, Ordering::Relaxed);
        result
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // What the connection may still be busy with must not delay the next read.
        if self.cut_off.load(Ordering::Relaxed) {
            drop(self.client.take().map(Object::take));
        }
    }
}
