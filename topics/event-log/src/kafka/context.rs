//! Callbacks of the clients: logs, errors, delivery reports, rebalances.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;

use super::deliveries::Deliveries;
use super::failure::Failure;
use crate::TopicPartition;

/// librdkafka's facility for "this connection failed".
const CONNECTION_FAILED: &str = "FAIL";

fn forward(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => {
            tracing::trace!(target: "librdkafka", facility, "{message}");
        }
    }
}

/// Whether a log line of librdkafka says that a connection in use broke; the
/// error callback isn't told of that. Those that never came up, and those that
/// the client itself closes because it has learned the broker's name, carried no
/// request.
///
/// `host:9092/1: Disconnected (after 517ms in state UP) (_TRANSPORT)`
fn is_lost_connection(facility: &str, message: &str) -> bool {
    facility == CONNECTION_FAILED
        && message.contains("in state UP")
        && !message.contains("_DESTROY_BROKER")
}

/// Of a transactional producer.
#[derive(Default)]
pub(super) struct ProducerContext {
    pub(super) deliveries: Deliveries,
    /// Whether a connection has broken since the take-over. A request that was
    /// under way may be repeated by the client, and so arrive twice.
    disconnected: AtomicBool,
}

impl ProducerContext {
    /// Whether a connection has broken since the take-over.
    ///
    /// Breaks while nothing was under way count too. That costs an unneeded
    /// take-over now and then, and saves from missing the next one: librdkafka
    /// leaves out the third line about the same failure within 30 s, and at the
    /// first this client is on its way out.
    pub(super) fn has_disconnected(&self) -> bool {
        self.disconnected.load(Ordering::Acquire)
    }

    /// From here on, breaks count.
    pub(super) fn taken_over(&self) {
        self.disconnected.store(false, Ordering::Release);
    }

    fn disconnected(&self) {
        self.disconnected.store(true, Ordering::Release);
    }
}

impl ClientContext for ProducerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if is_lost_connection(facility, message) {
            self.disconnected();
        }
        forward(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.disconnected();
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

impl rdkafka::producer::ProducerContext for ProducerContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let result = match result {
            Ok(message) => Ok(u64::try_from(message.offset()).unwrap_or(0)),
            Err((error, _)) => Err(Failure::from_kafka(error)),
        };
        self.deliveries.report(tag, result);
    }
}

/// A change of ownership that the group asks for.
#[derive(Debug)]
pub(super) enum Change {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
}

/// Of every consumer; `changes` is used by group readers only.
#[derive(Default)]
pub(super) struct ConsumerCallbacks {
    changes: Mutex<VecDeque<Change>>,
    closing: AtomicBool,
    last_error: Mutex<String>,
}

impl ConsumerCallbacks {
    pub(super) fn next_change(&self) -> Option<Change> {
        self.changes().pop_front()
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes().is_empty()
    }

    /// From here on the consumer gives everything back without asking.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// What the client said about the error that it last reported.
    pub(super) fn last_error(&self) -> String {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ConsumerCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = reason.to_owned();
    }
}

impl ConsumerContext for ConsumerCallbacks {
    /// Only notes the change: the group waits until the reader assigns or
    /// unassigns, which it does when its caller has agreed.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            if let Err(error) = consumer.unassign() {
                tracing::warn!(%error, "could not give partitions back while closing");
            }
            return;
        }
        let partitions = partitions
            .elements()
            .iter()
            .map(|element| {
                let partition = u32::try_from(element.partition()).unwrap_or(0);
                TopicPartition::new(element.topic(), partition)
            })
            .collect();
        self.changes().push_back(if assign {
            Change::Assign(partitions)
        } else {
            Change::Revoke(partitions)
        });
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(500))
    }
}

#[cfg(test)]
mod tests {
    use super::is_lost_connection;

    #[test]
    fn only_connections_in_use_count_as_lost() {
        let lost = [
            "[thrd:b:9092/1]: b:9092/1: Disconnected (after 517ms in state UP) (_TRANSPORT)",
            "b:9092/1: Disconnected (after 2ms in state UP, 3 identical error(s) suppressed)",
        ];
        let not_lost = [
            "b:9092/bootstrap: Decommissioning this broker (after 2ms in state UP) (_DESTROY_BROKER)",
            "TxnCoordinator/1: b:9092: Closing connection due to nodename change \
             (after 105ms in state TRY_CONNECT) (_TRANSPORT)",
            "b:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused \
             (after 0ms in state CONNECT) (_TRANSPORT)",
        ];
        for message in lost {
            assert!(is_lost_connection("FAIL", message), "{message}");
        }
        for message in not_lost {
            assert!(!is_lost_connection("FAIL", message), "{message}");
        }
        assert!(!is_lost_connection("STATE", lost[0]));
    }
}
