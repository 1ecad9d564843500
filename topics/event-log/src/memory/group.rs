//! Consumer groups of the model: eager rebalancing, as Kafka's classic
//! protocol does it. A partition changes hands only after its owner has polled
//! again, unless the owner is taken for dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::MemoryLog;
use super::reader::{Cursors, partitions_of, take_reader_error};
use super::state::State;
use crate::{GroupEvent, GroupReader, LogError, Start, TopicPartition};

#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<u64, Member>,
}

#[derive(Debug)]
struct Member {
    topics: Vec<Arc<str>>,
    owned: Vec<TopicPartition>,
    phase: Phase,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Reads what it owns.
    Stable,
    /// Has to be told that it loses everything.
    MustRevoke,
    /// Was told; its next poll is its consent.
    Revoking,
    /// Owns nothing and waits for the others.
    Joined,
    /// Has to be told what it owns now.
    MustAssign,
}

impl Group {
    /// Asks every member to give everything back.
    pub(super) fn rebalance(&mut self) {
        for member in self.members.values_mut() {
            member.phase = match member.phase {
                Phase::Stable if member.owned.is_empty() => Phase::Joined,
                Phase::Stable | Phase::MustRevoke => Phase::MustRevoke,
                Phase::Revoking => Phase::Revoking,
                Phase::Joined | Phase::MustAssign => {
                    member.owned.clear();
                    Phase::Joined
                }
            };
        }
    }

    fn all_joined(&self) -> bool {
        self.members
            .values()
            .all(|member| member.phase == Phase::Joined)
    }

    /// Deals the partitions out in turn, in the order of topics, partitions and
    /// members.
    fn deal(&mut self, partitions: &BTreeSet<TopicPartition>) {
        let order: Vec<u64> = self.members.keys().copied().collect();
        let mut turn = 0;
        for at in partitions {
            for step in 0..order.len() {
                let index = (turn + step) % order.len();
                let Some(member) = self.members.get_mut(&order[index]) else {
                    continue;
                };
                if member.topics.contains(&at.topic) {
                    member.owned.push(at.clone());
                    turn = index + 1;
                    break;
                }
            }
        }
        for member in self.members.values_mut() {
            member.phase = Phase::MustAssign;
        }
    }
}

impl State {
    pub(super) fn join(&mut self, group: &str, member: u64, topics: &[Arc<str>]) {
        let group = self.groups.entry(group.to_owned()).or_default();
        let joined = Member {
            topics: topics.to_vec(),
            owned: Vec::new(),
            phase: Phase::Joined,
        };
        group.members.insert(member, joined);
        group.rebalance();
    }

    pub(super) fn leave(&mut self, group: &str, member: u64) {
        if let Some(group) = self.groups.get_mut(group)
            && group.members.remove(&member).is_some()
        {
            group.rebalance();
        }
    }

    /// Removes the member that joined first, as if it had stopped polling.
    pub(super) fn expire_oldest(&mut self, group: &str) {
        let oldest = self
            .groups
            .get(group)
            .and_then(|group| group.members.keys().next().copied());
        if let Some(member) = oldest {
            self.leave(group, member);
        }
    }

    fn complete_rebalance(&mut self, group: &str) {
        let Some(waiting) = self.groups.get(group).filter(|group| group.all_joined()) else {
            return;
        };
        let topics: Vec<Arc<str>> = waiting
            .members
            .values()
            .flat_map(|member| member.topics.iter().cloned())
            .collect();
        let partitions = partitions_of(self, &topics).into_iter().collect();
        if let Some(group) = self.groups.get_mut(group) {
            group.deal(&partitions);
        }
    }

    /// The member's change of ownership that is due, if one is.
    /// `Err(())` when the member was removed without its consent.
    fn next_change(&mut self, group: &str, id: u64) -> Result<Option<GroupEvent>, ()> {
        let member = self.member(group, id).ok_or(())?;
        match member.phase {
            Phase::MustRevoke => {
                member.phase = Phase::Revoking;
                return Ok(Some(GroupEvent::Revoked(std::mem::take(&mut member.owned))));
            }
            Phase::Revoking => member.phase = Phase::Joined,
            Phase::Stable | Phase::Joined | Phase::MustAssign => {}
        }
        self.complete_rebalance(group);
        let member = self.member(group, id).ok_or(())?;
        if member.phase == Phase::MustAssign {
            member.phase = Phase::Stable;
            return Ok(Some(GroupEvent::Assigned(member.owned.clone())));
        }
        Ok(None)
    }

    fn member(&mut self, group: &str, id: u64) -> Option<&mut Member> {
        self.groups.get_mut(group)?.members.get_mut(&id)
    }
}

/// See [`GroupReader`].
#[derive(Debug)]
pub struct MemoryGroupReader {
    log: MemoryLog,
    group: String,
    topics: Vec<Arc<str>>,
    member: u64,
    owned: Vec<TopicPartition>,
    cursors: Cursors,
}

impl MemoryGroupReader {
    pub(super) fn join(log: &MemoryLog, group: &str, topics: &[&str]) -> Result<Self, LogError> {
        let topics: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        let mut state = log.lock();
        for topic in &topics {
            state.partition_count(topic)?;
        }
        let member = state.number();
        state.join(group, member, &topics);
        drop(state);
        log.wake();
        Ok(Self {
            log: log.clone(),
            group: group.to_owned(),
            topics,
            member,
            owned: Vec::new(),
            cursors: Cursors::default(),
        })
    }

    fn step(&mut self, state: &mut State, max: usize) -> Result<Option<GroupEvent>, LogError> {
        take_reader_error(state)?;
        let change = match state.next_change(&self.group, self.member) {
            Ok(change) => change,
            Err(()) => {
                // Thrown out: what was owned is lost already; join again.
                self.member = state.number();
                let topics = self.topics.clone();
                state.join(&self.group, self.member, &topics);
                let lost = std::mem::take(&mut self.owned);
                (!lost.is_empty()).then_some(GroupEvent::Revoked(lost))
            }
        };
        match change {
            Some(GroupEvent::Assigned(owned)) => {
                self.cursors.clear();
                self.owned.clone_from(&owned);
                Ok(Some(GroupEvent::Assigned(owned)))
            }
            Some(GroupEvent::Revoked(lost)) => {
                self.cursors.clear();
                self.owned.clear();
                Ok(Some(GroupEvent::Revoked(lost)))
            }
            Some(GroupEvent::Records(_)) | None => {
                let records = self.cursors.read(state, max)?;
                Ok((!records.is_empty()).then_some(GroupEvent::Records(records)))
            }
        }
    }
}

impl GroupReader for MemoryGroupReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<GroupEvent, LogError> {
        let log = self.log.clone();
        let before = self.member;
        let found = log.poll_until(timeout, |state| self.step(state, max));
        if self.member != before || matches!(found, Ok(Some(GroupEvent::Assigned(_)))) {
            log.wake();
        }
        Ok(found?.unwrap_or(GroupEvent::Records(Vec::new())))
    }

    fn seek_all(&mut self, starts: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        if let Some((at, _)) = starts.iter().find(|(at, _)| !self.owned.contains(at)) {
            return Err(LogError::NotAssigned(at.clone()));
        }
        self.cursors.seek(&self.log.lock(), starts)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.cursors.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.log.watermarks(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursors.set_paused(partitions, true)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursors.set_paused(partitions, false)
    }
}

impl Drop for MemoryGroupReader {
    fn drop(&mut self) {
        self.log.lock().leave(&self.group, self.member);
        self.log.wake();
    }
}
