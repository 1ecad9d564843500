//! A source of fixed partitions, without a consumer group.

use std::time::Duration;

use cartwright_event_log::{GroupEvent, GroupReader, LogError, LogReader, Start, TopicPartition};

/// Gives all of `partitions` to its one worker, for ever: for rebuilding a projection, for
/// simulations, and for tests that want no rebalance.
#[derive(Debug)]
pub struct FixedPartitions<R> {
    reader: R,
    partitions: Vec<TopicPartition>,
    announced: bool,
    starts: Vec<(TopicPartition, Start)>,
}

impl<R: LogReader> FixedPartitions<R> {
    /// Reads `partitions` with `reader`.
    #[must_use]
    pub fn new(reader: R, partitions: Vec<TopicPartition>) -> Self {
        Self {
            reader,
            partitions,
            announced: false,
            starts: Vec::new(),
        }
    }
}

impl<R: LogReader> GroupReader for FixedPartitions<R> {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<GroupEvent, LogError> {
        if !self.announced {
            self.announced = true;
            return Ok(GroupEvent::Assigned(self.partitions.clone()));
        }
        if self.starts.is_empty() {
            return Ok(GroupEvent::Records(Vec::new()));
        }
        self.reader.poll(max, timeout).map(GroupEvent::Records)
    }

    /// Partitions that were started before go on where they are.
    fn seek_all(&mut self, starts: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        for (at, start) in &mut self.starts {
            *start = match starts.iter().find(|(moved, _)| moved == at) {
                Some((_, moved)) => *moved,
                None => Start::Offset(self.reader.position(at)?),
            };
        }
        for (at, start) in starts {
            if !self.partitions.contains(at) {
                return Err(LogError::NotAssigned(at.clone()));
            }
            if self.starts.iter().all(|(known, _)| known != at) {
                self.starts.push((at.clone(), *start));
            }
        }
        self.reader.assign(&self.starts)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.reader.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.reader.watermarks(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader.resume(partitions)
    }
}
