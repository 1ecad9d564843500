//! The whole log against itself: the books, as the demo keeps them too.

use std::collections::BTreeMap;

use cartwright_event_log::{
    EventLog, LogReader as _, ReaderPurpose, Record, Start, TopicPartition,
};
use cartwright_events::codec::Codec;
use cartwright_events::{Context, Stream};
use cartwright_ledger::Ledger;
use cartwright_projector::{decode, envelope};

use super::findings::{Evidence, Finding, Severity};
use crate::reading::{decided, read_once, whole_topic};

/// The last seq of a topic-partition, and the last that its journal claims, as far as that is kept.
type Ends = BTreeMap<(Stream, u32), (u64, Option<u64>)>;

/// Holds every event of the log against its aggregate's past and against the journals. `progress` is
/// told of every record.
///
/// # Errors
/// When the log or the registry does not answer.
pub fn books(
    log: &impl EventLog,
    codec: &Codec,
    mut progress: impl FnMut(&Record),
) -> anyhow::Result<Vec<Finding>> {
    let mut books = Books {
        codec,
        ledger: Ledger::default(),
        next: BTreeMap::new(),
        last: BTreeMap::new(),
    };
    books.find_cut_journals(log)?;
    books.read_on(log, &mut progress)?;
    let first = books.ends();
    // Topics are not read up to the same moment. What was read of either is in the other by now.
    books.read_on(log, &mut progress)?;
    Ok(books.findings(&first))
}

/// Where what the whole of [`books`] reads begins.
///
/// # Errors
/// When the log does not answer or has no such topic.
pub fn everything(log: &impl EventLog) -> anyhow::Result<Vec<(TopicPartition, Start)>> {
    let streams = Stream::ALL.into_iter().map(Stream::topic);
    let journals = Context::ALL.into_iter().map(Context::journal_topic);
    let mut starts = Vec::new();
    for topic in streams.chain(journals) {
        starts.extend(whole_topic(log, topic)?);
    }
    Ok(starts)
}

struct Books<'a> {
    codec: &'a Codec,
    ledger: Ledger,
    /// How far each topic-partition was read.
    next: BTreeMap<TopicPartition, u64>,
    /// The last record of each.
    last: BTreeMap<TopicPartition, u64>,
}

impl Books<'_> {
    /// Journals are kept for a limited time.
    fn find_cut_journals(&mut self, log: &impl EventLog) -> anyhow::Result<()> {
        let reader = log.reader(ReaderPurpose::Recovery)?;
        for context in Context::ALL {
            for (at, _) in whole_topic(log, context.journal_topic())? {
                let (low, _) = reader.watermarks(&at)?;
                if low > 0 {
                    self.ledger.journal.is_cut(context, at.partition);
                }
            }
        }
        Ok(())
    }

    /// Reads what was not read yet.
    fn read_on(
        &mut self,
        log: &impl EventLog,
        progress: &mut impl FnMut(&Record),
    ) -> anyhow::Result<()> {
        let starts: Vec<_> = everything(log)?
            .into_iter()
            .map(|(at, start)| {
                let next = self.next.get(&at).map(|next| Start::Offset(*next));
                (at, next.unwrap_or(start))
            })
            .collect();
        let ends = read_once(log, &starts, |record| {
            self.take(record)?;
            progress(record);
            Ok(())
        })?;
        self.next.extend(ends);
        Ok(())
    }

    /// What can't be read is a finding of the other part of the audit; it has its seq all the same.
    fn take(&mut self, record: &Record) -> anyhow::Result<()> {
        let (partition, offset) = (record.partition, record.offset);
        self.last.insert(record.topic_partition(), offset);
        let value = record.value.as_deref().unwrap_or_default();
        if let Some(stream) = Stream::of_topic(&record.topic) {
            let event = decided(decode(self.codec, stream, value))?;
            match (envelope(stream, record), event) {
                (Ok(envelope), Ok(event)) => self.ledger.event(&envelope, &event),
                (Ok(envelope), Err(_)) => {
                    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
                    self.ledger.unreadable(&envelope, &key);
                }
                (Err(_), _) => {}
            }
            return Ok(());
        }
        let context = Context::ALL
            .into_iter()
            .find(|context| context.journal_topic() == &*record.topic);
        if let Some(context) = context
            && let Ok(journal) = decided(self.codec.decode_journal(context, value))?
        {
            let ledger = &mut self.ledger.journal;
            ledger.take(context, partition, offset, &journal);
        }
        Ok(())
    }

    fn ends(&self) -> Ends {
        let places = self.next.keys();
        let places = places.filter_map(|at| Some((Stream::of_topic(&at.topic)?, at.partition)));
        places
            .map(|(stream, partition)| {
                let seq = self.ledger.last_seqs().get(&(stream, partition));
                let claimed = self.ledger.journal.claimed(stream, partition);
                ((stream, partition), (seq.copied().unwrap_or(0), claimed))
            })
            .collect()
    }

    fn findings(&self, first: &Ends) -> Vec<Finding> {
        let mut findings = Vec::new();
        let journal = ("transactions are dense", &self.ledger.journal.dense);
        for (rule, audit) in self.ledger.rules().into_iter().chain([journal]) {
            for example in &audit.examples {
                let of = format!("one of {} in {}", audit.broken, audit.checked);
                findings.push(Finding {
                    severity: Severity::Error,
                    rule,
                    subject: "the whole log".to_owned(),
                    detail: format!("{} ({of})", example.detail),
                    evidence: example.at.map(|at| Evidence {
                        topic: at.topic.to_owned(),
                        partition: at.partition,
                        offset: at.offset,
                    }),
                });
            }
        }
        let last = self.ends();
        for (&(stream, partition), &(seq, claimed)) in first {
            let now = last.get(&(stream, partition)).copied();
            let (Some(claimed), Some((seq_now, Some(claimed_now)))) = (claimed, now) else {
                continue;
            };
            let (shown_by, detail) = if seq > claimed_now {
                let detail = format!("{seq} in the topic, {claimed_now} in the journal");
                (stream.topic(), detail)
            } else if claimed > seq_now {
                let detail = format!("{claimed} in the journal, {seq_now} in the topic");
                (stream.context().journal_topic(), detail)
            } else {
                continue;
            };
            let at = TopicPartition::new(shown_by, partition);
            findings.push(Finding {
                severity: Severity::Error,
                rule: "every event belongs to one journaled transaction",
                subject: format!("{}[{partition}]", stream.topic()),
                detail,
                evidence: self.last.get(&at).map(|offset| Evidence {
                    topic: shown_by.to_owned(),
                    partition,
                    offset: *offset,
                }),
            });
        }
        findings
    }
}
