//! The shard itself: decide, commit, reply, and nothing that waits. Its driver gives it what has
//! arrived, one step at a time, which a simulation can do as well as a thread.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, Record};
use cartwright_events::Timestamp;
use cartwright_events::codec::Codec;
use tokio::sync::{oneshot, watch};

use crate::archive::{Archive, ArchiveAnswer, ArchiveAsk};
use crate::clock::Clock;
use crate::commit::reply_all;
use crate::decide::Halt;
use crate::group::{Group, Place};
use crate::jump_check::JumpCheck;
use crate::mailbox::{Lookup, Submission};
use crate::options::ShardOptions;
use crate::outcome::Answer;
use crate::ownership::Ownership;
use crate::recovery::Standby;
use crate::snapshots::format::Unreadable;
use crate::snapshots::{Rounds, add};
use crate::state::ShardState;
use crate::waiters::Waiters;

/// What has arrived since the last step.
pub struct Inputs<C> {
    /// Commands, in order.
    pub commands: Vec<Submission<C>>,
    /// Records of the inbox, in order, without a gap after those of the last step.
    pub inbox: Vec<Record>,
    /// All of the inbox before this offset is in here or was in an earlier step since the take-over; 0: that
    /// is not known.
    pub inbox_read: u64,
    /// Callers that wait for an aggregate's outcome.
    pub watches: Vec<(String, oneshot::Sender<Answer>)>,
    /// Callers that ask what became of a command.
    pub lookups: Vec<Lookup>,
    /// Answers to what [`Shard::take_asks`] gave.
    pub archive: Vec<ArchiveAnswer>,
}

