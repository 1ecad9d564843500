//! Taking a partition over: fence, read back, check, and write the new epoch.
//!
//! What is read is the latest complete round of snapshots, and the log from where that round began.
//! The target of the read is the HIGH watermark of the partitions that only this shard writes. The
//! last stable offset would not do: it can stand before records that are already committed
//! (KAFKA-10167), and a shard that misses its own events decides on a state that never was.

mod before;
mod checkpoint;
mod partition;
mod read_back;

use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{CommitError, EventLog, LogError, LogWriter, TopicPartition};
use thiserror::Error;

use crate::archive::Archive;
use crate::group::{Group, Place};
use crate::jump_check::{ClockJumped, JumpCheck};
use crate::options::ShardOptions;
use crate::snapshots::format::Unreadable;
use crate::standstill::what_is_open;
use crate::state::ShardState;
use before::Before;
use partition::{End, Recovery};

/// How long a shard that stands by waits for a transaction that its present owner has open.
const STANDBY_STALL: Duration = Duration::from_millis(100);
/// How long who takes over waits for what is there before its reader is sent there anew.
const FIRST_STALL: Duration = Duration::from_secs(2);
/// How long it waits for what has been in the log for long: where the aggregates are that left memory. Each
/// page of that is asked for anew, so with less it would never get ready where brokers take their time; with
/// more it would be late to take over when its owner dies meanwhile.
const BEFORE_STALL: Duration = Duration::from_secs(2);

/// Why a take-over did not end in serving.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TakeOverError {
    /// Try again after a pause.
    #[error("{0}")]
    Retry(String),
    /// Likewise: the log gives nothing now. What was read before is whole, and reading goes on there.
    #[error("{0}")]
    Log(LogError),
    /// Another process took the partition over meanwhile.
    #[error("fenced by another process")]
    Fenced,
    /// The log holds what must not be written after. For a person to look at.
    #[error("{0}")]
    Refused(String),
    /// The log holds what a newer version of this code wrote.
    #[error("{0}")]
    Outdated(String),
    /// The snapshots are of no use: the events are read instead.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl From<ClockJumped> for TakeOverError {
    fn from(jumped: ClockJumped) -> Self {
        TakeOverError::Refused(jumped.to_string())
    }
}

impl From<LogError> for TakeOverError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Fenced { .. } => TakeOverError::Fenced,
            LogError::OutOfRange { .. }
            | LogError::UnknownTopic { .. }
            | LogError::UnknownPartition(_) => TakeOverError::Refused(error.to_string()),
            other => TakeOverError::Log(other),
        }
    }
}

impl From<CommitError> for TakeOverError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Fenced => TakeOverError::Fenced,
            other => TakeOverError::Retry(format!("the epoch could not be written: {other}")),
        }
    }
}

/// What a shard is made of, and where.
pub(crate) struct Ground<'a, B, L> {
    pub(crate) context: &'a B,
    pub(crate) log: &'a L,
    pub(crate) place: &'a Place,
    pub(crate) options: &'a ShardOptions,
    pub(crate) clock: &'a JumpCheck,
    /// Number of this take-over within the process.
    pub(crate) number: u64,
    /// Whether snapshots may be used; otherwise everything is made from the events.
    pub(crate) snapshots: bool,
}

