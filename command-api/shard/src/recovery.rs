//! Taking a partition over: fence, read back, check, and write the new epoch.
//!
//! The target of the read is the HIGH watermark of the partitions that only this shard writes. The
//! last stable offset would not do: it can stand before records that are already committed
//! (KAFKA-10167), and a shard that misses its own events decides on a state that never was.

use std::collections::BTreeMap;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{
    CommitError, EventLog, LogError, LogReader, LogWriter, ReaderPurpose, Record, Start,
    TopicPartition, read_to,
};
use cartwright_events::codec::CodecError;
use cartwright_events::journal::JournalRecord;
use cartwright_events::{Envelope, Stream, Timestamp};
use thiserror::Error;

use crate::clock::Clock;
use crate::group::{Group, Place};
use crate::options::ShardOptions;
use crate::outcome::Outcome;
use crate::results::{ResultKey, ResultWindow};
use crate::state::ShardState;

/// Why a take-over did not end in serving.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TakeOverError {
    /// Try again after a pause.
    #[error("{0}")]
    Retry(String),
    /// Another process took the partition over meanwhile.
    #[error("fenced by another process")]
    Fenced,
    /// The log holds what must not be written after. For a person to look at.
    #[error("{0}")]
    Refused(String),
}

impl From<LogError> for TakeOverError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Fenced { .. } => TakeOverError::Fenced,
            LogError::OutOfRange { .. }
            | LogError::UnknownTopic { .. }
            | LogError::UnknownPartition(_) => TakeOverError::Refused(error.to_string()),
            other => TakeOverError::Retry(other.to_string()),
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

/// Everything that a take-over needs, before it fences anybody: a producer that is connected, and as
/// much of the log as has been read. So the gap between two owners is the rest of the log and the
/// fence itself.
pub(crate) struct Standby<B: BoundedContext, L: EventLog> {
    writer: L::Writer,
    reader: L::Reader,
    own: Vec<TopicPartition>,
    back: ReadBack<B>,
}

impl<B: BoundedContext, L: EventLog> Standby<B, L> {
    /// Connects, and stands at the beginning of the partition's own topics.
    pub(crate) fn prepare(
        log: &L,
        place: &Place,
        options: &ShardOptions,
    ) -> Result<Self, TakeOverError> {
        let writer = log.writer(&B::CONTEXT.transactional_id(place.partition))?;
        let mut reader = log.reader(ReaderPurpose::Recovery)?;
        let own: Vec<TopicPartition> = B::CONTEXT
            .streams()
            .iter()
            .map(|stream| stream.topic())
            .chain([B::CONTEXT.journal_topic()])
            .map(|topic| TopicPartition::new(topic, place.partition))
            .collect();
        let starts: Vec<_> = own
            .iter()
            .map(|at| (at.clone(), Start::Beginning))
            .collect();
        reader.assign(&starts)?;
        let window = ResultWindow::new(options.results_kept, options.results_ttl_ms);
        Ok(Self {
            writer,
            reader,
            own,
            back: ReadBack::new(place.clone(), window),
        })
    }

    /// Reads up to where the partition ends now.
    pub(crate) fn catch_up(
        &mut self,
        context: &B,
        options: &ShardOptions,
    ) -> Result<(), TakeOverError> {
        let mut targets = Vec::with_capacity(self.own.len());
        for at in &self.own {
            targets.push((at.clone(), self.reader.watermarks(at)?.1));
        }
        let back = &mut self.back;
        read_to(
            &mut self.reader,
            &targets,
            options.recovery_stall(),
            |record| back.take(context, &record),
        )
    }

    /// Fences whoever held the partition, reads the rest of it, and writes the new epoch.
    pub(crate) fn take_over(
        mut self,
        context: &B,
        options: &ShardOptions,
        clock: &dyn Clock,
    ) -> Result<(L::Writer, ShardState<B>), TakeOverError> {
        self.writer.take_over()?;
        self.catch_up(context, options)?;
        let Self {
            mut writer, back, ..
        } = self;
        let place = back.place.clone();
        let mut state = back.finish()?;
        let behind_ms = (state.last_time.as_micros() - clock.now().as_micros()) / 1000;
        if behind_ms > options.max_clock_skew_ms {
            return Err(TakeOverError::Retry(format!(
                "this machine's clock is {behind_ms} ms behind the log; at most {} ms is allowed",
                options.max_clock_skew_ms
            )));
        }
        state.epoch += 1;
        let mut first = Group::<B::Command>::new(clock.now().max(state.last_time));
        first.close(&mut state, &place);
        let receipt = writer.commit(first.records)?;
        if receipt.doubtful {
            return Err(TakeOverError::Retry(
                "the commit of the epoch is in doubt".to_owned(),
            ));
        }
        Ok((writer, state))
    }
}

/// The state being rebuilt, and what the journal says it must be.
struct ReadBack<B: BoundedContext> {
    place: Place,
    state: ShardState<B>,
    journaled: BTreeMap<String, u64>,
    first_transaction: u64,
    event_epochs: BTreeMap<Stream, u64>,
}

impl<B: BoundedContext> ReadBack<B> {
    fn new(place: Place, window: ResultWindow) -> Self {
        Self {
            place,
            state: ShardState::new(window),
            journaled: BTreeMap::new(),
            first_transaction: 0,
            event_epochs: BTreeMap::new(),
        }
    }

    fn take(&mut self, context: &B, record: &Record) -> Result<(), TakeOverError> {
        let at = record.topic_partition();
        let Some(value) = &record.value else {
            return Err(TakeOverError::Refused(format!(
                "{at} offset {} has no value",
                record.offset
            )));
        };
        let refused = |error: CodecError| match error {
            CodecError::RegistryUnavailable { .. } => TakeOverError::Retry(error.to_string()),
            _ => TakeOverError::Refused(format!("{at} offset {}: {error}", record.offset)),
        };
        match Stream::of_topic(&record.topic) {
            Some(stream) => {
                let event = self
                    .place
                    .codec
                    .decode_event(stream, value)
                    .map_err(refused)?;
                self.take_event(context, stream, record, &event)
            }
            None => {
                let journal = self
                    .place
                    .codec
                    .decode_journal(B::CONTEXT, value)
                    .map_err(refused)?;
                self.take_journal(journal)
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
            &record.headers,
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
        context
            .evolve(&mut self.state.aggregates, event, envelope.seq)
            .map_err(|error| refuse(error.to_string()))
    }

    fn take_journal(&mut self, journal: JournalRecord) -> Result<(), TakeOverError> {
        let state = &mut self.state;
        if state.transaction == 0 {
            self.first_transaction = journal.transaction;
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
        for decided in journal.decided {
            let outcome: Outcome = serde_json::from_str(&decided.outcome).map_err(|error| {
                TakeOverError::Refused(format!(
                    "the outcome of command {} in transaction {} is unreadable: {error}",
                    decided.command_id, journal.transaction
                ))
            })?;
            let key = match decided.idempotency_key {
                Some(key) => ResultKey::Idempotency(key),
                None => ResultKey::Command(decided.command_id),
            };
            state
                .results
                .remember(key, decided.fingerprint, outcome, journal.decided_at);
        }
        Ok(())
    }

    /// Every event must lie in a range that the journal names, and every range must be there: half
    /// a transaction (from a delayed end of an earlier one) would show as a difference here.
    fn finish(self) -> Result<ShardState<B>, TakeOverError> {
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
                    self.place.partition,
                    journaled.unwrap_or_default()
                )));
            }
        }
        Ok(self.state)
    }
}
