//! What the two kinds of reader share: a consumer, and where it stands.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::cluster::{Cluster, number};
use super::context::ConsumerCallbacks;
use super::failure::{configuration, is_transient, unavailable};
use crate::{Headers, LogError, Record, Start, TopicPartition};

/// A consumer with the places it reads from.
pub(super) struct Fetcher {
    /// `None` only while being dropped.
    consumer: Option<BaseConsumer<ConsumerCallbacks>>,
    cluster: Arc<Cluster>,
    /// Where reading each began.
    places: HashMap<TopicPartition, u64>,
    /// Of those, the ones that were sought and have brought nothing since: until the first record the
    /// client's own position is the old one.
    sought: HashSet<TopicPartition>,
    topics: Vec<Arc<str>>,
    /// Found together with records that had to be handed out first.
    pending_error: Option<LogError>,
    /// Positions as the client knew them after the last poll. Not the client's
    /// own list: that refers to the client, which then can't be destroyed.
    positions: RefCell<Option<HashMap<TopicPartition, u64>>>,
}

impl Fetcher {
    pub(super) fn new(
        config: &rdkafka::ClientConfig,
        cluster: &Arc<Cluster>,
    ) -> Result<Self, LogError> {
        let consumer = config
            .create_with_context(ConsumerCallbacks::default())
            .map_err(|error| configuration(&error))?;
        Ok(Self {
            consumer: Some(consumer),
            cluster: Arc::clone(cluster),
            places: HashMap::new(),
            sought: HashSet::new(),
            topics: Vec::new(),
            pending_error: None,
            positions: RefCell::new(None),
        })
    }

    pub(super) fn consumer(&self) -> Result<&BaseConsumer<ConsumerCallbacks>, LogError> {
        self.consumer.as_ref().ok_or_else(|| LogError::Fatal {
            reason: "the reader is closed".to_owned(),
        })
    }

    /// Whether some broker answers this client.
    pub(super) fn is_answered(&self, timeout: Duration) -> bool {
        let topic = self.places.keys().next().map(|at| &*at.topic);
        let asked = self
            .consumer()
            .map(|consumer| consumer.fetch_metadata(topic, timeout));
        asked.is_ok_and(|answer| answer.is_ok())
    }

    /// Where it stands, for another to go on from.
    pub(super) fn starts(&self) -> Result<Vec<(TopicPartition, Start)>, LogError> {
        let places = self.places.keys();
        let starts = places.map(|at| Ok((at.clone(), Start::Offset(self.position(at)?))));
        starts.collect()
    }

    /// Assigns exactly these partitions.
    pub(super) fn assign(
        &mut self,
        partitions: &[(TopicPartition, Start)],
    ) -> Result<(), LogError> {
        let (list, places) = self.resolve(partitions)?;
        self.consumer()?
            .assign(&list)
            .map_err(|error| unavailable(&error))?;
        self.places = places;
        self.sought.clear();
        self.pending_error = None;
        self.positions.replace(None);
        Ok(())
    }

    /// Reads partitions that are assigned from elsewhere.
    pub(super) fn seek(
        &mut self,
        partitions: &[(TopicPartition, Start)],
        timeout: Duration,
    ) -> Result<(), LogError> {
        let (list, places) = self.resolve(partitions)?;
        let done = self
            .consumer()?
            .seek_partitions(list, timeout)
            .map_err(|error| unavailable(&error))?;
        for element in done.elements() {
            element.error().map_err(|error| unavailable(&error))?;
        }
        self.sought.extend(places.keys().cloned());
        self.places.extend(places);
        Ok(())
    }

