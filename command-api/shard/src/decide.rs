//! Filling a group: what has arrived and what is due is decided, one after the other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cartwright_domain::{BoundedContext, EvolveError, Reason, Rejection, at_version};
use cartwright_event_log::{EventLog, Record};
use cartwright_events::codec::CodecError;
use cartwright_events::envelope::header;
use cartwright_events::journal::{DecidedCommand, FailedMessage};
use cartwright_events::messages::SubmitCommand;
use cartwright_events::{Message, Timestamp};
use tokio::sync::oneshot;

use crate::archive::Whereabouts;
use crate::commit::send;
use crate::group::{Cause, Group, Pending};
use crate::mailbox::{Reply, Submission};
use crate::outcome::Outcome;
use crate::results::{Found, IdempotencyKey, ResultKey};
use crate::shard::Shard;
use crate::state::ShardState;

/// What a caller is told for whom there was no room.
const NO_ROOM: Reply = Reply::Overloaded {
    retry_after_ms: 1_000,
};

/// A message that the shard must stop at, or an event that does not fit.
pub(crate) enum Halt {
    Evolve(EvolveError),
    NewerWriter(String),
    Retry(String),
}

impl From<EvolveError> for Halt {
    fn from(error: EvolveError) -> Self {
        Halt::Evolve(error)
    }
}

impl<B: BoundedContext, L: EventLog> Shard<B, L> {
    pub(crate) fn fill(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        inbox: Vec<Record>,
    ) -> Result<(), Halt> {
        // Messages first: they are somebody's unfinished order, commands are new work.
        let mut inbox = inbox.into_iter();
        while let Some(record) = inbox.next() {
            if !self.receive(state, group, &record)? {
                self.inbox_waits.push(record);
                self.inbox_waits.extend(inbox);
                break;
            }
        }
        let due = self
            .context
            .next_due(&state.aggregates)
            .is_some_and(|due| due <= group.now());
        if due {
            let decisions = self.context.on_time(
                &state.aggregates,
                group.now(),
                self.options.timers_per_group,
            );
            for decision in decisions {
                let id = decision
                    .events
                    .first()
                    .map_or("", |event| &event.aggregate_id);
                let cause = Cause::timer(id);
                group.take(&self.context, state, &self.place, &decision, &cause)?;
            }
        }
        while group.records.len() < self.options.group_records
            && group.outcome_bytes < self.options.group_outcome_bytes
        {
            let Some(submission) = self.backlog.pop_front() else {
                break;
            };
            self.decide(state, group, submission)?;
        }
        Ok(())
    }

    fn decide(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        submission: Submission<B::Command>,
    ) -> Result<(), Halt> {
        let (key, fingerprint) = match &submission.idempotency {
            Some(key) => (
                ResultKey::Idempotency(key.key.clone()),
                key.fingerprint.clone(),
            ),
            None => (
                ResultKey::Command(submission.command_id.clone()),
                String::new(),
            ),
        };
        match state.results.find(&key, &fingerprint, group.now()) {
            Found::Decided(outcome) => {
                // It may have been decided in this very group, so this reply waits as well.
                let reply = match serde_json::from_str(outcome) {
                    Ok(outcome) => Reply::Decided(outcome),
                    Err(error) => Reply::Failed {
                        reason: format!("what was decided then is unreadable: {error}"),
                    },
                };
                group.pending.push(Pending { submission, reply });
                return Ok(());
            }
            Found::OtherRequest => {
                // Likewise: what the key was first used for may be undone with this group.
                let reply = Reply::KeyReused;
                group.pending.push(Pending { submission, reply });
                return Ok(());
            }
            Found::Nothing => {}
        }
        if submission.deadline < self.clock.now() {
            send(submission.reply, Reply::DeadlinePassed);
            return Ok(());
        }
        let id = B::key(&submission.command);
        if !self.context.holds(&state.aggregates, id) {
            match state.archive.look_for(id) {
                Whereabouts::Archived | Whereabouts::NotKnownYet => {
                    self.hold(submission);
                    return Ok(());
                }
                Whereabouts::Nowhere => {}
            }
            if self.context.count(&state.aggregates) >= self.options.live_max {
                send(submission.reply, NO_ROOM);
                return Ok(());
            }
        }
        let decided = catch_unwind(AssertUnwindSafe(|| {
            if let Some(expected) = submission.expected_version {
                let actual = self.context.version(&state.aggregates, &submission.command);
                at_version(expected, actual)?;
            }
            self.context
                .decide(&state.aggregates, &submission.command, group.now())
        }));
        let outcome = match decided {
            Err(panic) => {
                let reason = panic_text(panic.as_ref());
                tracing::error!(
                    command_id = submission.command_id,
                    reason,
                    "deciding a command failed"
                );
                send(submission.reply, Reply::Failed { reason });
                return Ok(());
            }
            Ok(Err(rejection)) => Outcome::Rejected(rejection),
            Ok(Ok((decision, accepted))) => {
                let cause = Cause::of(&submission);
                let taken = group.take(&self.context, state, &self.place, &decision, &cause);
                let mut position = match taken {
                    Ok(position) => position,
                    Err(error) => {
                        let reason = error.to_string();
                        send(submission.reply, Reply::Unknown { reason });
                        return Err(error.into());
                    }
                };
                for &(stream, seq) in &accepted.earlier {
                    position.raise(stream, self.place.partition, seq);
                }
                Outcome::accepted(accepted, position)
            }
        };
        let stored = match serde_json::to_string(&outcome) {
            Ok(stored) => stored,
            Err(error) => {
                // An outcome that can't be stored could not be repeated: forget the whole group.
                let reason = format!("the outcome can't be stored: {error}");
                send(
                    submission.reply,
                    Reply::Failed {
                        reason: reason.clone(),
                    },
                );
                return Err(Halt::Retry(reason));
            }
        };
        group.outcome_bytes += stored.len();
        group.decided.push(DecidedCommand {
            command_id: submission.command_id.clone(),
            idempotency_key: submission.idempotency.as_ref().map(|key| key.key.clone()),
            fingerprint: fingerprint.clone(),
            outcome: stored.clone(),
        });
        let evicted = state
            .results
            .remember(key, fingerprint, stored, group.now());
        metrics::counter!("cartwright_shard_results_evicted_total", "context" => B::CONTEXT.name())
            .increment(evicted as u64);
        group.pending.push(Pending {
            submission,
            reply: Reply::Decided(outcome),
        });
        Ok(())
    }

