//! A group: everything that goes into one transaction, and the replies that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cartwright_domain::{BoundedContext, Decision, EvolveError, Outgoing};
use cartwright_event_log::{Limits, NewRecord};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::{TIMER, header};
use cartwright_events::journal::{
    DecidedCommand, FailedMessage, INBOX_PASSED, JournalRecord, SeqRange, inbox_passed_header,
};
use cartwright_events::messages::MessageId;
use cartwright_events::{Event, PositionToken, Stream, Timestamp};

use crate::archive::NextPage;
use crate::mailbox::{Reply, Submission};
use crate::options::ShardOptions;
use crate::results::{Evicted, ResultKey};
use crate::snapshots::CHECKPOINT;
use crate::state::ShardState;

/// Header of journal records: the names, with commas between, of what their reader has to know to go on
/// from here. A version that does not know one of them may not take the shard over.
pub(crate) const REQUIRES: &str = "requires";

/// What an entry of the journal's lists takes beside its texts: their lengths, a branch, an offset.
const ENTRY_BYTES: usize = 24;

/// Room in a record for its key and its headers.
const HEAD_BYTES: usize = 16 * 1024;

/// Why a decision was not taken into a group.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// An event does not fit the state, which may have changed.
    #[error(transparent)]
    Misfit(#[from] EvolveError),
    /// Nothing has changed.
    #[error(
        "{bytes} bytes of an event or a message are more than the {most} that a record has room for"
    )]
    TooLarge { bytes: usize, most: usize },
}

/// What caused an event: copied into its headers and those of the messages beside it.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) command_id: String,
    pub(crate) correlation_id: String,
    pub(crate) traceparent: Option<String>,
}

impl Cause {
    /// A timer of the shard itself.
    pub(crate) fn timer(aggregate_id: &str) -> Self {
        let id = format!("{TIMER}{aggregate_id}");
        Self {
            command_id: id.clone(),
            correlation_id: id,
            traceparent: None,
        }
    }

    pub(crate) fn of<C>(submission: &Submission<C>) -> Self {
        Self {
            command_id: submission.command_id.clone(),
            correlation_id: submission.correlation_id.clone(),
            traceparent: submission.traceparent.clone(),
        }
    }
}

/// A submission whose reply waits for the commit.
pub(crate) struct Pending<C> {
    pub(crate) submission: Submission<C>,
    pub(crate) reply: Reply,
}

/// Where records go and what they are written with.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) partition: u32,
    pub(crate) codec: Codec,
    pub(crate) log_generation: u32,
}

/// One transaction in the making.
pub(crate) struct Group<C> {
    pub(crate) records: Vec<NewRecord>,
    pub(crate) pending: Vec<Pending<C>>,
    pub(crate) decided: Vec<DecidedCommand>,
    /// Bytes that `decided` and `failed` have in the journal record, about.
    pub(crate) journal_bytes: usize,
    pub(crate) failed: Vec<FailedMessage>,
    /// Aggregates with new events.
    pub(crate) touched: BTreeSet<String>,
    /// Whether a message of the inbox was applied.
    pub(crate) read_inbox: bool,
    /// Which record begins a page of the archive's index, and what that holds.
    pub(crate) page: Option<(usize, NextPage)>,
    /// Which record begins a round of snapshots.
    pub(crate) begin: Option<usize>,
    /// Aggregates that leave memory with this transaction, and which record holds them.
    pub(crate) leaving: BTreeMap<String, usize>,
    events: usize,
    /// Of events and messages.
    bytes: usize,
    decided_count: usize,
    ranges: BTreeMap<Stream, (u64, u64)>,
    messages: u64,
    now: Timestamp,
}

