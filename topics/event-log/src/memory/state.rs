//! The cluster: topics, the transaction coordinator, delayed requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::fault::Script;
use super::group::Group;
use super::partition::{Partition, ProducerId};
use crate::{LogError, NewRecord, Start, TopicPartition};

/// How long a transaction may stay open, as a shard's producer asks for.
const TRANSACTION_TIMEOUT_US: i64 = 3_000_000;

/// Where record times come from.
#[derive(Debug)]
pub(super) enum Clock {
    /// Moves only when told to, microseconds since the epoch.
    Explicit(i64),
    /// The machine's.
    System,
}

/// A request that is still on its way.
#[derive(Debug)]
enum Delayed {
    EndTxn { epoch: u32 },
    Produce { epoch: u32, records: Vec<NewRecord> },
}

/// What the coordinator knows of a transactional id.
#[derive(Debug)]
struct Holder {
    producer: ProducerId,
    epoch: u32,
    open: Option<OpenTransaction>,
    delayed: Vec<Delayed>,
}

#[derive(Debug, Default)]
struct OpenTransaction {
    since_us: i64,
    partitions: BTreeSet<TopicPartition>,
}

/// The request came with an epoch that is not the newest of its id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StaleEpoch;

/// What became of delayed requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DelayedRequests {
    /// Took effect: committed part of another transaction or joined it.
    pub applied: u64,
    /// Refused because a take-over had raised the epoch meanwhile, or without
    /// effect because nothing was open.
    pub refused: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) clock: Clock,
    topics: BTreeMap<Arc<str>, Vec<Partition>>,
    holders: BTreeMap<String, Holder>,
    pub(super) script: Script,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) delayed_requests: DelayedRequests,
    pub(super) guard: bool,
    next_number: u64,
}

