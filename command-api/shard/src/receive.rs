//! What comes in through the inbox: messages of other shards, and commands whose callers do not wait.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cartwright_domain::{BoundedContext, Readiness, Reason, Rejection};
use cartwright_event_log::{EventLog, Record};
use cartwright_events::codec::CodecError;
use cartwright_events::envelope::header;
use cartwright_events::messages::SubmitCommand;
use cartwright_events::{Message, PositionToken, Timestamp};
use tokio::sync::oneshot;

use crate::archive::Whereabouts;
use crate::decide::{Halt, panic_text};
use crate::group::{Cause, Group, NotTaken};
use crate::mailbox::Submission;
use crate::outcome::Outcome;
use crate::results::{Found, IdempotencyKey, ResultKey};
use crate::shard::Shard;
use crate::state::ShardState;

/// How long nothing is taken from the inbox after the registry could not be asked, in milliseconds.
const REGISTRY_REST_MS: i64 = 1_000;
/// Messages that may wait while others pass them.
const MOST_WAITING: usize = 256;
/// Messages that may have passed one that waits.
const MOST_PASSED: usize = 1_000;

impl<B: BoundedContext, L: EventLog> Shard<B, L> {
    /// Applies what the inbox has brought, in its order; what has to wait is kept for the next step.
    ///
    /// Messages about other aggregates pass the one that waits: a shopper's command that waits for the
    /// archive may not hold up everybody's orders. The journal says which have passed.
    pub(crate) fn receive_all(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        inbox: Vec<Record>,
    ) -> Result<(), Halt> {
        self.inbox_cut = false;
        if self
            .inbox_rests_until
            .is_some_and(|until| until > group.now())
        {
            self.inbox_waits = inbox;
            return Ok(());
        }
        let mut inbox = inbox.into_iter();
        let mut waiting = Waiting::default();
        while let Some(record) = inbox.next() {
            // They take half of the group at most, or timers and other commands would not get their turn.
            self.inbox_cut = group.is_filled(2, &self.options);
            if self.inbox_cut || waiting.stops_all(state) {
                waiting.records.push(record);
                waiting.records.extend(inbox);
                break;
            }
            if waiting.has(&record) {
                continue; // read twice
            }
            if state.has_applied(record.offset) {
                // In a transaction that is in the journal, or in this one.
                waiting.note_applied(state, record.offset);
                continue;
            }
            match self.receive(state, group, &record, &waiting)? {
                Received::Applied => {
                    group.read_inbox = true;
                    waiting.note_applied(state, record.offset);
                }
                Received::Waits(Some(aggregate_id)) => {
                    waiting.aggregate_ids.insert(aggregate_id);
                    waiting.records.push(record);
                }
                Received::Waits(None) => {
                    waiting.records.push(record);
                    waiting.records.extend(inbox);
                    break;
                }
            }
        }
        // With nothing that waits, up to where it was read: what was kept of an inbox that nothing comes into
        // any more ends before its last message, one day, and a position there would look like a loss.
        let applied_to = match waiting.records.first() {
            Some(first) => first.offset,
            None => state.inbox_read,
        };
        state.inbox_position = state.inbox_position.max(applied_to);
        state.inbox_passed = state.inbox_passed.split_off(&state.inbox_position);
        self.inbox_waits = waiting.records;
        Ok(())
    }

