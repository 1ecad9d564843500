//! The connection pool.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use crate::error::ReadModelError;

/// A connection is dead when nothing that was sent on it has been received for that long.
const SILENT: Duration = Duration::from_secs(30);

/// How to reach the database.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`. Holds a secret: never printed.
    pub url: String,
    /// Connections in the pool.
    pub max_connections: usize,
    /// How long to wait for a connection, a new one or a pooled one.
    pub connect_timeout: Duration,
    /// How long the server works on one statement before it gives it up; `None`: the server's own
    /// setting.
    pub statement_timeout: Option<Duration>,
    /// How long the server waits for the next statement of a transaction before it ends the connection,
    /// and with it the locks that others wait for; `None`: the server's own setting.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Whether the server refuses writes on these connections.
    pub read_only: bool,
}

impl PostgresOptions {
    /// Eight connections, five seconds.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: None,
            idle_in_transaction_timeout: None,
            read_only: false,
        }
    }

    /// Settings that each connection starts with, as the server's command line takes them.
    fn session_settings(&self) -> String {
        // One letter left out of a word of eight or nine is still that word.
        let mut settings = " -c pg_trgm.word_similarity_threshold=0.5".to_owned();
        if let Some(timeout) = self.statement_timeout {
            settings.push_str(&format!(" -c statement_timeout={}", timeout.as_millis()));
        }
        if let Some(timeout) = self.idle_in_transaction_timeout {
            let timeout_ms = timeout.as_millis();
            settings.push_str(&format!(
                " -c idle_in_transaction_session_timeout={timeout_ms}"
            ));
        }
        if self.read_only {
            settings.push_str(" -c default_transaction_read_only=on");
        }
        settings
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
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(SILENT)
        .tcp_user_timeout(SILENT);
    let given = config.get_options().unwrap_or_default();
    config.options(format!("{given}{}", options.session_settings()));
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

/// Makes the next call to a server that has been silent connect anew: a call that was given up may have
/// left its connection waiting for an answer that never comes, and the others lead to the same server.
pub fn forget_connections(pool: &Pool) {
    pool.retain(|_, _| false);
}