impl<B: BoundedContext, L: EventLog> Ground<'_, B, L> {
    /// Connects a producer and reads the partition while another process still owns it, so that the
    /// gap between two owners is short.
    pub(crate) fn prepare(&self) -> Result<Standby<B, L>, TakeOverError> {
        let writer = self.log.writer(&self.transactional_id())?;
        let recovery = Recovery::open(self)?;
        self.read_on(Standby { writer, recovery })
    }

    /// Reads what was written since, while another process still owns the partition; and some more of
    /// where the aggregates are that have left memory, until all of that is known.
    pub(crate) fn read_on(
        &self,
        mut standby: Standby<B, L>,
    ) -> Result<Standby<B, L>, TakeOverError> {
        self.clock.now()?;
        let recovery = &mut standby.recovery;
        unless_hidden(recovery.catch_up(self, End::Stable, STANDBY_STALL))?;
        // Also when an owner that writes all the time hid the log's end from it.
        unless_hidden(recovery.before.read_on(self, BEFORE_STALL))?;
        Ok(standby)
    }

    /// Fences whoever had the partition and rebuilds its state. `kept` is the archive of a state that
    /// this process had before; it is there still when this fails and is to be tried again. So is
    /// `standby` when it was the fence that failed: nothing was read since.
    ///
    /// `last_epoch` is raised, also when this fails, to the last one that is known to be of this process
    /// or of one that it has fenced. A later one is of a process that has fenced this one.
    pub(crate) fn take_over(
        &self,
        standby: &mut Option<Standby<B, L>>,
        kept: &mut Option<Archive>,
        last_epoch: &mut u64,
    ) -> Result<(L::Writer, ShardState<B>), TakeOverError> {
        // Before anybody is fenced.
        self.clock.now()?;
        // The producer connects before it takes over, so that the gap between two owners is short.
        let (mut writer, read) = match standby.take() {
            Some(standby) => (standby.writer, Some(standby.recovery)),
            None => (self.log.writer(&self.transactional_id())?, None),
        };
        if let Err(error) = writer.take_over() {
            if matches!(error, LogError::Fenced { .. }) {
                // By one that has still to read before it can write its epoch.
                let found = self.last_epoch().unwrap_or_default();
                *last_epoch = found.max(*last_epoch);
            } else {
                *standby = read.map(|recovery| Standby { writer, recovery });
            }
            return Err(error.into());
        }
        // Where the log stood at the fence: reading takes time, in which another one may fence this one
        // and write its epoch.
        let (mut recovery, fenced_in) = match read {
            Some(recovery) => (recovery, None),
            None => {
                let recovery = Recovery::open(self)?;
                let opened_in = Some(recovery.opened_in);
                (recovery, opened_in)
            }
        };
        self.read_to_the_end(&mut recovery)
            .map_err(|error| self.with_what_holds_it_up(error))?;
        let fenced_in = fenced_in.unwrap_or_else(|| recovery.epoch());
        *last_epoch = fenced_in.max(*last_epoch);
        let mut state = recovery.finish(self, kept)?;
        match self.begin_epoch(&mut writer, &mut state, last_epoch) {
            Ok(()) => Ok((writer, state)),
            Err(error) => {
                *kept = Some(state.archive);
                Err(error)
            }
        }
    }

    /// Reads what there is, after the fence. Commands wait meanwhile: a reader that stands still, as one does
    /// that has missed that there is more, is sent there anew soon.
    fn read_to_the_end(&self, recovery: &mut Recovery<B, L::Reader>) -> Result<(), TakeOverError> {
        let stall = self.options.recovery_stall();
        match recovery.catch_up(self, End::High, stall.min(FIRST_STALL)) {
            Err(TakeOverError::Log(LogError::Stalled { .. })) => {
                recovery.read_anew(self)?;
                recovery.catch_up(self, End::High, stall)
            }
            read => read,
        }
    }

    /// Writes the new epoch, the first transaction of this owner.
    fn begin_epoch(
        &self,
        writer: &mut L::Writer,
        state: &mut ShardState<B>,
        last_epoch: &mut u64,
    ) -> Result<(), TakeOverError> {
        let now = self.clock.now()?;
        let behind_ms = (state.last_time.as_micros() - now.as_micros()) / 1000;
        let allowed_ms = self.options.max_clock_skew_ms;
        if behind_ms > allowed_ms {
            return Err(TakeOverError::Retry(format!(
                "this machine's clock is {behind_ms} ms behind the log; at most {allowed_ms} ms is \
                 allowed"
            )));
        }
        state.epoch += 1;
        let mut first = Group::<B::Command>::new(now.max(state.last_time));
        first.close(state, self.place);
        let topics = first.topics();
        // Where the outcome is unknown, the next reading tells it.
        let receipt = writer.commit(first.records)?;
        *last_epoch = state.epoch;
        state.tail.follow(B::CONTEXT, &topics, &receipt);
        state.rounds.journal_begins(state.last_time);
        if receipt.doubtful {
            let reason = "the commit of the epoch is in doubt".to_owned();
            return Err(TakeOverError::Retry(reason));
        }
        Ok(())
    }

    /// A reading that stands still, with whose transaction it waits for.
    fn with_what_holds_it_up(&self, error: TakeOverError) -> TakeOverError {
        match error {
            TakeOverError::Log(LogError::Stalled { ref at, .. }) => {
                TakeOverError::Retry(format!("{error}: {}", what_is_open(self.log, at)))
            }
            error => error,
        }
    }

    fn transactional_id(&self) -> String {
        B::CONTEXT.transactional_id(self.place.partition)
    }

    fn at(&self, topic: &'static str) -> TopicPartition {
        TopicPartition::new(topic, self.place.partition)
    }

    /// The partitions that are the truth of the shard: its events and its journal.
    fn own(&self) -> Vec<TopicPartition> {
        let streams = B::CONTEXT.streams().iter();
        let topics = streams.map(|stream| stream.topic());
        let topics = topics.chain([B::CONTEXT.journal_topic()]);
        topics.map(|topic| self.at(topic)).collect()
    }
}

/// What an open transaction hides is read after the fence.
fn unless_hidden(read: Result<(), TakeOverError>) -> Result<(), TakeOverError> {
    match read {
        Err(TakeOverError::Log(_)) => Ok(()),
        read => read,
    }
}

/// A producer that has connected and a state that was read, before the take-over.
pub(crate) struct Standby<B: BoundedContext, L: EventLog> {
    writer: L::Writer,
    recovery: Recovery<B, L::Reader>,
}

impl<B: BoundedContext, L: EventLog> Standby<B, L> {
    /// Whether everything is read that can be read before the take-over. Without where the archive's
    /// aggregates are, the new owner could not tell whether an id was ever used, and could create
    /// nothing for as long as it takes to find out.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.recovery.before, Before::Known(_))
    }
}
