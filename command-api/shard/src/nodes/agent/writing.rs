//! What an agent writes: its beats and, while it is the allocator, who owns what.

use std::sync::Arc;

use cartwright_event_log::{
    CommitError, EventLog, LogError, LogReader, LogWriter, NewRecord, TopicPartition,
};

use super::{NodeAgent, observe};
use crate::nodes::clock_check::SENT_AT;
use crate::nodes::{
    ALLOCATOR_TRANSACTIONAL_ID, Beat, NODE_TRANSACTIONAL_ID, NODES_TOPIC, OWNERS_TOPIC, ShardHost,
};

impl<L: EventLog, H: ShardHost> NodeAgent<L, H> {
    pub(super) fn allocate(&mut self, now_ms: u64) -> Result<(), CommitError> {
        if !self.status.leads || !self.status.knows_the_map {
            return Ok(());
        }
        let owners = TopicPartition::new(OWNERS_TOPIC, 0);
        let Some(reader) = &self.reader else {
            return Ok(());
        };
        let failed = |error: LogError| match error {
            LogError::Fenced { .. } => CommitError::Fenced,
            error => CommitError::NotCommitted {
                reason: error.to_string(),
            },
        };
        if self.owners.is_none() {
            let mut writer = self
                .log
                .writer(ALLOCATOR_TRANSACTIONAL_ID)
                .map_err(failed)?;
            writer.take_over().map_err(failed)?;
            self.plan_at = reader.watermarks(&owners).map_err(failed)?.1;
            self.owners = Some(writer);
        }
        if reader.position(&owners).map_err(failed)? < self.plan_at {
            return Ok(());
        }
        let plan = self.allocator.plan(&self.map, now_ms);
        let Some(writer) = self.owners.as_mut().filter(|_| !plan.is_empty()) else {
            return Ok(());
        };
        let records: Vec<NewRecord> = plan
            .iter()
            .filter_map(|(shard, assignment)| {
                tracing::info!(
                    %shard,
                    version = assignment.version,
                    owner = %assignment.owner.node,
                    successor = assignment.successor.as_ref().map(|next| next.node.0.as_str()),
                    "assigned"
                );
                record(OWNERS_TOPIC, &shard.to_string(), assignment)
            })
            .collect();
        let receipt = writer.commit(records)?;
        self.plan_at = receipt.offsets.iter().max().map_or(0, |last| last + 1);
        if receipt.doubtful {
            self.owners = None;
        }
        Ok(())
    }

    /// Beats when it is time, or when there is something to say.
    pub(super) fn beat(&mut self, now_ms: u64) -> Result<(), CommitError> {
        let observe = |shard| observe(&self.host, shard);
        let beat = Beat {
            node: self.me.node.clone(),
            address: self.me.address.clone(),
            incarnation: self.incarnation,
            state: self.state,
            contexts: if self.clock.is_off() {
                Vec::new()
            } else {
                self.contexts.clone()
            },
            running: self.host.running(),
            ready: self.member.ready(observe),
            lost: self.member.lost(),
            failed: self.member.failed(),
            outdated: self.member.outdated(),
        };
        let due = self.last_beat.as_ref().is_none_or(|(last, at_ms)| {
            *last != beat || now_ms.saturating_sub(*at_ms) >= self.options.beat_ms
        });
        // Not before it hears itself: it would not know when its own name has been taken.
        if !due || self.reader.is_none() {
            return Ok(());
        }
        let failed = |error: LogError| CommitError::NotCommitted {
            reason: error.to_string(),
        };
        let mut writer = match self.beats.take() {
            Some(writer) => writer,
            None => {
                let id = format!("{NODE_TRANSACTIONAL_ID}{}", self.me.node);
                let mut writer = self.log.writer(&id).map_err(failed)?;
                writer.take_over().map_err(failed)?;
                writer
            }
        };
        let mut records: Vec<NewRecord> = record(NODES_TOPIC, &self.me.node.0, &beat)
            .into_iter()
            .collect();
        let sent_at_us = self.clock.now().as_micros().to_string();
        for record in &mut records {
            record
                .headers
                .push((SENT_AT, sent_at_us.clone().into_bytes()));
        }
        let receipt = writer.commit(records)?;
        self.beats = (!receipt.doubtful).then_some(writer);
        self.last_beat = Some((beat, now_ms));
        Ok(())
    }
}

fn record(topic: &'static str, key: &str, value: &impl serde::Serialize) -> Option<NewRecord> {
    Some(NewRecord {
        topic: Arc::from(topic),
        partition: 0,
        key: key.as_bytes().to_vec(),
        // Plain structs with string keys: they can always be written.
        value: Some(serde_json::to_vec(value).ok()?),
        headers: Vec::new(),
    })
}
