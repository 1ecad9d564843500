//! Which transactions are open on partitions, and whose they are. librdkafka can't ask that yet.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{
    ApiKey, DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse, ProducerId,
    TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Placement, number};
use super::wire::{Wire, ok};
use crate::{LogError, OpenTransaction, TopicPartition};

/// The version of all three requests: the first, which every broker knows that has them (Kafka 3.0).
const VERSION: i16 = 0;

/// What a producer has open on a partition.
pub(super) struct Open {
    pub(super) at: TopicPartition,
    pub(super) producer: i64,
    /// Of the records, as the partition knows it.
    pub(super) epoch: i16,
    /// Of the last marker that the producer's transactions got there; below zero before the first.
    pub(super) coordinator_epoch: i32,
    pub(super) first_offset: u64,
}

/// Asks the partition's leader for producers with an open transaction, and the coordinators whose
/// they are.
pub(super) fn open_transactions(
    at: &TopicPartition,
    placement: &Placement,
    wire: &Wire,
) -> Result<Vec<OpenTransaction>, LogError> {
    let leader = placement.leader(at)?;
    let mut open = Vec::new();
    for found in wire.open_on(leader, &[at])? {
        let mut holder = None;
        for broker in &placement.brokers {
            holder = wire.holder(found.producer, broker)?;
            if holder.is_some() {
                break;
            }
        }
        let (transactional_id, open_ms) = holder.unzip();
        open.push(OpenTransaction {
            first_offset: found.first_offset,
            transactional_id,
            open_ms: open_ms.flatten(),
        });
    }
    open.sort_by_key(|transaction| transaction.first_offset);
    Ok(open)
}

impl Wire {
    /// What is open on partitions that `leader` leads.
    pub(super) fn open_on(
        &self,
        leader: &str,
        partitions: &[&TopicPartition],
    ) -> Result<Vec<Open>, LogError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for at in partitions {
            topics.entry(&at.topic).or_default().push(number(at));
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            TopicRequest::default()
                .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partition_indexes(partitions)
        });
        let request = DescribeProducersRequest::default().with_topics(topics.collect());
        let answer: DescribeProducersResponse =
            self.send(leader, ApiKey::DescribeProducers, VERSION, &request)?;
        let mut found = Vec::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                ok(partition.error_code, "describing the producers", leader)?;
                let index = u32::try_from(partition.partition_index).unwrap_or(u32::MAX);
                for producer in &partition.active_producers {
                    // Minus one when nothing is open.
                    let Ok(first_offset) = u64::try_from(producer.current_txn_start_offset) else {
                        continue;
                    };
                    found.push(Open {
                        at: TopicPartition::new(topic.name.as_str(), index),
                        producer: producer.producer_id.0,
                        epoch: i16::try_from(producer.producer_epoch).unwrap_or(i16::MAX),
                        coordinator_epoch: producer.coordinator_epoch,
                        first_offset,
                    });
                }
            }
        }
        Ok(found)
    }

    /// The state of a transactional id, if `broker` coordinates it.
    pub(super) fn transaction(
        &self,
        transactional_id: &str,
        broker: &str,
    ) -> Result<Option<TransactionState>, LogError> {
        let id = TransactionalId(StrBytes::from_string(transactional_id.to_owned()));
        let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id]);
        let described: DescribeTransactionsResponse =
            self.send(broker, ApiKey::DescribeTransactions, VERSION, &request)?;
        let mut states = described.transaction_states.into_iter();
        Ok(states.find(|state| state.error_code == 0))
    }

    /// The transactional id of a producer, if this broker coordinates it, and for how long its
    /// transaction is open, if one is.
    fn holder(
        &self,
        producer: i64,
        broker: &str,
    ) -> Result<Option<(String, Option<u64>)>, LogError> {
        let request =
            ListTransactionsRequest::default().with_producer_id_filters(vec![ProducerId(producer)]);
        let listed: ListTransactionsResponse =
            self.send(broker, ApiKey::ListTransactions, VERSION, &request)?;
        ok(listed.error_code, "listing transactions", broker)?;
        let Some(listed) = listed.transaction_states.first() else {
            return Ok(None);
        };
        let id = listed.transactional_id.to_string();
        let state = self.transaction(&id, broker)?;
        let under_way = state.filter(|state| !has_ended(state));
        let started =
            under_way.and_then(|state| u64::try_from(state.transaction_start_time_ms).ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        Ok(Some((
            id,
            started.map(|started| now.saturating_sub(started)),
        )))
    }
}

/// Whether the coordinator has nothing of the id under way.
pub(super) fn has_ended(state: &TransactionState) -> bool {
    let state = state.transaction_state.as_str();
    matches!(state, "Empty" | "CompleteCommit" | "CompleteAbort")
}
