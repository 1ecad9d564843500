//! The connection that several sinks share.

use std::sync::Arc;

use cartwright_read_model::cassandra::{self, CassandraOptions};
use cartwright_read_model::{Projection, ReadModelError};
use scylla::client::session::Session;
use tokio::sync::Mutex;

/// One cluster, connected when it is first needed. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct CassandraStore(Arc<Inner>);

struct Inner {
    options: CassandraOptions,
    concurrency: usize,
    /// Locked while the schema changes, too: Cassandra takes such changes best one at a time.
    session: Mutex<Option<Arc<Session>>>,
}

impl CassandraStore {
    /// Not connected yet. Each sink keeps up to `concurrency` writes in flight.
    #[must_use]
    pub fn new(options: CassandraOptions, concurrency: usize) -> Self {
        Self(Arc::new(Inner {
            options,
            concurrency: concurrency.max(1),
            session: Mutex::new(None),
        }))
    }

    /// How the cluster is reached.
    #[must_use]
    pub fn options(&self) -> &CassandraOptions {
        &self.0.options
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.0.concurrency
    }

    /// The connection, with the tables of `projection` made.
    ///
    /// # Errors
    /// What the store said.
    pub async fn migrated(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<Arc<Session>, ReadModelError> {
        self.with_tables(&[(projection, version)]).await
    }

    /// The connection, with the control tables made.
    ///
    /// # Errors
    /// What the store said.
    pub async fn session(&self) -> Result<Arc<Session>, ReadModelError> {
        self.with_tables(&[]).await
    }

    async fn with_tables(
        &self,
        projections: &[(&'static Projection, u32)],
    ) -> Result<Arc<Session>, ReadModelError> {
        let mut held = self.0.session.lock().await;
        let session = match &*held {
            Some(session) => Arc::clone(session),
            None => {
                let session = Arc::new(cassandra::connect(&self.0.options).await?);
                *held = Some(Arc::clone(&session));
                session
            }
        };
        cassandra::migrate(&session, &self.0.options, projections).await?;
        Ok(session)
    }
}
