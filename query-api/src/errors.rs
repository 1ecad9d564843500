//! Where errors become HTTP.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use cartwright_events::PositionToken;
use cartwright_read_model::Store;
use cartwright_service::problem::Problem;
use http::StatusCode;

use crate::ask::POSITION;

/// What a client is told to wait when reads queue up.
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);
/// What a client is told to wait when a store does not answer.
const RETRY_AFTER_REPAIR: Duration = Duration::from_secs(5);

/// Why a store did not answer a read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no connection yet, or the tables are not made yet.
    #[error("{}: {reason}", store.name())]
    NotConnected {
        /// Which store.
        store: Store,
        /// What is waited for.
        reason: String,
    },
    /// The read's turn did not come in time.
    #[error("{}: too many reads at a time", .0.name())]
    Busy(Store),
    /// The store took too long.
    #[error("{}: no answer in time", .0.name())]
    TimedOut(Store),
    /// The store cannot answer at the moment.
    #[error("{}: {reason}", store.name())]
    Failed {
        /// Which store.
        store: Store,
        /// What it said.
        reason: String,
    },
    /// The store will never answer this: a mistake of ours, or a value that does not fit.
    #[error("{}: {reason}", store.name())]
    Broken {
        /// Which store.
        store: Store,
        /// What it said.
        reason: String,
    },
}

impl StoreError {
    /// The kind, in metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            StoreError::NotConnected { .. } => "not_connected",
            StoreError::Busy(_) => "busy",
            StoreError::TimedOut(_) => "timed_out",
            StoreError::Failed { .. } => "failed",
            StoreError::Broken { .. } => "broken",
        }
    }

    /// Which store.
    #[must_use]
    pub const fn store(&self) -> Store {
        match self {
            StoreError::NotConnected { store, .. }
            | StoreError::Busy(store)
            | StoreError::TimedOut(store)
            | StoreError::Failed { store, .. }
            | StoreError::Broken { store, .. } => *store,
        }
    }
}

