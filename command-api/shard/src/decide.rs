//! Filling a group: what has arrived and what is due is decided, one after the other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cartwright_domain::{BoundedContext, EvolveError, Reason, Rejection, at_version};
use cartwright_event_log::{EventLog, Record};
use cartwright_events::Timestamp;

use crate::archive::Whereabouts;
use crate::commit::send;
use crate::group::{Cause, Group, NotTaken, Pending};
use crate::mailbox::{Reply, Submission};
use crate::outcome::Outcome;
use crate::pace::bounded_ms;
use crate::results::{Found, ResultKey};
use crate::shard::Shard;
use crate::state::ShardState;

/// What a caller is told for whose aggregate there is no room: nobody knows when there will be.
const NO_ROOM: Reply = Reply::Overloaded {
    retry_after_ms: 1_000,
};

/// How long timers rest whose decision broke, in milliseconds.
const TIMERS_REST_MS: i64 = 30_000;

/// An outcome of more bytes goes without its lists. The journal's record has room for two of a queued
/// command, beside [`ShardOptions::group_outcome_bytes`](crate::ShardOptions::group_outcome_bytes).
const OUTCOME_BYTES: usize = 128 * 1024;

/// Why the group can't be gone on with.
pub(crate) enum Halt {
    /// A message that nobody can read, or an event that does not fit.
    Refuse(String),
    NewerWriter(String),
    Retry(String),
}

impl From<EvolveError> for Halt {
    fn from(error: EvolveError) -> Self {
        Halt::Refuse(error.to_string())
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
        self.receive_all(state, group, inbox)?;
        self.decide_timers(state, group)?;
        while !group.is_filled(1, &self.options) {
            let Some(submission) = self.backlog.pop_front() else {
                break;
            };
            self.decide(state, group, submission)?;
        }
        Ok(())
    }

    /// Decides the timers that are due. When that breaks, they rest for a while: no command and no
    /// message has to stop for them, and whatever breaks it may have changed by then.
    fn decide_timers(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
    ) -> Result<(), Halt> {
        let now = group.now();
        let due = self.context.next_due(&state.aggregates);
        if due.is_none_or(|due| due > now) || self.timers_rest_until.is_some_and(|rest| rest > now)
        {
            return Ok(());
        }
        self.timers_rest_until = None;
        let decided = catch_unwind(AssertUnwindSafe(|| {
            self.context
                .on_time(&state.aggregates, now, self.options.timers_per_group)
        }));
        let decisions = match decided {
            Ok(decisions) => decisions,
            Err(panic) => {
                self.rest_timers(now, &panic_text(panic.as_ref()));
                return Ok(());
            }
        };
        for decision in decisions {
            if group.is_filled(1, &self.options) {
                // The others are due still.
                break;
            }
            let id = decision
                .events
                .first()
                .map_or("", |event| &event.aggregate_id);
            let cause = Cause::timer(id);
            match group.take(&self.context, state, &self.place, &decision, &cause) {
                Ok(_) => {}
                Err(NotTaken::Misfit(error)) => return Err(error.into()),
                Err(too_large) => self.rest_timers(now, &too_large.to_string()),
            }
        }
        Ok(())
    }

    fn rest_timers(&mut self, now: Timestamp, reason: &str) {
        tracing::error!(
            context = B::CONTEXT.name(),
            partition = self.place.partition,
            reason,
            "deciding the timers failed"
        );
        metrics::counter!("cartwright_shard_timers_failed_total", "context" => B::CONTEXT.name())
            .increment(1);
        self.timers_rest_until = Some(now.plus_millis(TIMERS_REST_MS));
    }

