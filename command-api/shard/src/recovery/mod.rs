//! Taking a partition over: fence, read back, check, and write the new epoch.
//!
//! What is read is the latest complete round of snapshots, and the log from where that round began.
//! The target of the read is the HIGH watermark of the partitions that only this shard writes. The
//! last stable offset would not do: it can stand before records that are already committed
//! (KAFKA-10167), and a shard that misses its own events decides on a state that never was.

mod before;
mod checkpoint;
mod read_back;

use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{
    CommitError, EventLog, LogError, LogReader, LogWriter, ReaderPurpose, Record, Start,
    TopicPartition, read_to,
};
use thiserror::Error;

use crate::archive::{Archive, Earlier, Scanned};
use crate::clock::Clock;
use crate::group::{Group, Place};
use crate::options::ShardOptions;
use crate::results::ResultWindow;
use crate::snapshots::format::{Assembler, Unreadable};
use crate::snapshots::{Complete, Rounds};
use crate::state::{ShardState, Tail};
use before::Before;
use checkpoint::Checkpoint;
use read_back::ReadBack;

/// How long a shard that stands by waits for a transaction that its present owner has open.
const STANDBY_STALL: Duration = Duration::from_millis(100);

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
    pub(crate) clock: &'a dyn Clock,
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
        let recovery = &mut standby.recovery;
        let read = recovery.catch_up(self, End::Stable, STANDBY_STALL);
        match read.and_then(|()| recovery.before.read_on(self, STANDBY_STALL)) {
            // What an open transaction hides is read after the fence.
            Ok(()) | Err(TakeOverError::Log(_)) => Ok(standby),
            Err(error) => Err(error),
        }
    }

    /// Fences whoever had the partition and rebuilds its state. `kept` is the archive of a state that
    /// this process had before; it is there still when this fails and is to be tried again.
    pub(crate) fn take_over(
        &self,
        standby: Option<Standby<B, L>>,
        kept: &mut Option<Archive>,
    ) -> Result<(L::Writer, ShardState<B>), TakeOverError> {
        // The producer connects before it takes over, so that the gap between two owners is short.
        let (mut writer, read) = match standby {
            Some(standby) => (standby.writer, Some(standby.recovery)),
            None => (self.log.writer(&self.transactional_id())?, None),
        };
        writer.take_over()?;
        let mut recovery = match read {
            Some(recovery) => recovery,
            None => Recovery::open(self)?,
        };
        recovery
            .catch_up(self, End::High, self.options.recovery_stall())
            .map_err(|error| self.with_what_holds_it_up(error))?;
        let mut state = recovery.finish(self, kept)?;
        match self.begin_epoch(&mut writer, &mut state) {
            Ok(()) => Ok((writer, state)),
            Err(error) => {
                *kept = Some(state.archive);
                Err(error)
            }
        }
    }

    /// Writes the new epoch, the first transaction of this owner.
    fn begin_epoch(
        &self,
        writer: &mut L::Writer,
        state: &mut ShardState<B>,
    ) -> Result<(), TakeOverError> {
        let behind_ms = (state.last_time.as_micros() - self.clock.now().as_micros()) / 1000;
        let allowed_ms = self.options.max_clock_skew_ms;
        if behind_ms > allowed_ms {
            return Err(TakeOverError::Retry(format!(
                "this machine's clock is {behind_ms} ms behind the log; at most {allowed_ms} ms is \
                 allowed"
            )));
        }
        state.epoch += 1;
        let mut first = Group::<B::Command>::new(self.clock.now().max(state.last_time));
        first.close(state, self.place);
        let topics = first.topics();
        let receipt = writer.commit(first.records)?;
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

/// What holds readers of committed records up on a partition, in words.
pub(crate) fn what_is_open<L: EventLog>(log: &L, at: &TopicPartition) -> String {
    match log.open_transactions(at).as_deref() {
        Ok([first, ..]) => first.to_string(),
        Ok([]) => "no transaction is open there".to_owned(),
        Err(error) => format!("which transactions are open there can't be told: {error}"),
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

/// How far the shard's own partitions are read.
#[derive(Debug, Clone, Copy)]
enum End {
    /// All that there is. After the fence, when no transaction of the shard is open any more.
    High,
    /// What has been committed for certain. Of a transaction that is still open an event may be there
    /// already and the snapshot of what it applies to not yet.
    Stable,
}

/// A partition being read back.
struct Recovery<B: BoundedContext, R> {
    back: ReadBack<B>,
    /// Whether it reads snapshots at all; what stands on events alone has no use for any.
    snapshots: bool,
    /// The round that it stands on.
    round: Option<Complete>,
    /// What left memory before it.
    before: Before<R>,
    reader: R,
    assembler: Assembler,
    /// Records that were read beyond the last target.
    early: Vec<Record>,
}

impl<B: BoundedContext, R: LogReader> Recovery<B, R> {
    /// Loads the latest complete round, if there is one.
    fn open<L: EventLog<Reader = R>>(ground: &Ground<'_, B, L>) -> Result<Self, TakeOverError> {
        let options = ground.options;
        let stall = options.recovery_stall();
        let window = ResultWindow::new(
            options.results_kept,
            options.results_ttl_ms,
            options.memory_bytes,
        );
        let mut back = ReadBack::new(window);
        let mut reader = ground.log.reader(ReaderPurpose::Recovery)?;
        let journal = ground.at(B::CONTEXT.journal_topic());
        let (kept, _) = reader.watermarks(&journal)?;
        let found = if ground.snapshots {
            Checkpoint::find(ground, &mut reader, stall)?
        } else {
            None
        };
        if let Some(found) = &found {
            found.check_tail(kept)?;
        }
        let at = ground.at(B::CONTEXT.snapshots_topic());
        let (low, high) = reader.watermarks(&at)?;
        let from = found.as_ref().map_or(high, |found| found.offset.max(low));
        let begin = found.as_ref().map(|found| &found.begin);
        let start_of = |offset: Option<u64>| offset.map_or(Start::Beginning, Start::Offset);
        // A paused partition may still bring what was under way, so one without use is not assigned.
        let mut starts = Vec::new();
        if ground.snapshots {
            starts.push((at.clone(), Start::Offset(from)));
        }
        for stream in B::CONTEXT.streams() {
            let stand = begin.and_then(|begin| begin.streams.get(stream));
            let start = start_of(stand.map(|stand| stand.offset));
            starts.push((ground.at(stream.topic()), start));
        }
        // Results older than what the journal keeps are forgotten.
        let from = begin.map(|begin| begin.results_from.unwrap_or(begin.journal_offset).max(kept));
        starts.push((journal, start_of(from)));
        reader.assign(&starts)?;
        reader.pause(&ground.own())?;
        let mut assembler = Assembler::default();
        let before = match &found {
            Some(found) if found.begin.archived => Before::Unread {
                paged: found.begin.paged.clone(),
                to: found.offset,
            },
            found => {
                let to = found.as_ref().map_or(0, |found| found.offset);
                Before::Known(Scanned::nobody(to))
            }
        };
        if let Some(found) = &found {
            back.begin(&found.begin);
            read_to(&mut reader, &[(at, high)], stall, |record| {
                if let Some(whole) = assembler.take(&record)? {
                    back.take_snapshot(ground.context, whole)?;
                }
                Ok::<(), TakeOverError>(())
            })?;
            back.snapshots_read();
        }
        Ok(Self {
            back,
            snapshots: ground.snapshots,
            round: found.as_ref().map(Checkpoint::complete),
            before,
            reader,
            assembler,
            early: Vec::new(),
        })
    }

    /// Reads up to what the log holds now.
    fn catch_up<L: EventLog<Reader = R>>(
        &mut self,
        ground: &Ground<'_, B, L>,
        end: End,
        stall: Duration,
    ) -> Result<(), TakeOverError> {
        let (context, place) = (ground.context, ground.place);
        let own = ground.own();
        let mut targets = Vec::with_capacity(own.len());
        for at in &own {
            let end = match end {
                End::High => self.reader.watermarks(at)?.1,
                End::Stable => self.reader.stable_end(at)?,
            };
            targets.push((at.clone(), end));
        }
        // Asked for after the others: an aggregate that came back from the archive was written in
        // the transaction of its next event, and must be there before that event is applied.
        let at = ground.at(B::CONTEXT.snapshots_topic());
        let (_, high) = self.reader.watermarks(&at)?;
        let (back, assembler) = (&mut self.back, &mut self.assembler);
        let snapshots = [at.clone()];
        self.reader.pause(&own)?;
        if self.snapshots {
            self.reader.resume(&snapshots)?;
            read_to(&mut self.reader, &[(at, high)], stall, |record| {
                if let Some(whole) = assembler.take(&record)? {
                    back.take_late_snapshot(context, whole)?;
                }
                Ok::<(), TakeOverError>(())
            })?;
        }
        let beyond = |record: &Record| {
            let at = record.topic_partition();
            targets
                .iter()
                .any(|(target, end)| *target == at && record.offset >= *end)
        };
        let (later, now): (Vec<Record>, Vec<Record>) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(beyond);
        for record in &now {
            back.take(context, place, record)?;
        }
        let early = &mut self.early;
        *early = later;
        if self.snapshots {
            self.reader.pause(&snapshots)?;
        }
        self.reader.resume(&own)?;
        read_to(&mut self.reader, &targets, stall, |record| {
            if beyond(&record) {
                early.push(record);
                return Ok(());
            }
            back.take(context, place, &record)
        })
    }

    fn finish<L: EventLog<Reader = R>>(
        self,
        ground: &Ground<'_, B, L>,
        kept: &mut Option<Archive>,
    ) -> Result<ShardState<B>, TakeOverError> {
        let mut tail = Tail::default();
        for stream in B::CONTEXT.streams() {
            let position = self.reader.position(&ground.at(stream.topic()))?;
            tail.events.insert(*stream, position);
        }
        tail.journal = self
            .reader
            .position(&ground.at(B::CONTEXT.journal_topic()))?;
        let taken = self.back.taken;
        let (journal_from, _) = self
            .reader
            .watermarks(&ground.at(B::CONTEXT.journal_topic()))?;
        let first_time = self.back.first_time;
        let read_back::Finished {
            mut state,
            archived,
        } = self
            .back
            .finish(ground.context, ground.place, journal_from)?;
        state.tail = tail;
        state.rounds = Rounds::after(self.round, first_time, taken);
        let read_from = self.round.map_or(0, |round| round.offset);
        let earlier = self.before.into_earlier();
        state.archive = match earlier {
            Earlier::Unread { .. } => kept.take_if(|kept| kept.reaches(read_from)),
            Earlier::Known(_) => None,
        }
        .map(Archive::without_memory)
        .unwrap_or_else(|| Archive::after(ground.number, earlier, read_from));
        let in_memory = ground.context.ids_after(&state.aggregates, None);
        state.archive.settle(in_memory, archived);
        let now = state.last_time;
        state.memory_bytes = ground.options.memory_bytes;
        for id in ground.context.ids_after(&state.aggregates, None) {
            state.aggregate_bytes += ground.context.size_hint(&state.aggregates, id);
            if ground.context.is_finished(&state.aggregates, id) {
                state.archive.may_leave(now, id.to_owned());
            }
        }
        Ok(state)
    }
}
