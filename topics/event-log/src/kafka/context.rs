//! Callbacks of the clients: logs, errors, delivery reports, rebalances.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Of a transactional producer.
#[derive(Default)]
pub(super) struct ProducerContext {
    pub(super) deliveries: Deliveries,
    /// Connections that broke so far. A request that was under way may be
    /// repeated by the client, and so arrive twice.
    disconnects: AtomicU64,
}

impl ProducerContext {
    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Acquire)
    }

    fn count_disconnect(&self) {
        self.disconnects.fetch_add(1, Ordering::AcqRel);
    }
}

impl ClientContext for ProducerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == CONNECTION_FAILED {
            self.count_disconnect();
        }
        forward(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count_disconnect();
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
