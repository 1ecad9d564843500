//! A writer that can be killed before, in and after a commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cartwright_event_log::memory::{Fault, MemoryWriter};
use cartwright_event_log::{
    CommitError, EventLog, LogError, LogWriter, NewRecord, Receipt, Record, TopicPartition,
};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::journal::INBOX_PASSED;
use cartwright_events::{Context, Stream};
use serde_json::Value;

use super::{SimLog, text};
use crate::bug::Bug;
use crate::sim::{Attempt, Sim, Told};

/// The header that says which call of `commit` a record came with.
const ATTEMPT: &str = "sim_attempt";

/// The call of `commit` that a record came with; none for what a planted bug writes by itself.
pub(crate) fn attempt_of(record: &Record) -> Option<u64> {
    text(record, ATTEMPT)?.parse().ok()
}

/// See the module.
pub(crate) struct SimWriter {
    log: SimLog,
    id: String,
    inner: Arc<Mutex<MemoryWriter>>,
    lies: Lies,
}

/// What a lying writer has to remember.
#[derive(Default)]
struct Lies {
    deferred: Vec<NewRecord>,
    gaps: BTreeMap<Arc<str>, u64>,
    inbox_position: u64,
}

impl SimWriter {
    pub(super) fn new(log: &SimLog, id: &str) -> Result<Self, LogError> {
        let fresh = || -> Result<_, LogError> { Ok(Arc::new(Mutex::new(log.model.writer(id)?))) };
        let inner = if log.sim.has(Bug::SkipTheFence) {
            let known = log.sim.lock().shared_writers.get(id).cloned();
            match known {
                Some(writer) => writer,
                None => {
                    let writer = fresh()?;
                    let shared = Arc::clone(&writer);
                    log.sim.lock().shared_writers.insert(id.to_owned(), shared);
                    writer
                }
            }
        } else {
            fresh()?
        };
        Ok(Self {
            log: log.clone(),
            id: id.to_owned(),
            inner,
            lies: Lies::default(),
        })
    }

    fn sim(&self) -> &Sim {
        &self.log.sim
    }

    /// Hands the records to the model, marked with the number of the attempt.
    fn attempt(&self, mut records: Vec<NewRecord>) -> Result<Receipt, CommitError> {
        let number = self.sim().lock().attempts.len() as u64 + 1;
        for record in &mut records {
            let mark = number.to_string().into_bytes();
            record.headers.push((ATTEMPT, mark));
        }
        let places: Vec<TopicPartition> = records.iter().map(place).collect();
        let shown: Vec<String> = records.iter().map(shown).collect();
        let events: Vec<NewRecord> = match self.sim().has(Bug::ReadUncommitted) {
            true => records
                .iter()
                .filter(|each| is_event(each))
                .cloned()
                .collect(),
            false => Vec::new(),
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = inner.commit(records);
        drop(inner);
        let told = match &result {
            Ok(_) => Told::Committed,
            Err(CommitError::Unknown { .. }) => Told::Unknown,
            Err(_) => Told::NotCommitted,
        };
        let mut state = self.sim().lock();
        let records = places.len();
        state.attempts.insert(number, Attempt { records, told });
        if told == Told::NotCommitted {
            state.aborted.extend(events);
        }
        if told == Told::Committed && state.bug == Some(Bug::SkipTheFence) {
            state.joinable.insert(self.id.clone());
        } else {
            state.joinable.remove(&self.id);
        }
        if let Ok(receipt) = &result {
            let mut firsts: BTreeMap<TopicPartition, u64> = BTreeMap::new();
            for (place, offset) in places.into_iter().zip(&receipt.offsets) {
                firsts.entry(place).or_insert(*offset);
            }
            state.last_transaction.extend(firsts);
        }
        drop(state);
        self.sim().trace(&format!(
            "{}: attempt {number}: {}: {result:?}",
            self.id,
            shown.join(", ")
        ));
        result
    }

    /// Dies while its transaction is open, or committed and not yet answered.
    fn may_die_inside(&self, records: &[NewRecord]) {
        for (kind, committed) in [
            ("killed with a transaction open", false),
            ("killed before the answer of a commit", true),
        ] {
            if self.sim().fault(kind, 4) {
                let fault = Fault::UnknownCommit { committed };
                self.log.model.inject_next_for(&self.id, fault);
                let _ = self.attempt(records.to_vec());
                Sim::die();
            }
        }
    }
}

impl LogWriter for SimWriter {
    fn take_over(&mut self) -> Result<(), LogError> {
        self.sim().may_die("killed before a take-over");
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = self.sim().lock().joinable.contains(&self.id);
        let taken = if joined { Ok(()) } else { inner.take_over() };
        drop(inner);
        self.sim()
            .trace(&format!("{}: take-over: {taken:?}", self.id));
        self.sim().may_die("killed after a take-over");
        taken
    }

    fn needs_take_over(&self) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.needs_take_over()
    }

    fn commit(&mut self, mut records: Vec<NewRecord>) -> Result<Receipt, CommitError> {
        self.sim().may_die("killed before a commit");
        if let Some(answer) = self.lie_about(&mut records) {
            return answer;
        }
        self.may_die_inside(&records);
        let result = self.attempt(records);
        self.sim().may_die("killed after a commit");
        match result {
            Ok(receipt) if self.sim().has(Bug::TrustOkAfterDisconnect) => Ok(Receipt {
                doubtful: false,
                ..receipt
            }),
            Err(CommitError::Unknown { .. }) if self.sim().has(Bug::UnknownIsSuccess) => {
                Ok(unearned())
            }
            other => other,
        }
    }
}