    /// Applies one message, unless it has to wait.
    fn receive(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        record: &Record,
        waiting: &Waiting,
    ) -> Result<Received, Halt> {
        let cause = cause_of(record);
        let value = record.value.as_deref().unwrap_or_default();
        match self.place.codec.decode_message(B::CONTEXT, value) {
            Ok(message) if waiting.is_before(&message) => {
                return Ok(Received::Waits(about(&message).map(str::to_owned)));
            }
            Ok(Message::SubmitCommand(submitted)) => {
                let aggregate_id = Some(submitted.aggregate_id.clone());
                if !self.decide_submitted(state, group, submitted, record)? {
                    return Ok(Received::Waits(aggregate_id));
                }
            }
            Ok(message) => {
                let received = catch_unwind(AssertUnwindSafe(|| {
                    self.context
                        .receive(&state.aggregates, &message, group.now())
                }));
                let broken = match received {
                    Ok(decision) => {
                        match group.take(&self.context, state, &self.place, &decision, &cause) {
                            Ok(_) => None,
                            Err(NotTaken::Misfit(error)) => return Err(error.into()),
                            Err(too_large) => Some(too_large.to_string()),
                        }
                    }
                    Err(panic) => Some(panic_text(panic.as_ref())),
                };
                if let Some(reason) = broken {
                    tracing::error!(offset = record.offset, reason, "deciding a message failed");
                    let answers = self.context.give_up(&message, &reason);
                    group.send(state, &self.place, &answers, &cause);
                    group.fail(record.offset, reason);
                }
            }
            Err(CodecError::NewerWriter { .. }) => {
                return Err(Halt::NewerWriter(format!(
                    "{} offset {} is from a newer writer: upgrade this process",
                    record.topic_partition(),
                    record.offset
                )));
            }
            // Nothing has come of it yet: it waits, and commands need not.
            Err(error @ CodecError::RegistryUnavailable { .. }) => {
                tracing::warn!(offset = record.offset, %error, "an inbox message has to wait");
                self.inbox_rests_until = Some(group.now().plus_millis(REGISTRY_REST_MS));
                return Ok(Received::Waits(None));
            }
            // Somebody's unfinished order, which is readable once the schema is back.
            Err(error @ CodecError::UnknownSchema { .. }) => {
                return Err(Halt::Refuse(format!(
                    "{} offset {}: {error}",
                    record.topic_partition(),
                    record.offset
                )));
            }
            Err(error) => {
                tracing::error!(offset = record.offset, %error, "an inbox message is unreadable");
                group.fail(record.offset, error.to_string());
            }
        }
        Ok(Received::Applied)
    }

    /// Decides a command whose caller does not wait, as any other, and remembers what became of it
    /// under its id too. Returns `false` when it has to wait: for its aggregate to be in memory, or
    /// for prices.
    fn decide_submitted(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        submitted: SubmitCommand,
        record: &Record,
    ) -> Result<bool, Halt> {
        let away = matches!(
            self.whereabouts(state, &submitted.aggregate_id),
            Whereabouts::Archived | Whereabouts::NotKnownYet
        );
        if away {
            return Ok(false);
        }
        let command = match serde_json::from_str(&submitted.command) {
            Ok(command) => match self.prices_for(&command, record, group.now()) {
                Readiness::Ready => Some(command),
                Readiness::Loading | Readiness::Behind => return Ok(false),
                Readiness::Stopped => None,
            },
            Err(error) => {
                tracing::error!(command_id = submitted.command_id, %error, "unreadable command");
                None
            }
        };
        let key = submitted.idempotency_key.as_deref();
        let fingerprint = key.map_or("", |_| &submitted.fingerprint);
        let key = ResultKey::new(key, &submitted.command_id);
        if state.results.find(&key, fingerprint, group.now()) == Found::Nothing
            && let Some(command) = command
        {
            let cause = cause_of(record);
            self.decide(state, group, submission(command, &submitted, &cause))?;
        }
        let (outcome, remembered) = match state.results.find(&key, fingerprint, group.now()) {
            Found::Decided(outcome) => (outcome.to_owned(), true),
            Found::OtherRequest => (refusal(Reason::IdempotencyKeyReused)?, false),
            // It broke the decision, there was no room for a new aggregate, or nothing to price it by.
            Found::Nothing => (refusal(Reason::NotDecided)?, false),
        };
        let by_id = ResultKey::new(None, &submitted.command_id);
        if by_id != key || !remembered {
            let no_fingerprint = String::new();
            group.remember(state, by_id, &submitted.command_id, no_fingerprint, outcome);
        }
        Ok(true)
    }

