//! Records that can't be read for the time being: of a newer writer, or of a schema that the registry does
//! not know.

use std::collections::BTreeMap;

use cartwright_event_log::{Record, TopicPartition};
use cartwright_events::Stream;
use cartwright_events::codec::CodecError;

use super::findings::{Evidence, Finding, Severity, rules};

/// The first one of each topic-partition. Nothing from there on is taken: what it says is not known, and
/// what comes after it would break rules that hold.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<TopicPartition, (u64, Finding)>);

impl Unread {
    /// None.
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether a record that gives this error may be read another time.
    pub(super) const fn is(error: &CodecError) -> bool {
        matches!(
            error,
            CodecError::NewerWriter { .. } | CodecError::UnknownSchema { .. }
        )
    }

    /// Takes one.
    pub(super) fn add(&mut self, record: &Record, error: &CodecError) {
        let key = record.key.as_deref().unwrap_or_default();
        let finding = Finding {
            severity: Severity::Error,
            rule: rules::EVENTS_CAN_BE_READ,
            subject: String::from_utf8_lossy(key).into_owned(),
            detail: format!(
                "{error}; nothing from here on in this partition is audited until it can be read"
            ),
            evidence: Some(Evidence {
                topic: record.topic.to_string(),
                partition: record.partition,
                offset: record.offset,
            }),
        };
        let at = record.topic_partition();
        self.0.entry(at).or_insert((record.offset, finding));
    }

    /// Whether this record is one or lies behind one.
    pub(super) fn holds(&self, record: &Record) -> bool {
        let offset = || self.offset(&record.topic_partition());
        !self.0.is_empty() && offset().is_some_and(|offset| record.offset >= offset)
    }

    /// The one of a topic-partition.
    pub(super) fn offset(&self, at: &TopicPartition) -> Option<u64> {
        self.0.get(at).map(|(offset, _)| *offset)
    }

    /// Whether anything of a topic is held by one, or of one partition of it.
    pub(super) fn is_of(&self, topic: &str, partition: Option<u32>) -> bool {
        let mut places = self.0.keys();
        places.any(|at| {
            &*at.topic == topic && partition.is_none_or(|partition| at.partition == partition)
        })
    }

    /// Where there are any.
    pub(super) fn places(&self) -> impl Iterator<Item = (Stream, u32, u64)> {
        let places = self.0.iter();
        places.filter_map(|(at, (offset, _))| {
            Some((Stream::of_topic(&at.topic)?, at.partition, *offset))
        })
    }

    /// What is said of them.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.0.values().map(|(_, finding)| finding)
    }
}
