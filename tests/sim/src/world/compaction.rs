//! The log cleaner, which comes by where of each key only the latest record is kept.

use std::collections::BTreeSet;

use cartwright_event_log::TopicPartition;
use cartwright_events::Context;
use serde_json::Value;

use super::{PARTITIONS, World};
use crate::log::{attempt_of, text};

impl World {
    /// A partition of snapshots is compacted, all of it or up to some offset.
    pub(super) fn compact_some(&mut self) {
        let context = Context::ALL[self.sim.below(Context::ALL.len())];
        let partition = self.sim.below(PARTITIONS as usize);
        let partition = u32::try_from(partition).unwrap_or_default();
        let at = TopicPartition::new(context.snapshots_topic(), partition);
        let end = self.log.last_stable_offset(&at).unwrap_or_default();
        let end = usize::try_from(end).unwrap_or_default();
        let before = match self.sim.below(2) {
            0 => end,
            _ => self.sim.below(end),
        };
        if self.compact(context, partition, before as u64) > 0 {
            self.sim.count("snapshots compacted");
        }
    }

    /// All snapshots are compacted.
    pub(super) fn compact_all(&mut self) {
        for context in Context::ALL {
            for partition in 0..PARTITIONS {
                self.compact(context, partition, u64::MAX);
            }
        }
    }

    /// Returns how many records went. What a take-over would stand on has to be there afterwards.
    fn compact(&mut self, context: Context, partition: u32, before: u64) -> usize {
        let snapshots = TopicPartition::new(context.snapshots_topic(), partition);
        let gone = self.log.compact(&snapshots, before);
        let mut state = self.sim.lock();
        for attempt in gone.iter().filter_map(attempt_of) {
            *state.compacted.entry(attempt).or_default() += 1;
        }
        drop(state);
        let journal = TopicPartition::new(context.journal_topic(), partition);
        if let Some(missing) = self.missing(&journal, &snapshots) {
            self.sim
                .violated(format!("compaction has taken {missing} from {snapshots}"));
        }
        gone.len()
    }

    /// What of the round that the journal names last is not there: its beginning, or a page of the index
    /// that it names.
    fn missing(&self, journal: &TopicPartition, snapshots: &TopicPartition) -> Option<String> {
        let last = self.log.committed(journal).ok()?.pop()?;
        let round: u64 = text(&last, "checkpoint")?.parse().ok()?;
        let left = self.log.committed(snapshots).ok()?;
        let Some(begin) = left.iter().find(|record| record.offset == round) else {
            return Some(format!("the beginning of a round, at offset {round},"));
        };
        let begin: Value = serde_json::from_slice(begin.value.as_deref()?).ok()?;
        let there: BTreeSet<u64> = left.iter().map(|record| record.offset).collect();
        let pages = begin["paged"]["at"].as_array().into_iter().flatten();
        let mut pages = pages.filter_map(Value::as_u64);
        let missing = pages.find(|page| !there.contains(page));
        missing.map(|page| format!("a page, at offset {page},"))
    }
}