    fn resolve(
        &self,
        partitions: &[(TopicPartition, Start)],
    ) -> Result<(TopicPartitionList, HashMap<TopicPartition, u64>), LogError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let mut places = HashMap::new();
        for (at, start) in partitions {
            let start = self.cluster.resolve(at, *start)?;
            let offset = Offset::Offset(i64::try_from(start).unwrap_or(i64::MAX));
            list.add_partition_offset(&at.topic, number(at), offset)
                .map_err(|error| unavailable(&error))?;
            places.insert(at.clone(), start);
        }
        Ok((list, places))
    }

    /// Forgets what was assigned, and what of it was paused: librdkafka would keep a partition paused that
    /// is taken away and given to this client again.
    pub(super) fn unassign(&mut self) -> Result<(), LogError> {
        let assigned: Vec<_> = self.places.keys().cloned().collect();
        self.set_paused(&assigned, false)?;
        self.places.clear();
        self.sought.clear();
        self.pending_error = None;
        self.positions.replace(None);
        self.consumer()?
            .unassign()
            .map_err(|error| unavailable(&error))
    }

    pub(super) fn is_assigned(&self, at: &TopicPartition) -> bool {
        self.places.contains_key(at)
    }

    pub(super) fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        if let Some(error) = self.pending_error.take() {
            return Err(error);
        }
        self.positions.replace(None);
        let deadline = Instant::now() + timeout;
        let mut records = Vec::new();
        while records.len() < max {
            // Wait for the first record only.
            let wait = if records.is_empty() {
                whole_millis(deadline.saturating_duration_since(Instant::now()))
            } else {
                Duration::ZERO
            };
            let next = match self.consumer()?.poll(wait) {
                None => None,
                Some(Ok(message)) => Some(Ok(Self::record(&self.topics, &message))),
                Some(Err(error)) => Some(Err(error)),
            };
            match next {
                Some(Ok(record)) => records.push(self.accept(record)),
                Some(Err(error)) => match self.meaning(&error) {
                    Some(error) if records.is_empty() => return Err(error),
                    Some(error) => {
                        self.pending_error = Some(error);
                        break;
                    }
                    None => {}
                },
                None if wait.is_zero() => break,
                None => {}
            }
            if self.consumer()?.context().has_changes() {
                break;
            }
        }
        Ok(records)
    }

    fn accept(&mut self, record: Record) -> Record {
        if !self.topics.contains(&record.topic) {
            self.topics.push(Arc::clone(&record.topic));
        }
        if !self.sought.is_empty() {
            self.sought.remove(&record.topic_partition());
        }
        record
    }

    fn record(topics: &[Arc<str>], message: &BorrowedMessage<'_>) -> Record {
        let name = message.topic();
        let topic = topics
            .iter()
            .find(|topic| topic.as_ref() == name)
            .map_or_else(|| Arc::from(name), Arc::clone);
        let headers = message.headers().map(|headers| {
            let nth = |index| headers.get(index);
            let headers = (0..headers.count()).map(nth);
            Headers::of(headers.map(|header| (header.key, header.value.unwrap_or_default())))
        });
        Record {
            topic,
            partition: u32::try_from(message.partition()).unwrap_or(0),
            offset: u64::try_from(message.offset()).unwrap_or(0),
            timestamp_us: message.timestamp().to_millis().unwrap_or(0) * 1_000,
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }

    /// What the caller has to know of a consumer's error, if anything.
    fn meaning(&self, error: &KafkaError) -> Option<LogError> {
        let code = error.rdkafka_error_code()?;
        let detail = self
            .consumer()
            .map(|consumer| consumer.context().last_error())
            .unwrap_or_default();
        if is_transient(code) {
            tracing::debug!(%error, detail, "reading goes on after a passing error");
            return None;
        }
        let reason = format!("{error}: {detail}");
        Some(match (error, code) {
            (_, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.out_of_range(reason)
            }
            (KafkaError::MessageConsumptionFatal(_), _) => LogError::Fatal { reason },
            _ => LogError::Unavailable { reason },
        })
    }

    /// The client names the place in its text alone: look for the partition
    /// whose position is no longer in the log.
    fn out_of_range(&self, reason: String) -> LogError {
        let gone = self.places.keys().find(|at| {
            let position = self.position(at).unwrap_or(0);
            self.cluster
                .watermarks(at)
                .is_ok_and(|(low, high)| !(low..=high).contains(&position))
        });
        match gone.or_else(|| self.places.keys().next()) {
            Some(at) => LogError::OutOfRange {
                at: at.clone(),
                reason,
            },
            None => LogError::Unavailable { reason },
        }
    }

    pub(super) fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        let start = *self
            .places
            .get(at)
            .ok_or_else(|| LogError::NotAssigned(at.clone()))?;
        if self.sought.contains(at) {
            return Ok(start);
        }
        let mut known = self.positions.borrow_mut();
        let known = match &mut *known {
            Some(known) => known,
            none => none.insert(self.client_positions()?),
        };
        // The client has none before the first record.
        Ok(known.get(at).map_or(start, |at| *at.max(&start)))
    }

    fn client_positions(&self) -> Result<HashMap<TopicPartition, u64>, LogError> {
        let list = self
            .consumer()?
            .position()
            .map_err(|error| unavailable(&error))?;
        let known = self.places.keys().filter_map(|at| {
            let offset = list.find_partition(&at.topic, number(at))?.offset();
            match offset {
                Offset::Offset(offset) => Some((at.clone(), u64::try_from(offset).ok()?)),
                _ => None,
            }
        });
        Ok(known.collect())
    }

    /// The end that a read_committed consumer is told.
    pub(super) fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        let timeout = self.cluster.timeout();
        let asked = self
            .consumer()?
            .fetch_watermarks(&at.topic, number(at), timeout);
        let (_, end) = asked.map_err(|error| unavailable(&error))?;
        Ok(u64::try_from(end).unwrap_or(0))
    }

    pub(super) fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.cluster.watermarks(at)
    }

    pub(super) fn set_paused(
        &self,
        partitions: &[TopicPartition],
        paused: bool,
    ) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            if !self.is_assigned(at) {
                return Err(LogError::NotAssigned(at.clone()));
            }
            list.add_partition(&at.topic, number(at));
        }
        let consumer = self.consumer()?;
        let done = if paused {
            consumer.pause(&list)
        } else {
            consumer.resume(&list)
        };
        done.map_err(|error| unavailable(&error))
    }
}

impl Fetcher {
    /// Leaves the group and waits for that, but no longer than `limit`.
    pub(super) fn leave(&mut self, limit: Duration) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        consumer.context().close();
        // Answers a rebalance that is under way, which closing waits for.
        if let Err(error) = consumer.unassign() {
            tracing::warn!(%error, "could not give partitions back while closing");
        }
        let (done, left) = mpsc::channel::<()>();
        thread::spawn(move || {
            drop(consumer);
            drop(done);
        });
        if left.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("left the group without an answer from the broker");
        }
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.context().close();
            // Nothing depends on when a reader without a group is gone.
            thread::spawn(move || drop(consumer));
        }
    }
}

/// Rounded up: the client counts in milliseconds and spends what is left of one asking again and
/// again.
fn whole_millis(wait: Duration) -> Duration {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
