//! Records and places in the log.

use std::fmt;
use std::sync::Arc;

use crate::headers::Headers;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A record to be written. The writer names the partition: a shard writes to
/// its own partition and to the inboxes it has worked out, never "by hash".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub partition: u32,
    /// Key; may be empty.
    pub key: Vec<u8>,
    /// Value; `None` is a tombstone in a compacted topic.
    pub value: Option<Vec<u8>>,
    /// Headers in order; a name may occur more than once.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

impl NewRecord {
    /// Its headers, as they are read.
    #[must_use]
    pub fn read_headers(&self) -> Headers {
        let headers = self.headers.iter();
        Headers::of(headers.map(|(name, value)| (*name, value.as_slice())))
    }
}

/// A record as read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition.
    pub partition: u32,
    /// Offset in the partition. Not dense: transactions end in a control record
    /// that takes an offset, aborted records keep theirs, and compaction leaves
    /// gaps.
    pub offset: u64,
    /// When the broker appended it, microseconds since the epoch. Kafka keeps
    /// milliseconds.
    pub timestamp_us: i64,
    /// Key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Value, `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in the order they were written.
    pub headers: Headers,
}

impl Record {
    /// Value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    /// The partition the record came from.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
        }
    }
}

/// Where to begin reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first record that the log still holds.
    Beginning,
    /// This offset, which has to lie between the low and the high watermark
    /// (inclusive): out of range is an error and never a silent jump. Where nothing
    /// is left of it, what stands behind it comes first.
    Offset(u64),
}
