//! The connection pool.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use crate::error::ReadModelError;

/// How to reach the database.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`. Holds a secret: never printed.
    pub url: String,
    /// Connections in the pool.
    pub max_connections: usize,
    /// How long to wait for a connection, a new one or a pooled one.
    pub connect_timeout: Duration,
}

impl PostgresOptions {
    /// Eight connections, five seconds.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 8,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// A pool that connects when it is asked to.
///
/// # Errors
/// [`ReadModelError::Postgres`] when the URL cannot be read.
pub fn pool(options: &PostgresOptions) -> Result<Pool, ReadModelError> {
    let mut config: tokio_postgres::Config = options.url.parse()?;
    config
        .application_name("cartwright")
        .connect_timeout(options.connect_timeout);
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(config, NoTls, recycling);
    Pool::builder(manager)
        .max_size(options.max_connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(options.connect_timeout))
        .create_timeout(Some(options.connect_timeout))
        .build()
        .map_err(|error| ReadModelError::Pool {
            reason: error.to_string(),
        })
}