    /// Whether what the command in `record` stands on is there. A position that prices do not come to
    /// hold is none of this log, and may not keep the inbox for ever.
    fn prices_for(&self, command: &B::Command, record: &Record, now: Timestamp) -> Readiness {
        let after = record.header(header::AFTER_POSITION);
        let after = after.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let after: Option<PositionToken> = after.and_then(|text| text.parse().ok());
        let written = Timestamp::from_micros(record.timestamp_us);
        match self.context.readiness(command, after.as_ref()) {
            Readiness::Behind if now >= written.plus_millis(self.options.position_wait_ms) => {
                Readiness::Stopped
            }
            readiness => readiness,
        }
    }
}

/// What became of a message.
enum Received {
    Applied,
    /// It waits. With the aggregate that it is about: messages about others may pass it.
    Waits(Option<String>),
}

/// The aggregate that a message is about; none where there are several.
fn about(message: &Message) -> Option<&str> {
    match message {
        Message::SubmitCommand(_) | Message::ReservationAnswer(_) => Some(message.key()),
        Message::ReserveStock(_)
        | Message::ReleaseStock(_)
        | Message::ShipStock(_)
        | Message::RestockReturn(_) => None,
    }
}

/// Messages that wait for something other than room in a group, and what they are about.
#[derive(Default)]
struct Waiting {
    records: Vec<Record>,
    aggregate_ids: BTreeSet<String>,
}

impl Waiting {
    /// Whether what follows has to wait too, whatever it is about: many wait already, each of which
    /// is looked at in every step, or many have passed, which every journal record lists.
    fn stops_all<B: BoundedContext>(&self, state: &ShardState<B>) -> bool {
        !self.records.is_empty()
            && (self.records.len() >= MOST_WAITING || state.inbox_passed.len() >= MOST_PASSED)
    }

    /// Notes that the next message is applied. With none that waits all before it is; what lies between it
    /// and those that had passed another need not have been read yet, by a new owner.
    fn note_applied<B: BoundedContext>(&self, state: &mut ShardState<B>, offset: u64) {
        match self.records.is_empty() {
            true => state.inbox_position = state.inbox_position.max(offset + 1),
            false => drop(state.inbox_passed.insert(offset)),
        }
    }

    /// Whether one of them has to be applied before this message.
    fn is_before(&self, message: &Message) -> bool {
        let is_of_one = about(message).map(|one| self.aggregate_ids.contains(one));
        !self.records.is_empty() && is_of_one.unwrap_or(true)
    }

    /// Whether this record was looked at in this step.
    fn has(&self, record: &Record) -> bool {
        let last = self.records.last();
        last.is_some_and(|last| record.offset <= last.offset)
    }
}

/// The command as a mailbox would have brought it, with nobody who waits for its reply.
fn submission<C>(command: C, submitted: &SubmitCommand, cause: &Cause) -> Submission<C> {
    let (reply, _) = oneshot::channel();
    let idempotency = submitted.idempotency_key.as_ref();
    Submission {
        command,
        command_id: submitted.command_id.clone(),
        correlation_id: cause.correlation_id.clone(),
        traceparent: cause.traceparent.clone(),
        idempotency: idempotency.map(|key| IdempotencyKey {
            key: key.clone(),
            fingerprint: submitted.fingerprint.clone(),
        }),
        expected_version: submitted.expected_version,
        deadline: Timestamp::from_micros(i64::MAX),
        reply,
    }
}

fn refusal(reason: Reason) -> Result<String, Halt> {
    let outcome = Outcome::Rejected(Rejection::new(reason, reason.title()));
    serde_json::to_string(&outcome).map_err(|error| Halt::Retry(error.to_string()))
}

fn cause_of(record: &Record) -> Cause {
    let text = |name: &str| {
        record
            .header(name)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    Cause {
        command_id: text(header::COMMAND_ID).unwrap_or_default(),
        correlation_id: text(header::CORRELATION_ID).unwrap_or_default(),
        traceparent: text(header::TRACEPARENT),
    }
}
