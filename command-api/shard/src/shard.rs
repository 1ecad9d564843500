//! The shard itself: decide, commit, reply, and nothing that waits. Its driver gives it what has
//! arrived, one step at a time, which a simulation can do as well as a thread.

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cartwright_domain::{BoundedContext, EvolveError, at_version};
use cartwright_event_log::{CommitError, EventLog, LogWriter, Record};
use cartwright_events::codec::{Codec, CodecError};
use cartwright_events::envelope::header;
use cartwright_events::journal::{DecidedCommand, FailedMessage};
use cartwright_events::{PositionToken, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::group::{Cause, Group, Pending, Place};
use crate::mailbox::{Reply, Submission};
use crate::options::ShardOptions;
use crate::outcome::{Answer, Outcome};
use crate::ownership::Ownership;
use crate::recovery::{Standby, TakeOverError};
use crate::results::{Found, ResultKey};
use crate::state::ShardState;
use crate::waiters::Waiters;

/// What has arrived since the last step.
pub struct Inputs<C> {
    /// Commands, in order.
    pub commands: Vec<Submission<C>>,
    /// Records of the inbox, in order, without a gap after those of the last step.
    pub inbox: Vec<Record>,
    /// Callers that wait for an aggregate's outcome.
    pub watches: Vec<(String, oneshot::Sender<Answer>)>,
}

impl<C> Default for Inputs<C> {
    fn default() -> Self {
        Self {
            commands: Vec::new(),
            inbox: Vec::new(),
            watches: Vec::new(),
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to make durable.
    Idle,
    /// One transaction was committed and its replies were sent.
    Committed,
    /// The state is forgotten: take over before the next step.
    TakeOver,
    /// The shard will never serve again in this process.
    Ended,
}

/// A message that the shard must stop at, or an event that does not fit.
enum Halt {
    Evolve(EvolveError),
    NewerWriter(String),
    Retry(String),
}

impl From<EvolveError> for Halt {
    fn from(error: EvolveError) -> Self {
        Halt::Evolve(error)
    }
}

struct Live<B: BoundedContext, W> {
    writer: W,
    state: ShardState<B>,
}

/// The single writer of one partition of one context.
pub struct Shard<B: BoundedContext, L: EventLog> {
    context: B,
    log: L,
    place: Place,
    options: ShardOptions,
    clock: Arc<dyn Clock>,
    ownership: watch::Sender<Ownership>,
    live: Option<Live<B, L::Writer>>,
    standby: Option<Standby<B, L>>,
    /// Commands that wait for room in a group, or were in a group whose outcome was in doubt.
    backlog: VecDeque<Submission<B::Command>>,
    waiters: Waiters,
}

impl<B: BoundedContext, L: EventLog> Shard<B, L> {
    /// A shard of `partition` that owns nothing yet.
    pub fn new(
        context: B,
        partition: u32,
        log: L,
        codec: Codec,
        options: ShardOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let because = "first start".to_owned();
        Self {
            context,
            log,
            place: Place {
                partition,
                codec,
                log_generation: options.log_generation,
            },
            waiters: Waiters::new(options.waiters),
            options,
            clock,
            ownership: watch::Sender::new(Ownership::Recovering { because }),
            live: None,
            standby: None,
            backlog: VecDeque::new(),
        }
    }

    /// To follow the shard's claim on its partition.
    #[must_use]
    pub fn ownership(&self) -> watch::Receiver<Ownership> {
        self.ownership.subscribe()
    }

    /// The next inbox offset to apply; `None` while the shard does not serve.
    #[must_use]
    pub fn inbox_position(&self) -> Option<u64> {
        self.live.as_ref().map(|live| live.state.inbox_position)
    }

    /// The aggregates as of the last transaction; `None` while the shard does not serve.
    #[must_use]
    pub fn aggregates(&self) -> Option<&B::State> {
        self.live.as_ref().map(|live| &live.state.aggregates)
    }

    /// Whether commands wait for the next step.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The earliest time at which a step is due without any input: a timer or the keep-alive.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let live = self.live.as_ref()?;
        let keep_alive = live.state.last_time.plus_millis(self.options.keep_alive_ms);
        let timer = self.context.next_due(&live.state.aggregates);
        Some(timer.map_or(keep_alive, |timer| timer.min(keep_alive)))
    }

    /// Gets ready to take over while another process still serves: connects the producer and reads
    /// the partition up to where it ends now. Again later, it reads on from there. Fences nobody.
    ///
    /// # Errors
    /// The reason, when it has to be tried again after a pause. [`Step::Ended`] when it must not.
    pub fn prepare(&mut self) -> Result<Step, String> {
        let prepared = match self.standby.take() {
            Some(standby) => Ok(standby),
            None => Standby::prepare(&self.log, &self.place, &self.options),
        };
        let read = prepared.and_then(|mut standby| {
            standby.catch_up(&self.context, &self.options)?;
            Ok(standby)
        });
        match read {
            Ok(standby) => {
                self.standby = Some(standby);
                let changed = |ownership: &mut Ownership| {
                    let before = std::mem::replace(ownership, Ownership::Standby);
                    before != Ownership::Standby
                };
                self.ownership.send_if_modified(changed);
                Ok(Step::Idle)
            }
            Err(error) => self.not_taken_over(error),
        }
    }

    /// Fences whoever held the partition, reads it back and serves.
    ///
    /// Commands of a group whose outcome was in doubt are then settled: those in the journal are
    /// answered from it, the others are decided by the next step.
    ///
    /// # Errors
    /// The reason, when it has to be tried again after a pause. [`Step::Ended`] when it must not.
    pub fn take_over(&mut self) -> Result<Step, String> {
        self.live = None;
        let prepared = match self.standby.take() {
            Some(standby) => Ok(standby),
            None => Standby::prepare(&self.log, &self.place, &self.options),
        };
        let taken = prepared.and_then(|standby| {
            standby.take_over(&self.context, &self.options, self.clock.as_ref())
        });
        match taken {
            Ok((writer, state)) => {
                tracing::info!(
                    context = B::CONTEXT.name(),
                    partition = self.place.partition,
                    epoch = state.epoch,
                    transaction = state.transaction,
                    "serving"
                );
                self.ownership
                    .send_replace(Ownership::Serving { epoch: state.epoch });
                self.live = Some(Live { writer, state });
                Ok(Step::Idle)
            }
            Err(error) => self.not_taken_over(error),
        }
    }

    fn not_taken_over(&mut self, error: TakeOverError) -> Result<Step, String> {
        match error {
            TakeOverError::Retry(reason) => {
                self.ownership.send_replace(Ownership::Recovering {
                    because: reason.clone(),
                });
                Err(reason)
            }
            TakeOverError::Fenced => Ok(self.end(Ownership::Fenced)),
            TakeOverError::Refused(reason) => Ok(self.end(Ownership::Refused { reason })),
        }
    }

    /// Decides what has arrived and what is due, commits it in one transaction, and replies.
    pub fn step(&mut self, inputs: Inputs<B::Command>) -> Step {
        self.backlog.extend(inputs.commands);
        let Some(mut live) = self.live.take() else {
            return Step::TakeOver;
        };
        let mut group = Group::new(self.clock.now().max(live.state.last_time));
        let filled = self.fill(&mut live.state, &mut group, &inputs.inbox);
        if let Err(halt) = filled {
            return self.halt(halt, group);
        }
        let idle_for = live.state.last_time.plus_millis(self.options.keep_alive_ms);
        if !group.must_commit() && group.now() < idle_for {
            reply_all(group.pending);
            self.live = Some(live);
            self.watch(inputs.watches);
            return Step::Idle;
        }
        let step = self.commit(live, group);
        self.watch(inputs.watches);
        step
    }

    /// Answers callers whose outcome is decided and durable; lets the others wait.
    fn watch(&mut self, watches: Vec<(String, oneshot::Sender<Answer>)>) {
        for (aggregate_id, reply) in watches {
            let answer = self
                .live
                .as_ref()
                .and_then(|live| self.outcome(&live.state, &aggregate_id));
            match answer {
                // A caller that has gone is no error.
                Some(answer) => drop(reply.send(answer)),
                None => self.waiters.add(aggregate_id, reply),
            }
        }
    }

    fn outcome(&self, state: &ShardState<B>, aggregate_id: &str) -> Option<Answer> {
        let accepted = self.context.outcome(&state.aggregates, aggregate_id)?;
        let mut position = PositionToken::new(self.place.log_generation);
        for &(stream, seq) in &accepted.earlier {
            position.raise(stream, self.place.partition, seq);
        }
        Some(Answer {
            aggregate_id: accepted.aggregate_id,
            version: accepted.version,
            position,
            data: accepted.data,
        })
    }

    fn tell_waiters(&mut self, state: &ShardState<B>, touched: &BTreeSet<String>) {
        for aggregate_id in touched {
            if self.waiters.waits_for(aggregate_id)
                && let Some(answer) = self.outcome(state, aggregate_id)
            {
                self.waiters.tell(aggregate_id, &answer);
            }
        }
    }

    fn fill(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        inbox: &[Record],
    ) -> Result<(), Halt> {
        // Messages first: they are somebody's unfinished order, commands are new work.
        for record in inbox {
            self.receive(state, group, record)?;
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
                let reply = Reply::Decided(outcome.clone());
                group.pending.push(Pending { submission, reply });
                return Ok(());
            }
            Found::OtherRequest => {
                send(submission.reply, Reply::KeyReused);
                return Ok(());
            }
            Found::Nothing => {}
        }
        if submission.deadline < self.clock.now() {
            send(submission.reply, Reply::DeadlinePassed);
            return Ok(());
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
            outcome: stored,
        });
        state
            .results
            .remember(key, fingerprint, outcome.clone(), group.now());
        group.pending.push(Pending {
            submission,
            reply: Reply::Decided(outcome),
        });
        Ok(())
    }

    fn receive(
        &mut self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
        record: &Record,
    ) -> Result<(), Halt> {
        if record.offset < state.inbox_position {
            return Ok(()); // applied before, in a transaction that is in the journal
        }
        let cause = cause_of(record);
        let value = record.value.as_deref().unwrap_or_default();
        match self.place.codec.decode_message(B::CONTEXT, value) {
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
        Ok(())
    }

    fn commit(&mut self, mut live: Live<B, L::Writer>, mut group: Group<B::Command>) -> Step {
        group.close(&mut live.state, &self.place);
        let records = std::mem::take(&mut group.records);
        let count = records.len();
        match live.writer.commit(records) {
            Ok(receipt) => {
                metrics::histogram!("cartwright_shard_commit_seconds", "context" => B::CONTEXT.name())
                    .record(receipt.duration.as_secs_f64());
                metrics::histogram!("cartwright_shard_group_commands", "context" => B::CONTEXT.name())
                    .record(group.pending.len() as f64);
                metrics::counter!("cartwright_shard_records_total", "context" => B::CONTEXT.name())
                    .increment(count as u64);
                reply_all(group.pending);
                self.tell_waiters(&live.state, &group.touched);
                if receipt.doubtful {
                    return self.doubt("a commit was slow or its connection broke");
                }
                self.live = Some(live);
                Step::Committed
            }
            Err(CommitError::Fenced) => {
                fail_all(group.pending, "another process has taken this shard over");
                self.end(Ownership::Fenced)
            }
            Err(error @ (CommitError::TooLarge { .. } | CommitError::Empty)) => {
                for pending in group.pending {
                    send(
                        pending.submission.reply,
                        Reply::Failed {
                            reason: error.to_string(),
                        },
                    );
                }
                self.doubt(&error.to_string())
            }
            Err(error) => {
                // Settled by the read-back: the journal knows which of them took effect.
                for pending in group.pending.into_iter().rev() {
                    self.backlog.push_front(pending.submission);
                }
                self.doubt(&error.to_string())
            }
        }
    }

    fn halt(&mut self, halt: Halt, group: Group<B::Command>) -> Step {
        match halt {
            Halt::Evolve(error) => {
                fail_all(group.pending, "the shard has stopped");
                self.end(Ownership::Refused {
                    reason: error.to_string(),
                })
            }
            Halt::NewerWriter(reason) => {
                fail_all(group.pending, "the shard has stopped");
                self.end(Ownership::Refused { reason })
            }
            Halt::Retry(reason) => {
                for pending in group.pending.into_iter().rev() {
                    self.backlog.push_front(pending.submission);
                }
                self.doubt(&reason)
            }
        }
    }

    /// Crash-only: whatever raised the doubt, the state is read back from the log.
    fn doubt(&mut self, because: &str) -> Step {
        tracing::warn!(
            context = B::CONTEXT.name(),
            partition = self.place.partition,
            because,
            "reading the log back"
        );
        metrics::counter!("cartwright_shard_take_overs_total", "context" => B::CONTEXT.name())
            .increment(1);
        self.live = None;
        self.ownership.send_replace(Ownership::Recovering {
            because: because.to_owned(),
        });
        Step::TakeOver
    }

    /// Ends the shard: everything that waits is told.
    pub(crate) fn end(&mut self, ownership: Ownership) -> Step {
        tracing::warn!(
            context = B::CONTEXT.name(),
            partition = self.place.partition,
            %ownership,
            "the shard has ended"
        );
        self.live = None;
        self.standby = None;
        for submission in self.backlog.drain(..) {
            send(
                submission.reply,
                Reply::Unknown {
                    reason: ownership.to_string(),
                },
            );
        }
        self.ownership.send_replace(ownership);
        Step::Ended
    }
}

fn send(sender: oneshot::Sender<Reply>, reply: Reply) {
    // A caller that does not wait any more is no error.
    let _ = sender.send(reply);
}

fn reply_all<C>(pending: Vec<Pending<C>>) {
    for Pending { submission, reply } in pending {
        send(submission.reply, reply);
    }
}

fn fail_all<C>(pending: Vec<Pending<C>>, reason: &str) {
    for Pending { submission, .. } in pending {
        send(
            submission.reply,
            Reply::Unknown {
                reason: reason.to_owned(),
            },
        );
    }
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