/// Why a read was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks a rule by itself.
    #[error(transparent)]
    Input(#[from] Problem),
    /// A header that holds no position token, or tokens of several logs.
    #[error("the position is malformed")]
    PositionMalformed,
    /// The position is not one of this log.
    #[error("the position is not one of this log, which is of generation {log_generation}")]
    PositionOfAnotherLog {
        /// This log's generation.
        log_generation: u32,
    },
    /// The view did not get there in time.
    #[error("{projection} has reached {reached}, not {asked}")]
    PositionNotReached {
        /// The view that is behind, as `name@version`.
        projection: String,
        /// What was waited for.
        asked: PositionToken,
        /// How far the view is, for the same parts.
        reached: PositionToken,
        /// How long was waited; `None` for a point in time, which will never get there.
        waited: Option<Duration>,
    },
    /// An event that the position names was put aside.
    #[error("{projection} has put {parked} aside")]
    PositionParked {
        /// The view that lacks it, as `name@version`.
        projection: String,
        /// What was waited for.
        asked: PositionToken,
        /// The parts that were put aside.
        parked: PositionToken,
    },
    /// Too many reads wait for a position.
    #[error("too many reads wait for a position")]
    TooManyWaiters,
    /// Not a cursor of this list.
    #[error("the cursor {0}")]
    CursorInvalid(&'static str),
    /// A cursor of another version of the projection.
    #[error("the cursor is of another version of the list")]
    CursorOutdated,
    /// Which versions there are in this store was not seen for too long, or the current one is of
    /// newer code.
    #[error("the current version is not known")]
    VersionsUnknown(Store),
    /// No version of this projection shows the point in time that was asked for.
    #[error("{0} has no version of that name")]
    AsOfUnknown(&'static str),
    /// There are sales in several currencies.
    #[error("there are sales in several currencies")]
    CurrencyNeeded(Vec<String>),
    /// A store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let detail = error.to_string();
        match error {
            Error::Input(problem) => problem,
            Error::PositionMalformed => {
                let detail = "Cartwright-Position must be a position token as an answer gave it, \
                              and all of one log";
                Problem::bad_request("position_malformed", detail).field(
                    POSITION.as_str(),
                    "format",
                    detail,
                )
            }
            Error::PositionOfAnotherLog { log_generation } => Problem::conflict(
                "position_of_another_log",
                "The position belongs to another log",
            )
            .detail(detail)
            .with("log_generation", log_generation),
            Error::PositionNotReached {
                projection,
                asked,
                reached,
                waited,
            } => {
                let problem = behind(
                    "position_not_reached",
                    "The view does not hold the position",
                    format!(
                        "The view {projection} does not hold the position; it has reached {reached}"
                    ),
                )
                .with("asked", asked.to_string())
                .with("reached", reached.to_string())
                .with("projection", projection);
                match waited {
                    None => problem,
                    Some(waited) => {
                        let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                        problem
                            .with("waited_ms", millis)
                            .retry_after(RETRY_AFTER_BUSY)
                    }
                }
            }
            Error::PositionParked {
                projection,
                asked,
                parked,
            } => behind(
                "position_parked",
                "The view has put the event aside",
                format!("The view {projection} has put {parked} aside; somebody has to look at it"),
            )
            .with("asked", asked.to_string())
            .with("parked", parked.to_string())
            .with("projection", projection)
            .retry_after(RETRY_AFTER_REPAIR),
            Error::TooManyWaiters => Problem::overloaded(RETRY_AFTER_BUSY),
            Error::CursorInvalid(reason) => {
                let detail = format!("The cursor {reason}");
                Problem::bad_request("invalid_cursor", detail.clone())
                    .field("cursor", "format", detail)
            }
            Error::CursorOutdated => {
                let detail = "The list was built anew since; begin again without a cursor";
                Problem::new(
                    StatusCode::GONE,
                    "cursor_outdated",
                    "The cursor is outdated",
                )
                .detail(detail)
                .field("cursor", "version", detail)
            }
            Error::VersionsUnknown(store) => Problem::unavailable(
                "versions_unknown",
                "Which version of the view is current is not known at the moment",
                RETRY_AFTER_BUSY,
            )
            .with("store", store.name()),
            Error::AsOfUnknown(projection) => Problem::invalid_field(
                "as_of",
                "unknown",
                format!("{projection} has no version of that name"),
            ),
            Error::CurrencyNeeded(currencies) => Problem::invalid_field(
                "currency",
                "required",
                format!("there are sales in {}: say which", currencies.join(", ")),
            )
            .with("currencies", currencies),
            Error::Store(error) => store(&error),
        }
    }
}

fn behind(code: &'static str, title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, code, title).detail(detail)
}

fn store(error: &StoreError) -> Problem {
    let name = error.store().name();
    match error {
        StoreError::Busy(_) => Problem::overloaded(RETRY_AFTER_BUSY),
        StoreError::Broken { .. } => return Problem::internal(error),
        StoreError::NotConnected { .. } | StoreError::Failed { .. } => Problem::unavailable(
            "store_unavailable",
            format!("The store {name} does not answer at the moment"),
            RETRY_AFTER_REPAIR,
        ),
        StoreError::TimedOut(_) => Problem::unavailable(
            "store_timeout",
            format!("The store {name} did not answer in time"),
            RETRY_AFTER_REPAIR,
        ),
    }
    .with("store", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_code_and_status() {
        let token: PositionToken = "g1:o0=7".parse().unwrap();
        let store = Store::Cassandra;
        let reason = "connection refused by 10.0.0.7".to_owned();
        let cases: [(Error, u16, &str); 11] = [
            (Error::PositionMalformed, 400, "position_malformed"),
            (
                Error::PositionOfAnotherLog { log_generation: 2 },
                409,
                "position_of_another_log",
            ),
            (
                Error::PositionNotReached {
                    projection: "orders@1".to_owned(),
                    asked: token.clone(),
                    reached: PositionToken::new(1),
                    waited: Some(Duration::from_millis(20)),
                },
                504,
                "position_not_reached",
            ),
            (
                Error::PositionParked {
                    projection: "orders@1".to_owned(),
                    asked: token.clone(),
                    parked: token,
                },
                504,
                "position_parked",
            ),
            (Error::TooManyWaiters, 503, "overloaded"),
            (Error::CursorInvalid("is odd"), 400, "invalid_cursor"),
            (Error::CursorOutdated, 410, "cursor_outdated"),
            (Error::VersionsUnknown(store), 503, "versions_unknown"),
            (Error::AsOfUnknown("sales"), 422, "invalid_field"),
            (
                Error::Store(StoreError::Failed { store, reason }),
                503,
                "store_unavailable",
            ),
            (
                Error::Store(StoreError::TimedOut(Store::Postgres)),
                503,
                "store_timeout",
            ),
        ];
        for (error, status, code) in cases {
            let problem = Problem::from(error);
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code));
            let text = serde_json::to_string(problem.body()).unwrap();
            assert!(!text.contains("10.0.0.7"), "leaks: {text}");
        }
    }

    #[test]
    fn a_missing_currency_names_those_that_there_are() {
        let currencies = vec!["EUR".to_owned(), "GBP".to_owned()];
        let problem = Problem::from(Error::CurrencyNeeded(currencies));
        assert_eq!(problem.status(), 422);
        let body = serde_json::to_value(problem.body()).unwrap();
        assert_eq!(body["errors"][0]["field"], "currency");
        assert_eq!(body["currencies"], serde_json::json!(["EUR", "GBP"]));
    }

    #[test]
    fn an_outage_says_which_store_and_when_to_come_back() {
        let error = Error::Store(StoreError::Busy(Store::Postgres));
        let response = error.into_response();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
}
