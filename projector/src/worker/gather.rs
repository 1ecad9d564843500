//! Hearing of partitions that come and go, and reading.

use std::time::{Duration, Instant};

use cartwright_event_log::{GroupEvent, GroupReader, Record};

use super::Worker;
use crate::halt::{Halt, halt_of_log};
use crate::partition::Partition;
use crate::work::Work;

/// Records that are taken at first, before it is known how large they are.
const FIRST_RECORDS: usize = 16;
/// Records read at a time: they are folded while the processor still has them at hand, and take
/// little memory meanwhile.
const MAX_POLL_RECORDS: usize = 1_000;

impl<G: GroupReader> Worker<G> {
    /// Reads until there is enough, the time is up, or nothing comes. Answers whether partitions came
    /// or went.
    pub(super) fn gather(&mut self) -> Result<bool, Halt> {
        // With a batch under way it is that one's end which is waited for, when no record is there.
        let timeout = match self.is_under_way() {
            true => Duration::ZERO,
            false => self.work.limits.poll,
        };
        let mut rebalanced = self.poll(0, timeout)?;
        if self.read() == 0 {
            return self.finish().map(|()| rebalanced);
        }
        let first = Instant::now();
        let (mut before, mut taken) = (0, 0);
        while !rebalanced && taken + self.read() > before && self.room(taken) > 0 {
            let left = self.work.limits.linger.saturating_sub(first.elapsed());
            if left.is_zero() {
                break;
            }
            before = taken + self.read();
            if self.read() >= MAX_POLL_RECORDS {
                match self.take_in() {
                    0 => break,
                    records => taken += records,
                }
            }
            rebalanced = self.poll(taken, left)?;
        }
        Ok(rebalanced)
    }

    /// Takes in what was read, and answers how many records that were. What stands in the way of more
    /// is found again by whoever applies them.
    fn take_in(&mut self) -> usize {
        let read = self.read();
        let Work {
            plan,
            limits,
            codec,
            ..
        } = &self.work;
        for partition in self.partitions.values_mut().filter(|each| each.started) {
            if partition.take_in(plan, codec, limits).is_err() {
                break;
            }
        }
        read - self.read()
    }

    /// How many more records may be read where `taken` have been taken in.
    fn room(&self, taken: usize) -> usize {
        let gathered = taken + self.read();
        let limits = &self.work.limits;
        let records = limits.max_records.saturating_sub(gathered);
        let Some(average) = self.record_bytes else {
            return records.min(FIRST_RECORDS);
        };
        let bytes = limits.max_bytes.saturating_sub(gathered * average);
        records.min(bytes / average.max(1))
    }

    fn poll(&mut self, taken: usize, timeout: Duration) -> Result<bool, Halt> {
        let room = self.room(taken).clamp(1, MAX_POLL_RECORDS);
        let event = self.reader.poll(room, timeout).map_err(halt_of_log)?;
        self.hear(event)
    }

    /// Records read and not yet taken in.
    fn read(&self) -> usize {
        let partitions = self.partitions.values();
        partitions.map(|partition| partition.backlog.len()).sum()
    }

    pub(super) fn hear(&mut self, event: GroupEvent) -> Result<bool, Halt> {
        if !matches!(event, GroupEvent::Records(_)) {
            // Before the next poll agrees to it. Whoever is given a partition finds nothing of this
            // worker's under way; how it ended is in the store.
            let _ = self.finish();
        }
        match event {
            GroupEvent::Assigned(assigned) => {
                // Whatever was owned before was revoked first; nothing is kept from then.
                self.partitions.clear();
                self.paused.clear();
                self.joining_since = None;
                for at in assigned {
                    let partition = Partition::new(&self.work.plan, at.clone())?;
                    self.partitions.insert(at, partition);
                }
                Ok(true)
            }
            GroupEvent::Revoked(revoked) => {
                // All of them, and an assignment follows, be it of none.
                self.joining_since.get_or_insert_with(Instant::now);
                for at in revoked {
                    self.partitions.remove(&at);
                    self.paused.retain(|paused| *paused != at);
                }
                Ok(true)
            }
            GroupEvent::Records(records) => {
                let bytes: usize = records.iter().map(bytes_of).sum();
                if let Some(average) = bytes.checked_div(records.len()) {
                    self.record_bytes = Some(average.max(1));
                }
                for record in records {
                    self.keep(record);
                }
                Ok(false)
            }
        }
    }

    fn keep(&mut self, record: Record) {
        let at = record.topic_partition();
        if let Some(partition) = self.partitions.get_mut(&at)
            && partition.started
        {
            partition.backlog.push_back(record);
        }
    }
}

fn bytes_of(record: &Record) -> usize {
    let parts = [record.key.as_ref(), record.value.as_ref()];
    parts.into_iter().flatten().map(Vec::len).sum()
}
