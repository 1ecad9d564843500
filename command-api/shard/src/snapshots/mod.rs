//! Snapshots, which bound what a take-over has to read.
//!
//! A *round* writes every aggregate in memory into the snapshots topic, a little in each transaction.
//! It begins with a record that says where the log stood; a take-over loads the round and then reads
//! the log from there. Every journal record names the latest round that is complete. Because
//! aggregates are written while the shard goes on, each says up to which seqs it holds the events,
//! and those are not applied to it again.
//!
//! Results by idempotency key are read from the journal, a little further back, where they stand
//! close together; where they are far between, the round writes them as well. Finished aggregates
//! leave memory when a round comes to them, so that none is written twice for nothing.

pub(crate) mod add;
pub(crate) mod format;
mod piece;

use std::collections::{BTreeMap, BTreeSet};

use cartwright_domain::BoundedContext;
use cartwright_event_log::Record;
use cartwright_events::{Stream, Timestamp};
use serde::{Deserialize, Serialize};

use crate::archive::Paged;
use crate::options::ShardOptions;
use crate::state::ShardState;
use format::{Kind, Unreadable};
use piece::Piece;

/// Header of journal records: offset of the latest complete round's beginning.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Results in one record.
const RESULTS_PER_RECORD: usize = 200;

/// Where a stream stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stand {
    /// Last seq.
    pub(crate) seq: u64,
    /// An offset at or before the next record.
    pub(crate) offset: u64,
}

/// What a round begins with: where the log stood before its first transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) round: u64,
    pub(crate) epoch: u64,
    pub(crate) transaction: u64,
    pub(crate) inbox_position: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) inbox_passed: BTreeSet<u64>,
    pub(crate) last_time: Timestamp,
    pub(crate) streams: BTreeMap<Stream, Stand>,
    pub(crate) journal_offset: u64,
    /// Where the journal holds the results that are remembered; `None` when the round holds them.
    pub(crate) results_from: Option<u64>,
    /// Whether aggregates had left memory by then: they are to be looked for before this record.
    pub(crate) archived: bool,
    /// Where it says where they are.
    #[serde(default)]
    pub(crate) paged: Paged,
}

impl Begin {
    pub(crate) fn of<B: BoundedContext>(state: &ShardState<B>, round: u64, reach: u64) -> Self {
        let stand = |stream: &Stream| Stand {
            seq: state.seqs.get(stream).copied().unwrap_or_default(),
            offset: state.tail.events.get(stream).copied().unwrap_or_default(),
        };
        let streams = B::CONTEXT.streams().iter();
        Self {
            round,
            epoch: state.epoch,
            transaction: state.transaction,
            inbox_position: state.inbox_position,
            inbox_passed: state.inbox_passed.clone(),
            last_time: state.last_time,
            streams: streams.map(|stream| (*stream, stand(stream))).collect(),
            journal_offset: state.tail.journal,
            results_from: results_in_journal(state, reach),
            archived: !state.archive.is_empty(),
            paged: state.archive.paged().clone(),
        }
    }

    /// Its round, written to the end, with this beginning at `offset`.
    pub(crate) const fn complete(&self, offset: u64) -> Complete {
        Complete {
            number: self.round,
            offset,
            begun_at: self.last_time,
        }
    }
}

/// Where the round begins that a record of the journal names, if it names one.
pub(crate) fn named_by(journal: &Record) -> Result<Option<u64>, Unreadable> {
    let Some(offset) = journal.header(CHECKPOINT) else {
        return Ok(None);
    };
    let offset = std::str::from_utf8(offset).ok();
    match offset.and_then(|text| text.parse().ok()) {
        Some(offset) => Ok(Some(offset)),
        None => Err(Unreadable {
            offset: journal.offset,
            problem: format!("header {CHECKPOINT} of the journal is no offset"),
        }),
    }
}

/// How far a round has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cursor {
    Aggregates { after: Option<String> },
    Results { next: u64, number: u64 },
    Written,
}

#[derive(Debug)]
struct Round {
    begin: Begin,
    /// Known once its transaction is committed.
    begin_offset: Option<u64>,
    cursor: Cursor,
    /// The last aggregate and the number of the last result when it began. What is newer is in the
    /// tail; without these ends a busy shard would write new ones as fast as the round does.
    last_id: Option<String>,
    last_result: u64,
}

/// A round that was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Complete {
    pub(crate) number: u64,
    /// Offset of its beginning.
    pub(crate) offset: u64,
    /// Shard time of the last transaction before it: what a take-over reads of the journal is newer.
    pub(crate) begun_at: Timestamp,
}

/// The rounds of one shard.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The latest one that a take-over can stand on.
    complete: Option<Complete>,
    current: Option<Round>,
    /// Shard time of the first transaction that the journal has; before there is a round, a take-over
    /// needs the journal since then.
    first_time: Option<Timestamp>,
    /// Events and results since the latest round began.
    since: usize,
}

/// From where the results are to be read in the journal, unless it would have to be read too far: a
/// transaction takes two offsets, and many have no result.
fn results_in_journal<B: BoundedContext>(state: &ShardState<B>, reach: u64) -> Option<u64> {
    let from = state.results.in_journal_from()?;
    let transactions = state.tail.journal.saturating_sub(from) / 2;
    let near = 2 * state.results.len() as u64 + reach;
    (transactions <= near).then_some(from)
}

impl Rounds {
    /// After a take-over that stood on `complete`, if there was a round, and otherwise on a journal
    /// that begins at `first_time`, if it has anything; and read `since` more.
    pub(crate) const fn after(
        complete: Option<Complete>,
        first_time: Option<Timestamp>,
        since: usize,
    ) -> Self {
        Self {
            complete,
            current: None,
            first_time,
            since,
        }
    }

