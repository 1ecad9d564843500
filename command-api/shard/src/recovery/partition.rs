//! A partition on its way from the log into a state.

use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, LogError, LogReader, ReaderPurpose, Record, Start, read_to};

use super::before::Before;
use super::checkpoint::{Checkpoint, Hidden, epoch_of, last_journal_record};
use super::read_back::{self, ReadBack};
use super::{Ground, TakeOverError};
use crate::archive::{Archive, Earlier, Scanned};
use crate::results::ResultWindow;
use crate::snapshots::format::Assembler;
use crate::snapshots::{Complete, Rounds};
use crate::state::{ShardState, Tail};

/// How far the shard's own partitions are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// All that there is. After the fence, when no transaction of the shard is open any more.
    High,
    /// What has been committed for certain. Of a transaction that is still open an event may be there
    /// already and the snapshot of what it applies to not yet.
    Stable,
}

/// A partition being read back.
pub(super) struct Recovery<B: BoundedContext, R> {
    back: ReadBack<B>,
    /// The epoch of the journal's end when this was opened.
    pub(super) opened_in: u64,
    /// Whether it reads snapshots at all; what stands on events alone has no use for any.
    snapshots: bool,
    /// The round that it stands on.
    round: Option<Complete>,
    /// What left memory before it.
    pub(super) before: Before<R>,
    reader: R,
    assembler: Assembler,
    /// Records that were read beyond the last target.
    early: Vec<Record>,
}

impl<B: BoundedContext, R: LogReader> Recovery<B, R> {
    /// Loads the latest complete round, if there is one.
    pub(super) fn open<L: EventLog<Reader = R>>(
        ground: &Ground<'_, B, L>,
    ) -> Result<Self, TakeOverError> {
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
        let last = last_journal_record(ground, &mut reader, stall, Hidden::Awaited)?;
        let found = match &last {
            Some(last) if ground.snapshots => Checkpoint::find(ground, &mut reader, last, stall)?,
            _ => None,
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
            opened_in: epoch_of(last.as_ref()),
            snapshots: ground.snapshots,
            round: found.as_ref().map(Checkpoint::complete),
            before,
            reader,
            assembler,
            early: Vec::new(),
        })
    }

    /// The last epoch that was read.
    pub(super) const fn epoch(&self) -> u64 {
        self.back.state.epoch
    }

    /// Sends the reader anew to where it stands: it can have missed that there is more.
    pub(super) fn read_anew<L: EventLog<Reader = R>>(
        &mut self,
        ground: &Ground<'_, B, L>,
    ) -> Result<(), TakeOverError> {
        let snapshots = self
            .snapshots
            .then(|| ground.at(B::CONTEXT.snapshots_topic()));
        let places = ground.own().into_iter().chain(snapshots);
        let starts = places.map(|at| {
            let position = self.reader.position(&at)?;
            Ok((at, Start::Offset(position)))
        });
        let starts: Vec<_> = starts.collect::<Result<_, LogError>>()?;
        Ok(self.reader.assign(&starts)?)
    }

    /// Reads up to what the log holds now.
    pub(super) fn catch_up<L: EventLog<Reader = R>>(
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

    pub(super) fn finish<L: EventLog<Reader = R>>(
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
        let latest = self.back.latest_round().or(self.round);
        let read_back::Finished {
            mut state,
            archived,
        } = self
            .back
            .finish(ground.context, ground.place, journal_from)?;
        state.tail = tail;
        state.rounds = Rounds::after(latest, first_time, taken);
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
