//! Readers that can be killed at every call, whose leader may be behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cartwright_event_log::memory::{MemoryGroupReader, MemoryReader};
use cartwright_event_log::{
    GroupEvent, GroupReader, LogError, LogReader, NewRecord, ReaderPurpose, Record, Start,
    TopicPartition,
};
use cartwright_events::Context;
use cartwright_events::codec::Codec;

use super::SimLog;
use crate::bug::Bug;
use crate::sim::Sim;

/// A reader without a group.
pub(crate) struct SimReader {
    log: SimLog,
    inner: MemoryReader,
    purpose: ReaderPurpose,
    assigned: Vec<TopicPartition>,
    /// What whoever reads has paused, beside what a leader does not show.
    paused: BTreeSet<TopicPartition>,
}

impl SimReader {
    pub(super) fn new(log: &SimLog, inner: MemoryReader, purpose: ReaderPurpose) -> Self {
        Self {
            log: log.clone(),
            inner,
            purpose,
            assigned: Vec::new(),
            paused: BTreeSet::new(),
        }
    }

    fn sim(&self) -> &Sim {
        &self.log.sim
    }

    /// Where the leader's last stable offset stands, if that is before what is committed. (A leader
    /// that has just been elected learns from its followers how far it may show what it has.)
    fn lags_at(&self, at: &TopicPartition) -> Option<u64> {
        let state = self.sim().lock();
        state.lagging.get(at)?;
        state.last_transaction.get(at).copied()
    }

    fn lags(&self) -> bool {
        self.assigned.iter().any(|at| self.lags_at(at).is_some())
    }

    /// Whether a leader has not answered by the end of this poll. It goes on being late for whoever asks
    /// anew.
    fn comes_later(&self) -> bool {
        let mut state = self.sim().lock();
        let mut comes_later = false;
        for at in &self.assigned {
            if let Some(left) = state.slow.get_mut(at) {
                *left -= 1;
                comes_later = true;
            }
        }
        state.slow.retain(|_, left| *left > 0);
        drop(state);
        if comes_later {
            self.sim().count("read late");
        }
        comes_later
    }

    /// Reads no further than the leader shows.
    fn poll_lagging(&mut self) -> Result<Vec<Record>, LogError> {
        for at in self.assigned.clone() {
            let position = self.inner.position(&at)?;
            let beyond = self.lags_at(&at).is_some_and(|end| position >= end);
            match beyond || self.paused.contains(&at) {
                true => self.inner.pause(&[at])?,
                false => self.inner.resume(&[at])?,
            }
        }
        let records = self.inner.poll(1, Duration::ZERO)?;
        if records.is_empty() {
            let mut state = self.sim().lock();
            for at in &self.assigned {
                if let Some(left) = state.lagging.get_mut(at) {
                    *left = left.saturating_sub(1);
                }
            }
            state.lagging.retain(|_, left| *left > 0);
        }
        Ok(records)
    }
}

impl LogReader for SimReader {
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        self.log
            .may_die("killed before reading", "builder killed before reading");
        self.assigned = partitions.iter().map(|(at, _)| at.clone()).collect();
        self.paused.clear();
        self.inner.assign(partitions)
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        self.log
            .may_die("killed while reading", "builder killed while reading");
        if self.comes_later() {
            return Ok(Vec::new());
        }
        if self.lags() {
            return self.poll_lagging();
        }
        let wanted = self.assigned.iter().filter(|at| !self.paused.contains(at));
        let wanted: Vec<TopicPartition> = wanted.cloned().collect();
        self.inner.resume(&wanted)?;
        let mut records = self.inner.poll(max, timeout)?;
        let forgets = self.sim().has(Bug::ForgetResultsAtRecovery);
        if forgets && self.purpose == ReaderPurpose::Recovery {
            records.iter_mut().for_each(forget_results);
        }
        self.log.misread(&mut records);
        Ok(records)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.inner.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.log.may_die_asking();
        let (low, high) = self.inner.watermarks(at)?;
        if self.sim().has(Bug::RecoverToLso) {
            let stable = self.log.model.last_stable_offset(at)?;
            let shown = self.lags_at(at).unwrap_or(high);
            return Ok((low, high.min(stable).min(shown)));
        }
        Ok((low, high))
    }

    fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.log.may_die_asking();
        let shown = self.lags_at(at).unwrap_or(u64::MAX);
        Ok(self.inner.stable_end(at)?.min(shown))
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.paused.extend(partitions.iter().cloned());
        self.inner.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.paused.retain(|at| !partitions.contains(at));
        self.inner.resume(partitions)
    }
}

fn forget_results(record: &mut Record) {
    let context = Context::ALL
        .into_iter()
        .find(|context| *context.journal_topic() == *record.topic);
    let (Some(context), Some(value)) = (context, &record.value) else {
        return;
    };
    let codec = Codec::fixed();
    if let Ok(mut journal) = codec.decode_journal(context, value) {
        journal.decided.clear();
        record.value = Some(codec.encode_journal(context, &journal));
    }
}

/// A member of a consumer group.
pub(crate) struct SimGroupReader {
    log: SimLog,
    inner: MemoryGroupReader,
    /// The last record of each partition, for [`Bug::ReadUncommitted`].
    seen: BTreeMap<TopicPartition, Record>,
}

impl SimGroupReader {
    pub(super) fn new(log: &SimLog, inner: MemoryGroupReader) -> Self {
        Self {
            log: log.clone(),
            inner,
            seen: BTreeMap::new(),
        }
    }

    /// Puts an aborted record behind the last one of its partition.
    fn show_aborted(&mut self, records: &mut Vec<Record>) {
        for record in records.iter() {
            self.seen.insert(record.topic_partition(), record.clone());
        }
        let mut state = self.log.sim.lock();
        let last_of = |new: &NewRecord| {
            let at = TopicPartition::new(Arc::clone(&new.topic), new.partition);
            self.seen.get(&at)
        };
        let index = state.aborted.iter().position(|new| last_of(new).is_some());
        let Some(aborted) = index.map(|index| state.aborted.swap_remove(index)) else {
            return;
        };
        if let Some(last) = last_of(&aborted).cloned() {
            records.push(Record {
                offset: last.offset + 1,
                headers: aborted.read_headers(),
                key: Some(aborted.key),
                value: aborted.value,
                ..last
            });
        }
    }
}

impl GroupReader for SimGroupReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<GroupEvent, LogError> {
        self.log.sim.may_die("projector killed while reading");
        let mut event = self.inner.poll(max, timeout)?;
        if let (GroupEvent::Records(records), true) =
            (&mut event, self.log.sim.has(Bug::ReadUncommitted))
        {
            self.show_aborted(records);
        }
        if let GroupEvent::Records(records) = &mut event {
            self.log.misread(records);
        }
        Ok(event)
    }

    fn seek_all(&mut self, starts: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        let kind = "projector killed before it says where to start";
        self.log.sim.may_die(kind);
        self.inner.seek_all(starts)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.inner.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        let kind = "projector killed while it asks about a partition";
        self.log.sim.may_die(kind);
        self.inner.watermarks(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.inner.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.inner.resume(partitions)
    }
}