    /// A transaction of this time is in the journal: its first, if none was before.
    pub(crate) fn journal_begins(&mut self, time: Timestamp) {
        self.first_time.get_or_insert(time);
    }

    /// Offset of the latest complete round's beginning.
    pub(crate) fn complete_from(&self) -> Option<u64> {
        self.complete.map(|complete| complete.offset)
    }

    /// When the next round is due however little happens: the journal is kept for a bounded time,
    /// and a take-over needs all of it since the round began that it stands on.
    pub(crate) fn due_by_age(&self, most_age_ms: i64) -> Option<Timestamp> {
        let begun_at = self.complete.map(|complete| complete.begun_at);
        Some(begun_at.or(self.first_time)?.plus_millis(most_age_ms))
    }

    /// Whether the next transaction should come soon, because a round is under way.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.current.is_some()
    }

    pub(crate) fn count(&mut self, events_and_results: usize) {
        self.since += events_and_results;
    }

    /// Begins a round when the tail has grown beyond its bound and beyond half the number of
    /// aggregates, so that at most two are written again for each event or result; or when the round
    /// that a take-over would stand on is old, or the journal where there is none.
    pub(crate) fn begin_if_due<B: BoundedContext>(
        state: &mut ShardState<B>,
        context: &B,
        options: &ShardOptions,
        now: Timestamp,
    ) {
        let size = context.count(&state.aggregates);
        let rounds = &state.rounds;
        let long = rounds.since >= options.checkpoint_tail.max(size / 2);
        let old = rounds.due_by_age(options.checkpoint_age_ms);
        if rounds.current.is_some() || !(long || old.is_some_and(|due| due <= now)) {
            return;
        }
        let number = rounds.complete.map_or(0, |complete| complete.number) + 1;
        let begin = Begin::of(state, number, options.results_reach);
        let mut ids = context.ids_after(&state.aggregates, None);
        let last_id = ids.next_back().map(str::to_owned);
        drop(ids);
        state.rounds.since = 0;
        state.rounds.current = Some(Round {
            begin,
            begin_offset: None,
            cursor: Cursor::Aggregates { after: None },
            last_id,
            last_result: state.results.end(),
        });
    }

    /// The next piece of the round, of about `most_bytes`. To be called once per transaction, after
    /// its events have been applied; `touched` are the aggregates that they are of.
    pub(crate) fn contribute<B: BoundedContext>(
        state: &mut ShardState<B>,
        touched: &BTreeSet<String>,
        most_bytes: usize,
        piece: &mut Piece<'_, B>,
    ) -> Result<(), serde_json::Error> {
        let Some(mut round) = state.rounds.current.take() else {
            return Ok(());
        };
        if round.cursor == (Cursor::Aggregates { after: None }) && round.begin_offset.is_none() {
            piece.begin(&round.begin)?;
        }
        let full_at = piece.bytes() + most_bytes;
        round.aggregates(state, touched, full_at, piece)?;
        round.results(state, full_at, piece)?;
        match round {
            Round {
                cursor: Cursor::Written,
                begin_offset: Some(offset),
                begin,
                ..
            } => state.rounds.complete = Some(begin.complete(offset)),
            unfinished => state.rounds.current = Some(unfinished),
        }
        Ok(())
    }

    /// The transaction with the round's beginning is committed.
    pub(crate) fn begun_at(&mut self, offset: u64) {
        if let Some(round) = &mut self.current {
            round.begin_offset = Some(offset);
        }
    }
}

impl Round {
    /// Writes aggregates in the order of their ids, until the piece has `full_at` bytes.
    fn aggregates<B: BoundedContext>(
        &mut self,
        state: &ShardState<B>,
        touched: &BTreeSet<String>,
        full_at: usize,
        piece: &mut Piece<'_, B>,
    ) -> Result<(), serde_json::Error> {
        let Cursor::Aggregates { after } = &mut self.cursor else {
            return Ok(());
        };
        let from = after.clone();
        let ids = piece.context.ids_after(&state.aggregates, from.as_deref());
        for id in ids.take_while(|id| self.last_id.as_deref() >= Some(id)) {
            if piece.is_full(full_at) {
                return Ok(());
            }
            *after = Some(id.to_owned());
            if state.archive.unchanged_at(id).is_some() {
                continue; // its last snapshot is what it was
            }
            let leaves = !touched.contains(id) && piece.context.is_finished(&state.aggregates, id);
            let kind = if leaves { Kind::Finished } else { Kind::Live };
            piece.aggregate(state, kind, id)?;
        }
        self.cursor = match self.begin.results_from {
            Some(_) => Cursor::Written,
            None => Cursor::Results { next: 0, number: 0 },
        };
        Ok(())
    }

    /// Writes results in the order in which they were decided, until the piece has `full_at` bytes.
    fn results<B: BoundedContext>(
        &mut self,
        state: &ShardState<B>,
        full_at: usize,
        piece: &mut Piece<'_, B>,
    ) -> Result<(), serde_json::Error> {
        while let Cursor::Results { next, number } = &mut self.cursor
            && !piece.is_full(full_at)
        {
            let left = self.last_result.saturating_sub(*next);
            let most = usize::try_from(left)
                .map_or(RESULTS_PER_RECORD, |left| left.min(RESULTS_PER_RECORD));
            let (results, following) = state.results.from(*next, most);
            if results.is_empty() {
                self.cursor = Cursor::Written;
                return Ok(());
            }
            piece.results(self.begin.round, *number, &results)?;
            (*next, *number) = (following, *number + 1);
        }
        Ok(())
    }
}