impl<C> Group<C> {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            records: Vec::new(),
            pending: Vec::new(),
            decided: Vec::new(),
            journal_bytes: 0,
            failed: Vec::new(),
            touched: BTreeSet::new(),
            read_inbox: false,
            page: None,
            begin: None,
            leaving: BTreeMap::new(),
            events: 0,
            bytes: 0,
            decided_count: 0,
            ranges: BTreeMap::new(),
            messages: 0,
            now,
        }
    }

    /// Shard time of everything in the group.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether it holds one of so many parts of what it may hold.
    pub(crate) fn is_filled(&self, parts: usize, options: &ShardOptions) -> bool {
        self.records.len() >= (options.group_records / parts).max(1)
            || self.bytes >= options.group_bytes / parts
            || self.journal_bytes >= options.group_outcome_bytes / parts
    }

    /// Whether there is anything to make durable. Repeats alone are not: they were durable before.
    pub(crate) fn must_commit(&self) -> bool {
        !self.records.is_empty() || !self.decided.is_empty() || self.read_inbox
    }

    /// The topic of each record.
    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        let topics = self.records.iter().map(|record| &record.topic);
        topics.map(Arc::clone).collect()
    }

    /// Events and results: what a take-over would have to read again.
    pub(crate) fn weight(&self) -> usize {
        self.events + self.decided_count
    }

    /// Applies a decision to the state and takes its records. Returns where its events stand.
    pub(crate) fn take<B: BoundedContext>(
        &mut self,
        context: &B,
        state: &mut ShardState<B>,
        place: &Place,
        decision: &Decision,
        cause: &Cause,
    ) -> Result<PositionToken, NotTaken> {
        let events = decision.events.iter();
        let events: Vec<(&Event, Vec<u8>)> = events
            .map(|event| (event, place.codec.encode_event(event)))
            .collect();
        let messages = encoded(place, &decision.messages);
        let values = events.iter().map(|(_, value)| value);
        let values = values.chain(messages.iter().map(|(_, value)| value));
        let bytes = values.map(Vec::len).max().unwrap_or_default();
        let most = Limits::default().max_record_bytes - HEAD_BYTES;
        if bytes > most {
            return Err(NotTaken::TooLarge { bytes, most });
        }
        let mut position = PositionToken::new(place.log_generation);
        for (event, value) in events {
            let stream = event.body.stream();
            let seq = state.next_seq(stream);
            state.evolve(context, event, seq)?;
            position.raise(stream, place.partition, seq);
            let range = self.ranges.entry(stream).or_insert((seq, seq));
            range.1 = seq;
            self.bytes += value.len();
            self.records
                .push(event_record(place, (event, value), seq, state.epoch, cause));
            self.touched.insert(event.aggregate_id.clone());
            self.events += 1;
        }
        self.put(state, place, messages, cause);
        Ok(position)
    }

    /// Takes messages to other shards.
    pub(crate) fn send<B: BoundedContext>(
        &mut self,
        state: &ShardState<B>,
        place: &Place,
        messages: &[Outgoing],
        cause: &Cause,
    ) {
        self.put(state, place, encoded(place, messages), cause);
    }

    fn put<B: BoundedContext>(
        &mut self,
        state: &ShardState<B>,
        place: &Place,
        messages: Vec<(&Outgoing, Vec<u8>)>,
        cause: &Cause,
    ) {
        for (outgoing, value) in messages {
            self.messages += 1;
            let id = MessageId {
                context: B::CONTEXT,
                partition: place.partition,
                transaction: state.transaction + 1,
                number: self.messages,
            };
            let mut headers = cloud_event_headers(
                id.to_string(),
                outgoing.message.type_name(),
                self.now,
                cause,
            );
            headers.push((header::CE_SOURCE, source::<B>(place.partition)));
            headers.push((header::WRITER_EPOCH, state.epoch.to_string().into_bytes()));
            self.bytes += value.len();
            self.records.push(NewRecord {
                topic: Arc::from(outgoing.message.target().inbox_topic()),
                partition: outgoing.partition,
                key: outgoing.message.key().as_bytes().to_vec(),
                value: Some(value),
                headers,
            });
        }
    }

    /// Remembers what became of a command, for its repeats and in the journal.
    pub(crate) fn remember<B: BoundedContext>(
        &mut self,
        state: &mut ShardState<B>,
        key: ResultKey,
        command_id: &str,
        fingerprint: String,
        outcome: String,
    ) {
        let idempotency_key = match &key {
            ResultKey::Idempotency(key) => Some(key.clone()),
            ResultKey::Command(_) => None,
        };
        self.journal_bytes += ENTRY_BYTES
            + command_id.len()
            + idempotency_key.as_ref().map_or(0, String::len)
            + fingerprint.len()
            + outcome.len();
        self.decided.push(DecidedCommand {
            command_id: command_id.to_owned(),
            idempotency_key,
            fingerprint: fingerprint.clone(),
            outcome: outcome.clone(),
        });
        let room = state.room_for_results();
        state.results.allow(room);
        let evicted = state.results.remember(key, fingerprint, outcome, self.now);
        count_evicted::<B>(evicted);
    }

    /// Notes in the journal that a message was given up.
    pub(crate) fn fail(&mut self, offset: u64, reason: String) {
        self.journal_bytes += ENTRY_BYTES + reason.len();
        self.failed.push(FailedMessage { offset, reason });
    }

    /// Closes the group with its journal record, which every transaction has.
    pub(crate) fn close<B: BoundedContext>(&mut self, state: &mut ShardState<B>, place: &Place) {
        state.transaction += 1;
        state.last_time = self.now;
        self.decided_count = self.decided.len();
        let journal = JournalRecord {
            writer_epoch: state.epoch,
            transaction: state.transaction,
            decided_at: self.now,
            ranges: self
                .ranges
                .iter()
                .map(|(stream, &(first, last))| SeqRange {
                    topic: stream.topic().to_owned(),
                    first,
                    last,
                })
                .collect(),
            inbox_position: state.inbox_position,
            decided: std::mem::take(&mut self.decided),
            failed: std::mem::take(&mut self.failed),
        };
        let mut headers = vec![
            (header::SEQ, state.transaction.to_string().into_bytes()),
            (header::WRITER_EPOCH, state.epoch.to_string().into_bytes()),
        ];
        if let Some(offset) = state.rounds.complete_from() {
            headers.push((CHECKPOINT, offset.to_string().into_bytes()));
        }
        if !state.inbox_passed.is_empty() {
            headers.push((INBOX_PASSED, inbox_passed_header(&state.inbox_passed)));
            headers.push((REQUIRES, INBOX_PASSED.as_bytes().to_vec()));
        }
        self.records.push(NewRecord {
            topic: Arc::from(B::CONTEXT.journal_topic()),
            partition: place.partition,
            key: Vec::new(),
            value: Some(place.codec.encode_journal(B::CONTEXT, &journal)),
            headers,
        });
    }
}

