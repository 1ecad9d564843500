//! Applying the tail of the log, and holding it against the journal.

use std::collections::{BTreeMap, HashMap};

use cartwright_domain::BoundedContext;
use cartwright_event_log::Record;
use cartwright_events::codec::CodecError;
use cartwright_events::journal::{DecidedCommand, INBOX_PASSED, JournalRecord, inbox_passed};
use cartwright_events::{Envelope, PositionToken, Stream, Timestamp};

use super::TakeOverError;
use crate::group::{Place, REQUIRES};
use crate::results::{Remembered, ResultKey, ResultWindow};
use crate::snapshots::format::{Kind, Unreadable, Whole};
use crate::snapshots::{Begin, Complete, named_by};
use crate::state::ShardState;

/// The state being rebuilt, and what the journal says it must be.
pub(super) struct ReadBack<B: BoundedContext> {
    pub(super) state: ShardState<B>,
    /// Events and results taken from the log.
    pub(super) taken: usize,
    /// Shard time of the first transaction of the journal that was read.
    pub(super) first_time: Option<Timestamp>,
    journaled: BTreeMap<String, u64>,
    first_transaction: u64,
    event_epochs: BTreeMap<Stream, u64>,
    /// Per aggregate from a snapshot, the events that it holds.
    as_of: HashMap<String, PositionToken>,
    /// Where the aggregates are that left memory.
    finished: HashMap<String, u64>,
    /// Aggregates in memory that their owner let go of while this stood by, and where they are.
    left: HashMap<String, u64>,
    /// The largest transaction that wrote a snapshot.
    snapshot_transaction: u64,
    /// The last transaction before the round that this stands on.
    begun_after: u64,
    /// By the offset of their beginning, rounds that were seen to begin; also the one that this stands on.
    begun: BTreeMap<u64, Complete>,
    /// The beginning of the latest complete round, as the last record of the journal has it.
    named: Option<u64>,
}

impl<B: BoundedContext> ReadBack<B> {
    pub(super) fn new(window: ResultWindow) -> Self {
        Self {
            state: ShardState::new(window),
            taken: 0,
            first_time: None,
            journaled: BTreeMap::new(),
            first_transaction: 0,
            event_epochs: BTreeMap::new(),
            as_of: HashMap::new(),
            finished: HashMap::new(),
            left: HashMap::new(),
            snapshot_transaction: 0,
            begun_after: 0,
            begun: BTreeMap::new(),
            named: None,
        }
    }

    /// The latest complete round. While somebody stood by there may have been several since the one that
    /// this stands on, whose beginning compaction may have taken by now.
    pub(super) fn latest_round(&self) -> Option<Complete> {
        self.begun.get(&self.named?).copied()
    }

    fn round_begins(&mut self, whole: &Whole) -> Result<(), Unreadable> {
        let begin: Begin = whole.read()?;
        self.begun
            .insert(whole.offset, begin.complete(whole.offset));
        Ok(())
    }

    /// The round has been read.
    pub(super) fn snapshots_read(&mut self) {
        self.state.results.read_from_snapshot();
    }

    /// Where the log stood when the round began that this stands on.
    pub(super) fn begin(&mut self, begin: &Begin) {
        let state = &mut self.state;
        state.epoch = begin.epoch;
        state.transaction = begin.transaction;
        self.begun_after = begin.transaction;
        state.inbox_position = begin.inbox_position;
        state.inbox_passed.clone_from(&begin.inbox_passed);
        state.last_time = begin.last_time;
        for (&stream, stand) in &begin.streams {
            if stand.seq > 0 {
                state.seqs.insert(stream, stand.seq);
                self.journaled.insert(stream.topic().to_owned(), stand.seq);
            }
            self.event_epochs.insert(stream, begin.epoch);
        }
    }

    /// A snapshot of the round that this stands on, or one written after it: the later one counts.
    pub(super) fn take_snapshot(&mut self, context: &B, whole: Whole) -> Result<(), Unreadable> {
        self.snapshot_transaction = self.snapshot_transaction.max(whole.transaction);
        match whole.kind {
            Kind::Begin => self.round_begins(&whole)?,
            Kind::Page => {}
            Kind::Live => {
                context.restore(&mut self.state.aggregates, &whole.name, whole.read()?);
                self.finished.remove(&whole.name);
                self.holds(whole);
            }
            Kind::Finished => {
                context.forget(&mut self.state.aggregates, &whole.name);
                self.finished.insert(whole.name.clone(), whole.offset);
                self.holds(whole);
            }
            Kind::Results => {
                for result in whole.read::<Vec<Remembered>>()? {
                    self.state.results.remember(
                        result.key,
                        result.fingerprint,
                        result.outcome,
                        result.decided_at,
                    );
                }
            }
        }
        Ok(())
    }

