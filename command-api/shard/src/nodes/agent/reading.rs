//! What an agent reads: the beats of all nodes, and who owns what.

use std::time::Duration;

use cartwright_event_log::{
    EventLog, LogError, LogReader, ReaderPurpose, Record, Start, TopicPartition,
};

use super::NodeAgent;
use crate::nodes::{Assignment, Beat, NODES_TOPIC, OWNERS_TOPIC, ShardHost, ShardId};
use crate::standstill::Look;

/// Records taken from the reader at a time.
const BATCH: usize = 1_024;

impl<L: EventLog, H: ShardHost> NodeAgent<L, H> {
    pub(super) fn read(&mut self, now_ms: u64) -> Result<(), LogError> {
        let (nodes, owners) = (
            TopicPartition::new(NODES_TOPIC, 0),
            TopicPartition::new(OWNERS_TOPIC, 0),
        );
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let mut reader = self.log.reader(ReaderPurpose::Tailing)?;
                let beats_end = reader.watermarks(&nodes)?.1;
                self.known_at = reader.watermarks(&owners)?.1;
                reader.assign(&[
                    (nodes, Start::Offset(beats_end)),
                    (owners.clone(), Start::Beginning),
                ])?;
                self.standstill.moved(Duration::from_millis(now_ms));
                reader
            }
        };
        let records = reader.poll(BATCH, self.options.look())?;
        let position = reader.position(&owners)?;
        if !self.is_to_be_replaced(&reader, &owners, now_ms) {
            self.reader = Some(reader);
        }
        for record in &records {
            self.take(record, now_ms);
        }
        if !self.status.knows_the_map && position >= self.known_at {
            self.status.knows_the_map = true;
            self.allocator.presume(&self.map, now_ms);
        }
        Ok(())
    }

    /// Whether the reader has missed that there is more of the map. Beats come all the same, and say
    /// nothing of it.
    fn is_to_be_replaced(
        &mut self,
        reader: &L::Reader,
        owners: &TopicPartition,
        now_ms: u64,
    ) -> bool {
        let end = self.known_at.max(self.plan_at);
        let now = Duration::from_millis(now_ms);
        match (self.standstill).look(now, &self.log, reader, owners, || Ok(end)) {
            Look::TooEarly => false,
            Look::AtEnd => {
                self.status.held_up = None;
                false
            }
            Look::StandsStill {
                what, is_held_up, ..
            } => {
                tracing::warn!(what, "the map of the nodes stands still");
                self.status.held_up = Some(what);
                !is_held_up
            }
        }
    }

    fn take(&mut self, record: &Record, now_ms: u64) {
        let value = record.value.as_deref().unwrap_or_default();
        if record.topic.as_ref() == NODES_TOPIC {
            match serde_json::from_slice::<Beat>(value) {
                Ok(beat) => {
                    self.status.superseded |=
                        beat.node == self.me.node && beat.incarnation > self.incarnation;
                    if beat.node == self.me.node && beat.incarnation == self.incarnation {
                        self.clock.hear(record);
                        self.status.clock_is_off = self.clock.is_off();
                    }
                    self.allocator.hear(beat, now_ms);
                }
                Err(error) => unreadable(record, &error),
            }
            return;
        }
        let key = record.key.as_deref().map(String::from_utf8_lossy);
        let shard = key.unwrap_or_default().parse::<ShardId>();
        match (shard, serde_json::from_slice::<Assignment>(value)) {
            (Ok(shard), Ok(assignment)) => {
                let before = self.map.get(shard).map(|before| before.owner.node.clone());
                let owner = assignment.owner.node.clone();
                if self.map.take(shard, assignment)
                    && let Some(before) = before.filter(|before| *before != owner)
                {
                    let until_ms = now_ms + self.options.handover_ms;
                    self.awaited.insert(shard, (before, until_ms));
                }
            }
            (Err(error), _) => unreadable(record, &error),
            (_, Err(error)) => unreadable(record, &error),
        }
    }
}

fn unreadable(record: &Record, error: &dyn std::error::Error) {
    tracing::error!(
        at = %record.topic_partition(),
        offset = record.offset,
        %error,
        "a record about the nodes cannot be read and is passed over"
    );
}
