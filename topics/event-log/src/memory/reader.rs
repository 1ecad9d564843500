//! Readers of the model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::MemoryLog;
use super::fault::Strikes;
use super::state::State;
use crate::{LogError, LogReader, Record, Start, TopicPartition};

/// Where a reader stands in each of its partitions.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    cursors: BTreeMap<TopicPartition, Cursor>,
    /// Partition served first by the next poll, so that none starves.
    next: usize,
}

#[derive(Debug)]
struct Cursor {
    position: u64,
    paused: bool,
}

impl Cursors {
    pub(super) fn clear(&mut self) {
        self.cursors.clear();
    }

    pub(super) fn seek(
        &mut self,
        state: &State,
        partitions: &[(TopicPartition, Start)],
    ) -> Result<(), LogError> {
        for (at, start) in partitions {
            let position = state.resolve(at, *start)?;
            let paused = self.cursors.get(at).is_some_and(|cursor| cursor.paused);
            self.cursors.insert(at.clone(), Cursor { position, paused });
        }
        Ok(())
    }

    pub(super) fn read(&mut self, state: &State, max: usize) -> Result<Vec<Record>, LogError> {
        let count = self.cursors.len();
        let first = self.next;
        self.next = first.wrapping_add(1);
        let mut records = Vec::new();
        let order = self
            .cursors
            .iter_mut()
            .enumerate()
            .map(|(index, cursor)| ((index + count - first % count) % count, cursor));
        let mut order: Vec<_> = order.collect();
        order.sort_by_key(|(rank, _)| *rank);
        for (_, (at, cursor)) in order {
            if cursor.paused || records.len() >= max {
                continue;
            }
            state.in_range(at, cursor.position)?;
            let partition = state.partition(at)?;
            records.extend(partition.read(&mut cursor.position, max - records.len()));
        }
        Ok(records)
    }

    pub(super) fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        match self.cursors.get(at) {
            Some(cursor) => Ok(cursor.position),
            None => Err(LogError::NotAssigned(at.clone())),
        }
    }

    pub(super) fn set_paused(
        &mut self,
        partitions: &[TopicPartition],
        paused: bool,
    ) -> Result<(), LogError> {
        for at in partitions {
            match self.cursors.get_mut(at) {
                Some(cursor) => cursor.paused = paused,
                None => return Err(LogError::NotAssigned(at.clone())),
            }
        }
        Ok(())
    }
}

/// See [`LogReader`].
#[derive(Debug)]
pub struct MemoryReader {
    pub(super) log: MemoryLog,
    pub(super) cursors: Cursors,
}

impl LogReader for MemoryReader {
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        self.cursors.clear();
        self.cursors.seek(&self.log.lock(), partitions)
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        let log = self.log.clone();
        let cursors = &mut self.cursors;
        let found = log.poll_until(timeout, |state| {
            take_reader_error(state)?;
            let records = cursors.read(state, max)?;
            Ok((!records.is_empty()).then_some(records))
        })?;
        Ok(found.unwrap_or_default())
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.cursors.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.log.watermarks(at)
    }

    fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.log.last_stable_offset(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursors.set_paused(partitions, true)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursors.set_paused(partitions, false)
    }
}

/// Fails when a reader error is scripted.
pub(super) fn take_reader_error(state: &mut State) -> Result<(), LogError> {
    match state.script.take(Strikes::Poll, None) {
        Some(_) => Err(LogError::Unavailable {
            reason: "scripted reader error".to_owned(),
        }),
        None => Ok(()),
    }
}

/// Every partition of these topics that exists.
pub(super) fn partitions_of(state: &State, topics: &[Arc<str>]) -> Vec<TopicPartition> {
    topics
        .iter()
        .flat_map(|topic| {
            let count = state.partition_count(topic).unwrap_or(0);
            (0..count).map(|partition| TopicPartition::new(Arc::clone(topic), partition))
        })
        .collect()
}
