//! Members of consumer groups.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;

use super::cluster::Cluster;
use super::context::Change;
use super::fetcher::Fetcher;
use super::options::KafkaOptions;
use crate::{GroupEvent, GroupReader, LogError, Start, TopicPartition};

/// Session timeouts after which a wish to join that nobody answers is given up.
/// A rebalance waits for dead members no longer than one of them.
const REJOIN_AFTER_SESSIONS: u32 = 4;

/// See [`GroupReader`].
///
/// The eager protocol: a rebalance takes everything from everybody first. The
/// group goes on only when the client has been told to assign or unassign, and
/// that is done when the caller has answered the event: by `seek_all` after
/// `Assigned`, by the next poll after `Revoked`.
///
/// A member that is out of the group for long joins anew with a fresh client:
/// after a session that timed out while the coordinator moved, librdkafka has
/// been seen to wait for ever.
pub struct KafkaGroupReader {
    fetcher: Fetcher,
    membership: Membership,
    request_timeout: Duration,
    /// Since when the group has not answered a wish to join. An empty answer,
    /// in a group with more members than partitions, is an answer.
    joining_since: Option<Instant>,
    owned: Vec<TopicPartition>,
    /// Assigned, but without a start yet.
    awaits_start: bool,
    /// Revoked, and the caller was told.
    awaits_consent: bool,
}

/// What it takes to join.
struct Membership {
    config: ClientConfig,
    cluster: Arc<Cluster>,
    topics: Vec<String>,
    rejoin_after: Duration,
}

impl Membership {
    fn join(&self) -> Result<Fetcher, LogError> {
        let fetcher = Fetcher::new(&self.config, &self.cluster)?;
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        fetcher
            .consumer()?
            .subscribe(&topics)
            .map_err(|error| LogError::Configuration {
                reason: error.to_string(),
            })?;
        Ok(fetcher)
    }
}

impl KafkaGroupReader {
    pub(super) fn join(
        options: &KafkaOptions,
        cluster: &Arc<Cluster>,
        group: &str,
        topics: &[&str],
    ) -> Result<Self, LogError> {
        for topic in topics {
            cluster.partition_count(topic)?;
        }
        let membership = Membership {
            config: options.group_reader(group),
            cluster: Arc::clone(cluster),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            rejoin_after: options.session_timeout * REJOIN_AFTER_SESSIONS,
        };
        Ok(Self {
            fetcher: membership.join()?,
            membership,
            joining_since: Some(Instant::now()),
            request_timeout: options.request_timeout,
            owned: Vec::new(),
            awaits_start: false,
            awaits_consent: false,
        })
    }

    /// Joins with a fresh client when the group has not answered for long.
    fn rejoin_if_forgotten(&mut self) -> Result<(), LogError> {
        let forgotten = self
            .joining_since
            .is_some_and(|since| since.elapsed() > self.membership.rejoin_after);
        if forgotten && !self.awaits_start {
            tracing::warn!(
                topics = ?self.membership.topics,
                "the group has not answered for long; joining it anew"
            );
            self.fetcher.leave(self.request_timeout);
            self.fetcher = self.membership.join()?;
            self.joining_since = Some(Instant::now());
        }
        Ok(())
    }

    fn change(&mut self) -> Result<Option<GroupEvent>, LogError> {
        let event = match self.fetcher.consumer()?.context().next_change() {
            None => return Ok(None),
            Some(Change::Revoke(lost)) => {
                self.owned.clear();
                self.awaits_start = false;
                self.awaits_consent = true;
                GroupEvent::Revoked(lost)
            }
            Some(Change::Assign(owned)) => {
                self.joining_since = None;
                self.owned.clone_from(&owned);
                self.awaits_start = !owned.is_empty();
                if owned.is_empty() {
                    self.fetcher.assign(&[])?;
                }
                GroupEvent::Assigned(owned)
            }
        };
        Ok(Some(event))
    }
}

impl GroupReader for KafkaGroupReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<GroupEvent, LogError> {
        if self.awaits_consent {
            self.awaits_consent = false;
            self.fetcher.unassign()?;
            self.joining_since = Some(Instant::now());
        }
        self.rejoin_if_forgotten()?;
        if let Some(event) = self.change()? {
            return Ok(event);
        }
        let records = self.fetcher.poll(max, timeout)?;
        if records.is_empty()
            && let Some(event) = self.change()?
        {
            return Ok(event);
        }
        Ok(GroupEvent::Records(records))
    }

    fn seek_all(&mut self, starts: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        if let Some((at, _)) = starts.iter().find(|(at, _)| !self.owned.contains(at)) {
            return Err(LogError::NotAssigned(at.clone()));
        }
        if self.awaits_start {
            self.fetcher.assign(starts)?;
            self.awaits_start = false;
            return Ok(());
        }
        self.fetcher.seek(starts, self.request_timeout)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.fetcher.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.fetcher.watermarks(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.fetcher.set_paused(partitions, true)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.fetcher.set_paused(partitions, false)
    }
}

impl Drop for KafkaGroupReader {
    /// Leaves the group before it returns, also when the process ends next:
    /// otherwise the partitions would be nobody's until the session times out.
    fn drop(&mut self) {
        self.fetcher.leave(self.request_timeout);
    }
}