impl<C> Default for Inputs<C> {
    fn default() -> Self {
        Self {
            commands: Vec::new(),
            inbox: Vec::new(),
            inbox_read: 0,
            watches: Vec::new(),
            lookups: Vec::new(),
            archive: Vec::new(),
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

pub(crate) struct Live<B: BoundedContext, W> {
    pub(crate) writer: W,
    pub(crate) state: ShardState<B>,
}

/// The single writer of one partition of one context.
pub struct Shard<B: BoundedContext, L: EventLog> {
    pub(crate) context: B,
    pub(crate) log: L,
    pub(crate) place: Place,
    pub(crate) options: ShardOptions,
    pub(crate) clock: Arc<dyn Clock>,
    /// The same clock, for what is written into the log.
    pub(crate) log_clock: JumpCheck,
    pub(crate) ownership: watch::Sender<Ownership>,
    pub(crate) live: Option<Live<B, L::Writer>>,
    /// Commands that wait for room in a group, or were in a group whose outcome was in doubt.
    pub(crate) backlog: VecDeque<Submission<B::Command>>,
    /// Inbox records that have to wait for something, and what waits behind them.
    pub(crate) inbox_waits: Vec<Record>,
    /// Some of them wait for nothing but room in the next group.
    pub(crate) inbox_cut: bool,
    /// The registry could not be asked about one of them: nothing is taken in before then.
    pub(crate) inbox_rests_until: Option<Timestamp>,
    /// Commands that wait for an aggregate that is not in memory.
    pub(crate) held: Vec<Submission<B::Command>>,
    pub(crate) waiters: Waiters,
    /// Deciding the timers broke: they are not tried again before then.
    pub(crate) timers_rest_until: Option<Timestamp>,
    pub(crate) take_overs: u64,
    /// The last epoch that is known to be its own or of one that it has fenced; 0 when none is.
    pub(crate) last_epoch: u64,
    /// Set when a snapshot was found unreadable: the next take-over does without.
    pub(crate) distrusts_snapshots: bool,
    pub(crate) standby: Option<Standby<B, L>>,
    /// Where everything is that has left memory, from a state that was forgotten for a doubt.
    pub(crate) kept_archive: Option<Archive>,
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
            log_clock: JumpCheck::new(Arc::clone(&clock), options.max_clock_skew_ms),
            options,
            clock,
            ownership: watch::Sender::new(Ownership::Recovering { because }),
            live: None,
            backlog: VecDeque::new(),
            inbox_waits: Vec::new(),
            inbox_cut: false,
            inbox_rests_until: None,
            held: Vec::new(),
            timers_rest_until: None,
            take_overs: 0,
            last_epoch: 0,
            distrusts_snapshots: false,
            standby: None,
            kept_archive: None,
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

    /// Commands that wait for the next step.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Whether no more of the inbox should be read: its next message waits for something.
    #[must_use]
    pub fn inbox_is_full(&self) -> bool {
        self.inbox_waits.len() >= self.options.inbox_batch
    }

    /// Whether something waits for the next step and for nothing else.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() || self.inbox_cut
    }

    /// The earliest time at which a step is due without any input: a timer or the keep-alive.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let live = self.live.as_ref()?;
        let keep_alive = live.state.last_time.plus_millis(self.options.keep_alive_ms);
        let options = &self.options;
        let timer = self.context.next_due(&live.state.aggregates);
        let timer = timer.map(|due| self.timers_rest_until.map_or(due, |rest| due.max(rest)));
        let archive = &live.state.archive;
        let leaving =
            archive.next_leaving(live.state.archive_after_ms(options), options.finished_kept);
        let rounds = &live.state.rounds;
        let round = rounds.is_under_way().then_some(live.state.last_time);
        let old = rounds.due_by_age(options.checkpoint_age_ms);
        [timer, leaving, round, old]
            .into_iter()
            .flatten()
            .chain([keep_alive])
            .min()
    }

    /// What has to be read from the snapshots topic; the answers go into a later step.
    pub fn take_asks(&mut self) -> Vec<ArchiveAsk> {
        let live = self.live.as_mut();
        live.map_or_else(Vec::new, |live| live.state.archive.take_asks())
    }

    /// Decides what has arrived and what is due, commits it in one transaction, and replies.
    pub fn step(&mut self, inputs: Inputs<B::Command>) -> Step {
        self.backlog.extend(inputs.commands);
        let Some(mut live) = self.live.take() else {
            return Step::TakeOver;
        };
        let now = match self.log_clock.now() {
            Ok(now) => now,
            Err(jumped) => {
                let reason = jumped.to_string();
                return self.end(Ownership::Refused { reason });
            }
        };
        if let Err(error) = self.take_from_archive(&mut live.state, inputs.archive) {
            self.distrusts_snapshots = true;
            return self.doubt(None, &error.to_string());
        }
        let mut group = Group::new(now.max(live.state.last_time));
        Rounds::begin_if_due(&mut live.state, &self.context, &self.options, group.now());
        let round = live.state.rounds.is_under_way();
        let mut inbox = std::mem::take(&mut self.inbox_waits);
        inbox.extend(inputs.inbox);
        live.state.inbox_read = live.state.inbox_read.max(inputs.inbox_read);
        let filled = self
            .fill(&mut live.state, &mut group, inbox)
            .and_then(|()| self.add_snapshots(&mut live.state, &mut group));
        if let Err(halt) = filled {
            return self.halt(halt, live, group);
        }
        let idle_for = live.state.last_time.plus_millis(self.options.keep_alive_ms);
        if !group.must_commit() && !round && group.now() < idle_for {
            reply_all(group.pending);
            self.live = Some(live);
            self.watch(inputs.watches);
            self.answer_lookups(inputs.lookups);
            return Step::Idle;
        }
        let step = self.commit(live, group);
        self.watch(inputs.watches);
        self.answer_lookups(inputs.lookups);
        step
    }

    /// Takes in what was read from the snapshots topic, and lets the commands go on that waited.
    fn take_from_archive(
        &mut self,
        state: &mut ShardState<B>,
        answers: Vec<ArchiveAnswer>,
    ) -> Result<(), Unreadable> {
        if !answers.is_empty() {
            self.release_held();
        }
        let (knew_all, mut restored) = (state.archive.knows_all(), BTreeSet::new());
        for answer in answers {
            let in_memory = self.context.ids_after(&state.aggregates, None);
            if let Some(whole) = state.archive.take(answer, in_memory)? {
                let snapshot = whole.read()?;
                state.restore(&self.context, &whole.name, snapshot);
                restored.insert(whole.name.clone());
                state.archive.may_leave(state.last_time, whole.name);
            }
        }
        self.tell_waiters(state, &restored);
        if state.archive.knows_all() != knew_all {
            self.look_for_outcomes(state);
        }
        self.give_up_held();
        Ok(())
    }

    fn add_snapshots(
        &self,
        state: &mut ShardState<B>,
        group: &mut Group<B::Command>,
    ) -> Result<(), Halt> {
        add::add(&self.context, &self.place, &self.options, state, group)
            .map_err(|error| Halt::Retry(format!("a snapshot can't be written: {error}")))
    }
}
