//! What librdkafka's errors mean.

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::LogError;

/// An error of a producer, reduced to what is decided by.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: RDKafkaErrorCode,
    /// The client can't be used any more.
    pub(super) fatal: bool,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn from_kafka(error: &KafkaError) -> Self {
        match error {
            KafkaError::Transaction(inner) => Self {
                code: inner.code(),
                fatal: inner.is_fatal(),
                text: inner.string(),
            },
            other => Self {
                code: other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
                fatal: false,
                text: other.to_string(),
            },
        }
    }

    /// Replaces it by the client's fatal error, if there is one: the delivery
    /// reports of a producer that is fenced before its first produce request say
    /// "purged" and no more.
    pub(super) fn resolved<C: ClientContext>(self, client: &Client<C>) -> Self {
        match client.fatal_error() {
            Some((code, text)) => Self {
                code,
                fatal: true,
                text,
            },
            None => self,
        }
    }

    /// Another producer has the transactional id, or the coordinator has timed
    /// the transaction out and raised the epoch, which comes to the same.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
        )
    }

    pub(super) fn describe(&self) -> String {
        format!("{} ({:?})", self.text, self.code)
    }
}

/// The error of a call that asks the cluster for something.
pub(super) fn unavailable(error: &KafkaError) -> LogError {
    LogError::Unavailable {
        reason: error.to_string(),
    }
}

/// The error of making a client: a setting it does not accept.
pub(super) fn configuration(error: &KafkaError) -> LogError {
    LogError::Configuration {
        reason: error.to_string(),
    }
}

/// Errors that a consumer reports and recovers from by itself. Whether it does
/// is for the caller's progress watchdog.
pub(super) fn is_transient(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::NotCoordinator
    )
}