    /// Lets a command wait until its aggregate is in memory, or known not to exist.
    fn hold(&mut self, submission: Submission<B::Command>) {
        if self.held.len() >= self.options.mailbox_capacity {
            send(submission.reply, NO_ROOM);
        } else {
            self.held.push_back(submission);
        }
    }

    /// Commands that waited are decided next, in their order and before any that came later.
    pub(crate) fn release_held(&mut self) {
        for submission in self.held.drain(..).rev() {
            self.backlog.push_front(submission);
        }
    }

    /// Answers the commands that waited too long.
    pub(crate) fn give_up_held(&mut self) {
        let now = self.clock.now();
        while self
            .held
            .front()
            .is_some_and(|oldest| oldest.deadline < now)
        {
            if let Some(oldest) = self.held.pop_front() {
                send(oldest.reply, Reply::DeadlinePassed);
            }
        }
    }

    fn receive(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        record: &Record,
    ) -> Result<bool, Halt> {
        if record.offset < state.inbox_position {
            return Ok(true); // applied before, in a transaction that is in the journal
        }
        let cause = cause_of(record);
        let value = record.value.as_deref().unwrap_or_default();
        match self.place.codec.decode_message(B::CONTEXT, value) {
            Ok(Message::SubmitCommand(submitted)) => {
                if !self.decide_submitted(state, group, submitted, &cause)? {
                    return Ok(false);
                }
            }
            Ok(message) => {
                let received = catch_unwind(AssertUnwindSafe(|| {
                    self.context
                        .receive(&state.aggregates, &message, group.now())
                }));
                match received {
                    Ok(decision) => {
                        group.take(&self.context, state, &self.place, &decision, &cause)?;
                    }
                    Err(panic) => {
                        let reason = panic_text(panic.as_ref());
                        tracing::error!(
                            offset = record.offset,
                            reason,
                            "deciding a message failed"
                        );
                        let answers = self.context.give_up(&message, &reason);
                        group.send(state, &self.place, &answers, &cause);
                        group.failed.push(FailedMessage {
                            offset: record.offset,
                            reason,
                        });
                    }
                }
            }
            Err(CodecError::NewerWriter { .. }) => {
                return Err(Halt::NewerWriter(format!(
                    "{} offset {} is from a newer writer: upgrade this process",
                    record.topic_partition(),
                    record.offset
                )));
            }
            Err(error @ CodecError::RegistryUnavailable { .. }) => {
                return Err(Halt::Retry(error.to_string()));
            }
            Err(error) => {
                tracing::error!(offset = record.offset, %error, "an inbox message is unreadable");
                group.failed.push(FailedMessage {
                    offset: record.offset,
                    reason: error.to_string(),
                });
            }
        }
        state.inbox_position = record.offset + 1;
        group.read_inbox = true;
        Ok(true)
    }

    /// Decides a command whose caller does not wait, as any other, and remembers what became of it
    /// under its id too. Returns `false` when it has to wait: for its aggregate to be in memory, or
    /// for prices. What is behind it in the inbox waits with it.
    fn decide_submitted(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        submitted: SubmitCommand,
        cause: &Cause,
    ) -> Result<bool, Halt> {
        let id = submitted.aggregate_id.as_str();
        let whereabouts = if self.context.holds(&state.aggregates, id) {
            None
        } else {
            Some(state.archive.look_for(id))
        };
        let away = matches!(
            whereabouts,
            Some(Whereabouts::Archived | Whereabouts::NotKnownYet)
        );
        if away || !self.context.can_decide() {
            return Ok(false);
        }
        let (key, fingerprint) = match &submitted.idempotency_key {
            Some(key) => (
                ResultKey::Idempotency(key.clone()),
                submitted.fingerprint.clone(),
            ),
            None => (
                ResultKey::Command(submitted.command_id.clone()),
                String::new(),
            ),
        };
        if state.results.find(&key, &fingerprint, group.now()) == Found::Nothing {
            match serde_json::from_str(&submitted.command) {
                Ok(command) => {
                    self.decide(state, group, submission(command, &submitted, cause))?;
                }
                Err(error) => {
                    tracing::error!(command_id = submitted.command_id, %error, "unreadable command");
                }
            }
        }
        let (outcome, remembered) = match state.results.find(&key, &fingerprint, group.now()) {
            Found::Decided(outcome) => (outcome.to_owned(), true),
            Found::OtherRequest => (refusal(Reason::IdempotencyKeyReused)?, false),
            // It broke the decision, or there was no room for a new aggregate.
            Found::Nothing => (refusal(Reason::NotDecided)?, false),
        };
        let by_id = ResultKey::Command(submitted.command_id.clone());
        if by_id != key || !remembered {
            group.outcome_bytes += outcome.len();
            group.decided.push(DecidedCommand {
                command_id: submitted.command_id,
                idempotency_key: None,
                fingerprint: String::new(),
                outcome: outcome.clone(),
            });
            state
                .results
                .remember(by_id, String::new(), outcome, group.now());
        }
        Ok(true)
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

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
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