    fn holds(&mut self, whole: Whole) {
        if let Some(as_of) = whole.as_of {
            self.as_of.insert(whole.name, as_of);
        }
    }

    /// A snapshot written while the log was already being applied: what is in memory is as new as
    /// the log; only what came back from the archive is not there. What left memory at its owner
    /// leaves it here too, once everything is applied: whoever holds it writes its next events
    /// without a snapshot, and they would apply to nothing after the one that says that it left.
    pub(super) fn take_late_snapshot(
        &mut self,
        context: &B,
        whole: Whole,
    ) -> Result<(), Unreadable> {
        self.snapshot_transaction = self.snapshot_transaction.max(whole.transaction);
        let held = context.holds(&self.state.aggregates, &whole.name);
        match whole.kind {
            Kind::Live | Kind::Finished if !held => self.take_snapshot(context, whole)?,
            Kind::Live => drop(self.left.remove(&whole.name)),
            Kind::Finished => drop(self.left.insert(whole.name, whole.offset)),
            Kind::Begin => self.round_begins(&whole)?,
            Kind::Results | Kind::Page => {}
        }
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        context: &B,
        place: &Place,
        record: &Record,
    ) -> Result<(), TakeOverError> {
        let at = record.topic_partition();
        let Some(value) = &record.value else {
            return Err(TakeOverError::Refused(format!(
                "{at} offset {} has no value",
                record.offset
            )));
        };
        let refused = |error: CodecError| match error {
            CodecError::RegistryUnavailable { .. } => TakeOverError::Retry(error.to_string()),
            CodecError::NewerWriter { .. } => TakeOverError::Outdated(format!(
                "{at} offset {} is from a newer writer: upgrade this process",
                record.offset
            )),
            _ => TakeOverError::Refused(format!("{at} offset {}: {error}", record.offset)),
        };
        match Stream::of_topic(&record.topic) {
            Some(stream) => {
                let event = place.codec.decode_event(stream, value).map_err(refused)?;
                self.taken += 1;
                self.take_event(context, stream, record, &event)
            }
            None => {
                let journal = place.codec.decode_journal(B::CONTEXT, value);
                self.take_journal(record, journal.map_err(refused)?)
            }
        }
    }

    fn take_event(
        &mut self,
        context: &B,
        stream: Stream,
        record: &Record,
        event: &cartwright_events::Event,
    ) -> Result<(), TakeOverError> {
        let refuse = |problem: String| {
            TakeOverError::Refused(format!(
                "{} offset {}: {problem}",
                record.topic_partition(),
                record.offset
            ))
        };
        let recorded_at = Timestamp::from_micros(record.timestamp_us);
        let envelope = Envelope::read(
            stream,
            record.partition,
            record.offset,
            recorded_at,
            |name| record.header(name),
        )
        .map_err(|error| refuse(error.to_string()))?;
        let expected = self.state.next_seq(stream);
        if envelope.seq != expected {
            return Err(refuse(format!(
                "seq is {}, {expected} was due",
                envelope.seq
            )));
        }
        let epoch = self.event_epochs.entry(stream).or_default();
        if envelope.writer_epoch < *epoch {
            return Err(refuse(format!(
                "written in epoch {}, after epoch {epoch} had begun: two writers",
                envelope.writer_epoch
            )));
        }
        *epoch = envelope.writer_epoch;
        let held = self.as_of.get(&event.aggregate_id);
        if held.is_some_and(|as_of| envelope.seq <= as_of.seq(stream, record.partition)) {
            return Ok(());
        }
        context
            .evolve(&mut self.state.aggregates, event, envelope.seq)
            .map_err(|error| refuse(error.to_string()))
    }