    pub(crate) fn decide(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        submission: Submission<B::Command>,
    ) -> Result<(), Halt> {
        let idempotency = submission.idempotency.as_ref();
        let fingerprint = idempotency.map_or("", |key| &key.fingerprint);
        let key = idempotency.map(|key| key.key.as_str());
        let key = ResultKey::new(key, &submission.command_id);
        match state.results.find(&key, fingerprint, group.now()) {
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
        match self.whereabouts(state, id) {
            Whereabouts::Archived | Whereabouts::NotKnownYet => {
                self.hold(submission);
                return Ok(());
            }
            Whereabouts::Nowhere
                if self.context.count(&state.aggregates) >= self.options.live_max
                    || state.is_over_memory() =>
            {
                send(submission.reply, NO_ROOM);
                return Ok(());
            }
            Whereabouts::Nowhere | Whereabouts::InMemory => {}
        }
        let bytes = self.context.size_hint(&state.aggregates, id);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            if bytes > self.options.aggregate_bytes {
                let detail = format!("{id} takes {bytes} bytes already");
                return Err(Rejection::new(Reason::TooLarge, detail));
            }
            if let Some(expected) = submission.expected_version {
                let actual = self.context.version(&state.aggregates, &submission.command);
                at_version(expected, actual)?;
            }
            self.context
                .decide(&state.aggregates, &submission.command, group.now())
        }));
        let mut outcome = match decided {
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
                match group.take(&self.context, state, &self.place, &decision, &cause) {
                    Ok(mut position) => {
                        for &(stream, seq) in &accepted.earlier {
                            position.raise(stream, self.place.partition, seq);
                        }
                        Outcome::accepted(accepted, position)
                    }
                    Err(too_large @ NotTaken::TooLarge { .. }) => {
                        let rejection = Rejection::new(Reason::TooLarge, too_large.to_string());
                        Outcome::Rejected(rejection)
                    }
                    Err(NotTaken::Misfit(error)) => {
                        let reason = error.to_string();
                        send(submission.reply, Reply::Unknown { reason });
                        return Err(error.into());
                    }
                }
            }
        };
        let stored = match stored(&mut outcome) {
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
        let fingerprint = fingerprint.to_owned();
        group.remember(state, key, &submission.command_id, fingerprint, stored);
        group.pending.push(Pending {
            submission,
            reply: Reply::Decided(outcome),
        });
        Ok(())
    }

    /// Where the aggregate of a command is. One that has left memory is asked for.
    pub(crate) fn whereabouts(&self, state: &mut ShardState<B>, id: &str) -> Whereabouts {
        if self.context.holds(&state.aggregates, id) {
            Whereabouts::InMemory
        } else {
            state.archive.look_for(id)
        }
    }

    /// Lets a command wait until its aggregate is in memory, or known not to exist. Where too many wait
    /// there is room at the latest when the first of them has to be given up.
    fn hold(&mut self, submission: Submission<B::Command>) {
        if self.held.len() < self.options.mailbox_capacity {
            self.held.push(submission);
            return;
        }
        let first = self.held.iter().map(|held| held.deadline).min();
        let left_us = first.map_or(0, |first| {
            first
                .as_micros()
                .saturating_sub(self.clock.now().as_micros())
        });
        let retry_after_ms = bounded_ms(u64::try_from(left_us / 1_000).unwrap_or(0));
        send(submission.reply, Reply::Overloaded { retry_after_ms });
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
        let is_late = |held: &mut Submission<B::Command>| held.deadline < now;
        for late in self.held.extract_if(.., is_late) {
            send(late.reply, Reply::DeadlinePassed);
        }
    }
}

/// The outcome as the journal keeps it.
fn stored(outcome: &mut Outcome) -> serde_json::Result<String> {
    let stored = serde_json::to_string(outcome)?;
    if stored.len() <= OUTCOME_BYTES {
        return Ok(stored);
    }
    let data = match outcome {
        Outcome::Accepted(answer) => &mut answer.data,
        Outcome::Rejected(rejection) => &mut rejection.data,
    };
    data.retain(|_, value| !value.is_array());
    serde_json::to_string(outcome)
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