/// What planted bugs do.
impl SimWriter {
    /// Changes what will be written, or answers instead of the log.
    fn lie_about(&mut self, records: &mut Vec<NewRecord>) -> Option<Result<Receipt, CommitError>> {
        let bug = self.sim().lock().bug?;
        match bug {
            Bug::ReplyBeforeCommit => {
                if !self.lies.deferred.is_empty() {
                    let deferred = std::mem::take(&mut self.lies.deferred);
                    if let Err(error) = self.attempt(deferred) {
                        return Some(Err(error));
                    }
                }
                if self.sim().strikes(200) {
                    self.lies.deferred = std::mem::take(records);
                    return Some(Ok(unearned()));
                }
            }
            Bug::EmptyTransaction if records.len() == 1 => return Some(Ok(unearned())),
            Bug::MessagesApart => self.send_messages_apart(records),
            Bug::ReuseASeq => {
                let event = records.iter_mut().find(|each| is_event(each));
                if let Some(event) = event
                    && self.sim().strikes(50)
                {
                    shift_seq(event, -1);
                }
            }
            Bug::SeqGap => {
                for event in records.iter_mut().filter(|each| is_event(each)) {
                    let topic = Arc::clone(&event.topic);
                    let gap = self.lies.gaps.entry(topic).or_default();
                    *gap += u64::from(self.log.sim.strikes(20));
                    shift_seq(event, i64::try_from(*gap).unwrap_or(0));
                }
            }
            Bug::ForgetWhatHasPassed => {
                for record in records.iter_mut() {
                    record.headers.retain(|(name, _)| *name != INBOX_PASSED);
                }
            }
            Bug::EmptyPages => {
                let is_page = |each: &&mut NewRecord| each.key.starts_with(b"page/");
                for page in records.iter_mut().filter(is_page) {
                    page.value = Some(b"\"\"".to_vec());
                }
            }
            Bug::RoundsShareAKey => {
                let is_begin = |each: &&mut NewRecord| each.key.starts_with(b"begin/");
                for begin in records.iter_mut().filter(is_begin) {
                    begin.key = b"begin/0/0".to_vec();
                }
            }
            Bug::SnapshotForgetsLines => records.iter_mut().for_each(forget_lines),
            Bug::DropInboxPosition => self.lies.keep_inbox_position(records),
            _ => {}
        }
        None
    }

    fn send_messages_apart(&self, records: &mut Vec<NewRecord>) {
        let messages = records
            .extract_if(.., |each| is_inbox(each))
            .collect::<Vec<_>>();
        let apart = format!("{}-messages", self.id);
        if let (false, Ok(mut writer)) = (messages.is_empty(), self.log.model.writer(&apart)) {
            let _ = writer.take_over();
            let _ = writer.commit(messages);
        }
    }
}

impl Lies {
    fn keep_inbox_position(&mut self, records: &mut [NewRecord]) {
        for record in records {
            let context = Context::ALL
                .into_iter()
                .find(|context| *context.journal_topic() == *record.topic);
            let (Some(context), Some(value)) = (context, &record.value) else {
                continue;
            };
            let codec = Codec::fixed();
            if let Ok(mut journal) = codec.decode_journal(context, value) {
                let before = std::mem::replace(&mut self.inbox_position, journal.inbox_position);
                journal.inbox_position = before;
                record.value = Some(codec.encode_journal(context, &journal));
            }
        }
    }
}

/// In the snapshot of a cart.
fn forget_lines(record: &mut NewRecord) {
    if !record.key.starts_with(b"aggregate/") {
        return;
    }
    let json = record
        .value
        .as_deref()
        .and_then(|value| serde_json::from_slice(value).ok());
    if let Some(mut json) = json.filter(|json: &Value| json["cart"]["next_line"].is_u64()) {
        json["cart"]["next_line"] = 1.into();
        record.value = Some(json.to_string().into_bytes());
    }
}

fn unearned() -> Receipt {
    Receipt {
        offsets: Vec::new(),
        duration: Duration::ZERO,
        doubtful: false,
    }
}

fn place(record: &NewRecord) -> TopicPartition {
    TopicPartition::new(Arc::clone(&record.topic), record.partition)
}

/// A record in the trace.
fn shown(record: &NewRecord) -> String {
    let header = |name| {
        let found = record.headers.iter().find(|(header, _)| *header == name);
        found.map_or("", |(_, value)| std::str::from_utf8(value).unwrap_or("?"))
    };
    format!(
        "{}[{}] {} {} {}",
        record.topic,
        record.partition,
        String::from_utf8_lossy(&record.key),
        header(header::CE_TYPE).to_owned() + header("kind") + header("checkpoint"),
        header(header::SEQ)
    )
}

fn is_event(record: &NewRecord) -> bool {
    Stream::of_topic(&record.topic).is_some()
}

fn is_inbox(record: &NewRecord) -> bool {
    Context::ALL
        .iter()
        .any(|context| *context.inbox_topic() == *record.topic)
}

fn shift_seq(record: &mut NewRecord, by: i64) {
    for (name, value) in &mut record.headers {
        let seq = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        if let (true, Some(seq)) = (*name == header::SEQ, seq) {
            *value = (seq + by).to_string().into_bytes();
        }
    }
}
