//! Cassandra: views by key.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cartwright_read_model::cassandra::{CassandraOptions, Views, connect};
use cartwright_read_model::control::Control;
use cartwright_read_model::tables::projections;
use cartwright_read_model::{ReadModelError, Store};
use cartwright_service::config::Cassandra;
use scylla::client::session::Session;
use tokio::sync::{OnceCell, Semaphore};

use super::{timed, turn};
use crate::config::Query;
use crate::errors::StoreError;
use crate::pointers::View;

const STORE: Store = Store::Cassandra;

/// Cassandra, from the first time on that it answered and had its tables. The driver finds back to
/// it by itself later.
pub struct ByKey {
    options: CassandraOptions,
    session: OnceCell<Arc<Session>>,
    views: OnceCell<Views>,
    permits: Semaphore,
    queue: Duration,
}

impl ByKey {
    pub(super) fn new(cassandra: &Cassandra, query: &Query) -> Self {
        let mut options =
            CassandraOptions::new(cassandra.nodes.clone(), cassandra.keyspace.clone());
        options
            .local_datacenter
            .clone_from(&cassandra.local_datacenter);
        options.credentials = cassandra
            .credentials()
            .map(|(user, password)| (user.to_owned(), password.to_owned()));
        options.request_timeout = query.store_timeout();
        let permits = query.cassandra_max_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            options,
            session: OnceCell::new(),
            views: OnceCell::new(),
            permits: Semaphore::new(permits),
            queue: query.store_queue(),
        }
    }

    /// The views.
    ///
    /// # Errors
    /// [`StoreError::NotConnected`] until [`ByKey::probe`] has succeeded once.
    pub fn views(&self) -> Result<&Views, StoreError> {
        self.views.get().ok_or_else(|| StoreError::NotConnected {
            store: STORE,
            reason: "not connected yet, or the tables are not there yet".to_owned(),
        })
    }

    /// Runs one read of [`ByKey::views`] when its turn comes.
    ///
    /// # Errors
    /// No turn in time, no answer in time, or what the store said.
    pub async fn run<T>(
        &self,
        read: impl Future<Output = Result<T, ReadModelError>>,
    ) -> Result<T, StoreError> {
        let _turn = turn(&self.permits, self.queue, STORE).await?;
        self.run_unlimited(read).await
    }

    pub(super) async fn run_unlimited<T>(
        &self,
        read: impl Future<Output = Result<T, ReadModelError>>,
    ) -> Result<T, StoreError> {
        timed(STORE, self.options.request_timeout, read).await
    }

    /// The control tables; `None` until there is a connection.
    pub(super) fn control(&self) -> Option<Control> {
        let session = Arc::clone(self.session.get()?);
        Some(Control::Cassandra(
            session,
            self.options.keyspace.as_str().into(),
        ))
    }

    /// Connects if there is no connection yet; then asks for something small of each of `views`.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn probe(&self, views: &[View]) -> Result<(), ReadModelError> {
        let connect = || async { connect(&self.options).await.map(Arc::new) };
        let session = self.session.get_or_try_init(connect).await?;
        let make = || async { Views::new(Arc::clone(session), &self.options.keyspace) };
        let reads = self.views.get_or_init(make).await;
        for view in views {
            reads.prepare(view.projection, view.version).await?;
        }
        reads.positions(&projections::PRODUCTS, 1).await.map(|_| ())
    }
}