impl State {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            topics: BTreeMap::new(),
            holders: BTreeMap::new(),
            script: Script::default(),
            groups: BTreeMap::new(),
            delayed_requests: DelayedRequests::default(),
            guard: true,
            next_number: 0,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn now_us(&self) -> i64 {
        match self.clock {
            Clock::Explicit(now) => now,
            Clock::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_micros() as i64),
        }
    }

    pub(super) fn create_topic(&mut self, topic: &str, partitions: u32) {
        self.topics
            .entry(Arc::from(topic))
            .or_insert_with(|| (0..partitions).map(|_| Partition::default()).collect());
    }

    pub(super) fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        match self.topics.get(topic) {
            Some(partitions) => Ok(partitions.len() as u32),
            None => Err(LogError::UnknownTopic {
                topic: topic.to_owned(),
            }),
        }
    }

    pub(super) fn partition(&self, at: &TopicPartition) -> Result<&Partition, LogError> {
        self.partition_count(&at.topic)?;
        self.topics
            .get(&at.topic)
            .and_then(|partitions| partitions.get(at.partition as usize))
            .ok_or_else(|| LogError::UnknownPartition(at.clone()))
    }

    pub(super) fn partition_mut(&mut self, at: &TopicPartition) -> Option<&mut Partition> {
        self.topics
            .get_mut(&at.topic)?
            .get_mut(at.partition as usize)
    }

    /// The offset that `start` means, checked against the watermarks.
    pub(super) fn resolve(&self, at: &TopicPartition, start: Start) -> Result<u64, LogError> {
        let partition = self.partition(at)?;
        let position = match start {
            Start::Beginning => partition.low(),
            Start::Offset(offset) => offset,
        };
        self.in_range(at, position)?;
        Ok(position)
    }

    pub(super) fn in_range(&self, at: &TopicPartition, position: u64) -> Result<(), LogError> {
        let partition = self.partition(at)?;
        let (low, high) = (partition.low(), partition.high());
        if (low..=high).contains(&position) {
            return Ok(());
        }
        Err(LogError::OutOfRange {
            at: at.clone(),
            reason: format!("{position} is not in {low}..={high}"),
        })
    }

    /// Raises the epoch of the id, aborts what its earlier holder left open and
    /// returns the new epoch.
    pub(super) fn take_over(&mut self, transactional_id: &str) -> u32 {
        self.end(transactional_id, false);
        let producer = self.number();
        let holder = self
            .holders
            .entry(transactional_id.to_owned())
            .or_insert(Holder {
                producer,
                epoch: 0,
                open: None,
                delayed: Vec::new(),
            });
        holder.epoch += 1;
        holder.epoch
    }

    /// The epoch that holds the id now, 0 if none ever did.
    pub(super) fn epoch(&self, transactional_id: &str) -> u32 {
        self.holders
            .get(transactional_id)
            .map_or(0, |holder| holder.epoch)
    }

    /// Appends to the id's transaction, opening it with the first record.
    pub(super) fn produce(
        &mut self,
        transactional_id: &str,
        epoch: u32,
        records: &[NewRecord],
    ) -> Result<Vec<u64>, StaleEpoch> {
        let now_us = self.now_us();
        let holder = match self.holders.get_mut(transactional_id) {
            Some(holder) if holder.epoch == epoch => holder,
            _ => return Err(StaleEpoch),
        };
        let producer = holder.producer;
        let open = holder.open.get_or_insert_with(|| OpenTransaction {
            since_us: now_us,
            partitions: BTreeSet::new(),
        });
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            let at = TopicPartition {
                topic: Arc::clone(&record.topic),
                partition: record.partition,
            };
            let partition = self
                .topics
                .get_mut(&at.topic)
                .and_then(|partitions| partitions.get_mut(at.partition as usize));
            if let Some(partition) = partition {
                offsets.push(partition.append(producer, record, now_us));
                open.partitions.insert(at);
            }
        }
        Ok(offsets)
    }

    /// EndTxn: writes the control records. `false` when nothing was open.
    pub(super) fn end_transaction(
        &mut self,
        transactional_id: &str,
        epoch: u32,
        commit: bool,
    ) -> Result<bool, StaleEpoch> {
        if self.epoch(transactional_id) != epoch {
            return Err(StaleEpoch);
        }
        Ok(self.end(transactional_id, commit))
    }

    fn end(&mut self, transactional_id: &str, commit: bool) -> bool {
        let Some(holder) = self.holders.get_mut(transactional_id) else {
            return false;
        };
        let producer = holder.producer;
        let Some(open) = holder.open.take() else {
            return false;
        };
        for at in &open.partitions {
            if let Some(partition) = self.partition_mut(at) {
                partition.end(producer, commit);
            }
        }
        true
    }

    /// Puts a copy of the commit request on a slow way.
    pub(super) fn delay_end_txn(&mut self, transactional_id: &str, epoch: u32) {
        self.delay(transactional_id, Delayed::EndTxn { epoch });
    }

    /// Puts a produce request on a slow way.
    pub(super) fn delay_produce(&mut self, id: &str, epoch: u32, records: Vec<NewRecord>) {
        self.delay(id, Delayed::Produce { epoch, records });
    }

    fn delay(&mut self, transactional_id: &str, request: Delayed) {
        if let Some(holder) = self.holders.get_mut(transactional_id) {
            holder.delayed.push(request);
        }
    }

    /// Lets the delayed requests of the id arrive.
    pub(super) fn deliver_delayed(&mut self, transactional_id: &str) {
        let Some(holder) = self.holders.get_mut(transactional_id) else {
            return;
        };
        for request in std::mem::take(&mut holder.delayed) {
            let applied = match request {
                Delayed::EndTxn { epoch } => self
                    .end_transaction(transactional_id, epoch, true)
                    .unwrap_or(false),
                // Brokers refuse a produce to a partition that is not part of
                // an open transaction.
                Delayed::Produce { epoch, records } => {
                    self.is_open(transactional_id)
                        && self.produce(transactional_id, epoch, &records).is_ok()
                }
            };
            if applied {
                self.delayed_requests.applied += 1;
            } else {
                self.delayed_requests.refused += 1;
            }
        }
    }

    pub(super) fn is_open(&self, transactional_id: &str) -> bool {
        self.holders
            .get(transactional_id)
            .is_some_and(|holder| holder.open.is_some())
    }

    pub(super) fn open_transactions(
        &self,
        at: &TopicPartition,
    ) -> Result<Vec<crate::OpenTransaction>, LogError> {
        let partition = self.partition(at)?;
        let open = partition.open_since().map(|(producer, first_offset)| {
            let mut holders = self.holders.iter();
            let holder = holders.find(|(_, holder)| holder.producer == producer);
            let since = holder.and_then(|(_, holder)| Some(holder.open.as_ref()?.since_us));
            crate::OpenTransaction {
                first_offset,
                transactional_id: holder.map(|(id, _)| id.clone()),
                open_ms: since.map(|since| ((self.now_us() - since) / 1_000).unsigned_abs()),
            }
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by_key(|transaction| transaction.first_offset);
        Ok(open)
    }

    /// What the coordinator does every second: aborts transactions that are
    /// open for too long and raises the epoch of their ids.
    pub(super) fn abort_timed_out(&mut self) {
        let now_us = self.now_us();
        let timed_out: Vec<String> = self
            .holders
            .iter()
            .filter(|(_, holder)| {
                holder
                    .open
                    .as_ref()
                    .is_some_and(|open| open.since_us + TRANSACTION_TIMEOUT_US <= now_us)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in timed_out {
            self.take_over(&id);
        }
    }
}