fn count_evicted<B: BoundedContext>(evicted: Evicted) {
    let counts = [
        ("age", evicted.age),
        ("number", evicted.number),
        ("memory", evicted.memory),
    ];
    for (reason, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        metrics::counter!(
            "cartwright_shard_results_evicted_total",
            "context" => B::CONTEXT.name(),
            "reason" => reason
        )
        .increment(count);
    }
}

fn source<B: BoundedContext>(partition: u32) -> Vec<u8> {
    format!("/cartwright/{}/{partition}", B::CONTEXT.name()).into_bytes()
}

fn cloud_event_headers(
    id: String,
    type_name: &'static str,
    time: Timestamp,
    cause: &Cause,
) -> Vec<(&'static str, Vec<u8>)> {
    let mut headers = vec![
        (header::CE_ID, id.into_bytes()),
        (header::CE_TYPE, type_name.as_bytes().to_vec()),
        (header::CE_TIME, time.to_string().into_bytes()),
        (header::CE_SPECVERSION, b"1.0".to_vec()),
        (header::COMMAND_ID, cause.command_id.clone().into_bytes()),
        (
            header::CORRELATION_ID,
            cause.correlation_id.clone().into_bytes(),
        ),
    ];
    if let Some(traceparent) = &cause.traceparent {
        headers.push((header::TRACEPARENT, traceparent.clone().into_bytes()));
    }
    headers
}

fn encoded<'a>(place: &Place, messages: &'a [Outgoing]) -> Vec<(&'a Outgoing, Vec<u8>)> {
    let value = |outgoing: &Outgoing| {
        let message = &outgoing.message;
        place.codec.encode_message(message.target(), message)
    };
    messages.iter().map(|each| (each, value(each))).collect()
}

fn event_record(
    place: &Place,
    (event, value): (&Event, Vec<u8>),
    seq: u64,
    epoch: u64,
    cause: &Cause,
) -> NewRecord {
    let stream = event.body.stream();
    let id = format!("{}/{}/{seq}", stream.topic(), place.partition);
    let mut headers = cloud_event_headers(id, event.body.type_name(), event.occurred_at, cause);
    headers.push((
        header::CE_SOURCE,
        format!(
            "/cartwright/{}/{}",
            stream.context().name(),
            place.partition
        )
        .into_bytes(),
    ));
    headers.push((header::SEQ, seq.to_string().into_bytes()));
    headers.push((header::WRITER_EPOCH, epoch.to_string().into_bytes()));
    NewRecord {
        topic: Arc::from(stream.topic()),
        partition: place.partition,
        key: event.aggregate_id.as_bytes().to_vec(),
        value: Some(value),
        headers,
    }
}