    fn take_journal(
        &mut self,
        record: &Record,
        journal: JournalRecord,
    ) -> Result<(), TakeOverError> {
        let offset = record.offset;
        self.named = named_by(record).ok().flatten();
        if let Some(named) = self.named {
            self.begun.retain(|begun, _| *begun >= named);
        }
        if let Some(unknown) = unknown_requirement(record) {
            return Err(TakeOverError::Outdated(format!(
                "transaction {} requires `{unknown}` of its reader, from a newer writer: upgrade this process",
                journal.transaction
            )));
        }
        if journal.transaction <= self.begun_after {
            // Read for its results alone.
            self.remember(offset, journal.decided_at, journal.decided);
            return Ok(());
        }
        let state = &mut self.state;
        if state.transaction == 0 {
            self.first_transaction = journal.transaction;
            self.first_time = Some(journal.decided_at);
        } else if journal.transaction != state.transaction + 1 {
            return Err(TakeOverError::Refused(format!(
                "the journal jumps from transaction {} to {}",
                state.transaction, journal.transaction
            )));
        }
        if journal.writer_epoch < state.epoch {
            return Err(TakeOverError::Refused(format!(
                "transaction {} was written in epoch {}, after epoch {} had begun: two writers",
                journal.transaction, journal.writer_epoch, state.epoch
            )));
        }
        state.transaction = journal.transaction;
        state.epoch = journal.writer_epoch;
        state.inbox_position = journal.inbox_position;
        state.inbox_passed = inbox_passed(record.header(INBOX_PASSED)).map_err(|error| {
            TakeOverError::Refused(format!(
                "transaction {}, header {INBOX_PASSED}: {error}",
                journal.transaction
            ))
        })?;
        state.last_time = state.last_time.max(journal.decided_at);
        for range in journal.ranges {
            if let Some(last) = self.journaled.insert(range.topic.clone(), range.last)
                && range.first != last + 1
            {
                return Err(TakeOverError::Refused(format!(
                    "the journal of {} jumps from seq {last} to {}",
                    range.topic, range.first
                )));
            }
        }
        self.taken += journal.decided.len();
        self.remember(offset, journal.decided_at, journal.decided);
        Ok(())
    }

    fn remember(&mut self, offset: u64, decided_at: Timestamp, decided: Vec<DecidedCommand>) {
        let results = &mut self.state.results;
        for decided in decided {
            let key = decided.idempotency_key.as_deref();
            let key = ResultKey::new(key, &decided.command_id);
            results.remember(key, decided.fingerprint, decided.outcome, decided_at);
        }
        results.journaled(offset);
    }

    /// Every event must lie in a range that the journal names, and every range must be there: half
    /// a transaction (from a delayed end of an earlier one) would show as a difference here.
    /// `journal_from` is where the journal begins: retention may have taken what was before.
    pub(super) fn finish(
        mut self,
        context: &B,
        place: &Place,
        journal_from: u64,
    ) -> Result<Finished<B>, TakeOverError> {
        if self.state.transaction == 0 && journal_from > 0 {
            // Epoch, inbox position and number of the last transaction are nowhere else.
            return Err(TakeOverError::Refused(format!(
                "{}[{}] has lost all of its records: it begins at offset {journal_from}, and \
                 nothing is there",
                B::CONTEXT.journal_topic(),
                place.partition,
            )));
        }
        if self.snapshot_transaction > self.state.transaction {
            return Err(TakeOverError::Refused(format!(
                "{}[{}] has a snapshot of transaction {}, but its journal ends at {}: a \
                 transaction was committed in part",
                B::CONTEXT.snapshots_topic(),
                place.partition,
                self.snapshot_transaction,
                self.state.transaction
            )));
        }
        let trimmed = self.first_transaction > 1;
        for stream in B::CONTEXT.streams() {
            let written = self.state.seqs.get(stream).copied().unwrap_or_default();
            let journaled = self.journaled.get(stream.topic()).copied();
            let agree = match journaled {
                Some(last) => last == written,
                None => written == 0 || trimmed,
            };
            if !agree {
                return Err(TakeOverError::Refused(format!(
                    "{}[{}] ends at seq {written}, but its journal at seq {}: a transaction was \
                     committed in part",
                    stream.topic(),
                    place.partition,
                    journaled.unwrap_or_default()
                )));
            }
        }
        for (id, offset) in self.left {
            context.forget(&mut self.state.aggregates, &id);
            self.finished.insert(id, offset);
        }
        Ok(Finished {
            state: self.state,
            archived: self.finished,
        })
    }
}

/// What a newer version asks of those who go on from this record, and this one does not know.
fn unknown_requirement(journal: &Record) -> Option<String> {
    let required = String::from_utf8_lossy(journal.header(REQUIRES)?);
    let unknown = required.split(',').find(|name| *name != INBOX_PASSED);
    unknown.map(str::to_owned)
}

/// What was read back.
pub(super) struct Finished<B: BoundedContext> {
    pub(super) state: ShardState<B>,
    /// Aggregates that were seen to leave memory, and where.
    pub(super) archived: HashMap<String, u64>,
}
