//! What can go wrong with the read model.

use thiserror::Error;

/// A migration or a read failed.
#[derive(Debug, Error)]
pub enum ReadModelError {
    /// PostgreSQL did not answer, or refused. Retry later, unless it names a mistake.
    #[error("postgres: {}", with_cause(.0))]
    Postgres(tokio_postgres::Error),
    /// No connection to PostgreSQL could be had in time. Retry later.
    #[error("postgres: {reason}")]
    Pool {
        /// What the pool said.
        reason: String,
    },
    /// Cassandra did not answer, or refused. Retry later, unless it names a mistake.
    #[error("cassandra: {reason}")]
    Cassandra {
        /// What the driver said.
        reason: String,
    },
    /// A table exists with other columns than this code declares. Needs a new version of the
    /// projection, or the table has to go.
    #[error("table {table}: {problem}")]
    Drift {
        /// The table's name in the store.
        table: String,
        /// What differs.
        problem: String,
    },
    /// Tables of a version that has been written to are not there: somebody dropped them, or the store
    /// lost them. The version has to be built again, as another one.
    #[error("{tables} is gone although its positions are there: `replay restore` says what to do")]
    Gone {
        /// The tables' names in the store.
        tables: String,
    },
    /// A stored value is not of its column's type.
    #[error("table {table}, column {column}: a value of another type is stored")]
    Type {
        /// The table's name.
        table: &'static str,
        /// The column's name.
        column: &'static str,
    },
}

/// In its own words it says little; the cause tells.
fn with_cause(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Not as a source: what it says has been said by then.
impl From<tokio_postgres::Error> for ReadModelError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<deadpool_postgres::PoolError> for ReadModelError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => Self::Postgres(error),
            other => Self::Pool {
                reason: other.to_string(),
            },
        }
    }
}

impl ReadModelError {
    pub(crate) fn cassandra(error: impl std::fmt::Display) -> Self {
        Self::Cassandra {
            reason: error.to_string(),
        }
    }
}
