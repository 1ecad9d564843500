//! One partition of a projection: where it stands, and what records make of it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use cartwright_event_log::{Record, Start, TopicPartition};
use cartwright_events::codec::{Codec, CodecError};
use cartwright_events::{Envelope, Stream, Timestamp};
use cartwright_folds::Outcome;
use cartwright_read_model::{ParkReason, ParkedRow, Position, PositionKey};
use cartwright_sinks::{Batch, Loaded, SeqOp};

use crate::plan::Plan;

/// Why no more records can be taken now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Something outside does not answer: try again later.
    Wait(String),
    /// Going on would lose or invent something: the projection stops until somebody has looked.
    Stop(String),
    /// The log's client is broken: begin anew with another.
    Fail(String),
}

/// What was taken in since the last batch.
#[derive(Debug, Default)]
struct Pending {
    ops: Vec<SeqOp>,
    parked: Vec<ParkedRow>,
    records: usize,
    dropped: usize,
}

/// A batch, and what it was made of.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) batch: Arc<Batch>,
    pub(crate) records: usize,
    pub(crate) dropped: usize,
}

/// A partition that this worker owns.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) at: TopicPartition,
    key: PositionKey,
    /// Loaded, and the reader told where to start.
    pub(crate) started: bool,
    /// As the store has it.
    stored: Option<Position>,
    /// After every record taken in so far.
    next: Position,
    parked_keys: HashSet<String>,
    pending: Pending,
    /// Read from the log, not yet taken in.
    pub(crate) backlog: VecDeque<Record>,
    /// Given to the sink, outcome unknown.
    pub(crate) in_doubt: Option<Cut>,
}

/// A partition of a topic that the projection doesn't consume was assigned.
pub(crate) fn not_consumed(at: &TopicPartition) -> Halt {
    Halt::Stop(format!("{at} is not a partition of this projection"))
}

impl Partition {
    pub(crate) fn new(plan: &Plan, at: TopicPartition) -> Result<Self, Halt> {
        let stream = Stream::of_topic(&at.topic)
            .filter(|stream| plan.projection.streams.contains(stream))
            .ok_or_else(|| not_consumed(&at))?;
        Ok(Self {
            key: PositionKey {
                projection: plan.projection.name,
                version: plan.version,
                stream,
                partition: at.partition,
            },
            at,
            started: false,
            stored: None,
            next: beginning(plan.generation),
            parked_keys: HashSet::new(),
            pending: Pending::default(),
            backlog: VecDeque::new(),
            in_doubt: None,
        })
    }

    pub(crate) fn key(&self) -> &PositionKey {
        &self.key
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.stored
    }

    pub(crate) fn parked_keys(&self) -> usize {
        self.parked_keys.len()
    }

    /// Forgets what it holds in memory: the store is asked again.
    pub(crate) fn reset(&mut self) {
        self.started = false;
        self.pending = Pending::default();
        self.backlog.clear();
        self.in_doubt = None;
    }

    /// Takes over what is stored, and says where to read from.
    pub(crate) fn start(&mut self, plan: &Plan, loaded: Loaded) -> Result<Start, Halt> {
        self.reset();
        self.stored = loaded.position;
        self.parked_keys = loaded.parked.into_iter().map(|parked| parked.key).collect();
        match loaded.position {
            Some(position) if position.generation > plan.generation => Err(Halt::Stop(format!(
                "{}: the stored position is of generation {} of the log, this log is of \
                 generation {}",
                self.at, position.generation, plan.generation
            ))),
            Some(position) if position.generation == plan.generation => {
                self.next = position;
                Ok(Start::Offset(position.next_offset))
            }
            // Of an older log: this one is another, to be read from its beginning.
            Some(_) | None => {
                self.next = beginning(plan.generation);
                Ok(Start::Beginning)
            }
        }
    }

    /// Takes in the records that were read, until the batch is large enough. Answers whether the
    /// backlog is empty.
    pub(crate) fn take_in(
        &mut self,
        plan: &Plan,
        codec: &Codec,
        max_rows: usize,
        max_parked_keys: usize,
    ) -> Result<bool, Halt> {
        while self.pending.ops.len() < max_rows {
            let Some(record) = self.backlog.pop_front() else {
                return Ok(true);
            };
            if let Err(halt) = self.take(plan, codec, &record) {
                self.backlog.push_front(record);
                return Err(halt);
            }
            if self.parked_keys.len() > max_parked_keys {
                return Err(Halt::Stop(format!(
                    "{}: more than {max_parked_keys} keys are parked; the last one at offset {}",
                    self.at, record.offset
                )));
            }
        }
        Ok(self.backlog.is_empty())
    }

    /// Started, with nothing read that is not in the store.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.started && self.backlog.is_empty() && self.in_doubt.is_none() && !self.has_moved()
    }

    /// Everything recorded up to `now` has been read, up to the offset `read`.
    pub(crate) fn is_current(&mut self, read: u64, now: Timestamp) {
        self.next.next_offset = self.next.next_offset.max(read);
        self.next.recorded_at = self.next.recorded_at.max(now);
    }

    fn has_moved(&self) -> bool {
        match self.stored {
            Some(stored) if stored.generation == self.next.generation => self.next != stored,
            _ => self.next != beginning(self.next.generation),
        }
    }

    /// What was taken in since the last batch, if anything.
    pub(crate) fn cut(&mut self) -> Option<Cut> {
        if !self.has_moved() {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        Some(Cut {
            batch: Arc::new(Batch {
                key: self.key.clone(),
                expected: self.stored,
                next: self.next,
                ops: pending.ops,
                parked: pending.parked,
            }),
            records: pending.records,
            dropped: pending.dropped,
        })
    }

    /// The batch is in the store.
    pub(crate) fn applied(&mut self, cut: &Cut) {
        self.stored = Some(cut.batch.next);
    }

    fn take(&mut self, plan: &Plan, codec: &Codec, record: &Record) -> Result<(), Halt> {
        if record.offset < self.next.next_offset {
            return Ok(());
        }
        let recorded_at = Timestamp::from_micros(record.timestamp_us);
        let key = key_text(record);
        let envelope = Envelope::read(
            self.key.stream,
            record.partition,
            record.offset,
            recorded_at,
            &record.headers,
        );
        let envelope = match envelope {
            Ok(envelope) => envelope,
            // No shard wrote it: it takes no place among the seqs.
            Err(invalid) => {
                let reason = format!("not written by a shard: {invalid}");
                self.park(key, record.offset, 0, ParkReason::Rejected(reason));
                self.advance(record, self.next.seq);
                return Ok(());
            }
        };
        self.check_dense(&envelope)?;
        if self.parked_keys.contains(&key) {
            self.park(key, record.offset, envelope.seq, ParkReason::Behind);
        } else {
            match outcome(plan, codec, &envelope, record, &key)? {
                Outcome::Emit(ops) => {
                    let seq = envelope.seq;
                    let ops = ops.into_iter().map(|op| SeqOp { seq, op });
                    self.pending.ops.extend(ops);
                }
                Outcome::Drop(_) => self.pending.dropped += 1,
                Outcome::Reject(reason) => {
                    let reason = ParkReason::Rejected(reason);
                    self.park(key, record.offset, envelope.seq, reason);
                }
            }
        }
        self.advance(record, envelope.seq);
        Ok(())
    }

    fn advance(&mut self, record: &Record, seq: u64) {
        self.pending.records += 1;
        self.next = Position {
            generation: self.next.generation,
            next_offset: record.offset + 1,
            seq,
            // Kafka's times may step back when a broker's clock does; freshness must not.
            recorded_at: self
                .next
                .recorded_at
                .max(Timestamp::from_micros(record.timestamp_us)),
        };
    }

    fn park(&mut self, key: String, offset: u64, seq: u64, reason: ParkReason) {
        let behind = reason == ParkReason::Behind;
        if !behind {
            tracing::warn!(
                projection = self.key.projection,
                partition = %self.at,
                key,
                offset,
                seq,
                reason = reason.text(),
                "a record is parked, and with it what follows for its key"
            );
        }
        self.parked_keys.insert(key.clone());
        self.pending.parked.push(ParkedRow {
            key,
            offset,
            seq,
            reason,
        });
    }

    /// Seqs have no gap and no repeat: the proof that nothing was missed.
    fn check_dense(&self, envelope: &Envelope) -> Result<(), Halt> {
        let expected = self.next.seq + 1;
        if envelope.seq == expected {
            return Ok(());
        }
        let problem = match envelope.seq > expected {
            true => "events are missing before it",
            false => "that seq was there before",
        };
        Err(Halt::Stop(format!(
            "{} offset {}: seq {} where {expected} is due: {problem}",
            self.at, envelope.offset, envelope.seq
        )))
    }
}

fn beginning(generation: u32) -> Position {
    Position {
        generation,
        next_offset: 0,
        seq: 0,
        recorded_at: Timestamp::EPOCH,
    }
}

/// The key as text; records of ours have nothing else.
fn key_text(record: &Record) -> String {
    let key = record.key.as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(key).replace('\0', "\u{fffd}");
    // A store's key is neither empty nor endless. Distinct keys may come to share a name here,
    // which parks more than needed and loses nothing.
    match text.char_indices().nth(MAX_PARKED_KEY_CHARS) {
        _ if text.is_empty() => "(no key)".to_owned(),
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

const MAX_PARKED_KEY_CHARS: usize = 120;

/// Decodes and folds.
fn outcome(
    plan: &Plan,
    codec: &Codec,
    envelope: &Envelope,
    record: &Record,
    key: &str,
) -> Result<Outcome, Halt> {
    let at = || format!("{} offset {}", record.topic_partition(), record.offset);
    let Some(value) = &record.value else {
        return Ok(Outcome::Reject("has no value".to_owned()));
    };
    let event = match codec.decode_event(envelope.stream, value) {
        Ok(event) => event,
        Err(CodecError::Malformed { problem, .. }) => {
            return Ok(Outcome::Reject(format!("malformed: {problem}")));
        }
        Err(error @ CodecError::RegistryUnavailable(_)) => {
            return Err(Halt::Wait(error.to_string()));
        }
        Err(
            error @ (CodecError::NewerWriter { .. }
            | CodecError::UnknownSchema { .. }
            | CodecError::NotRegistered { .. }),
        ) => return Err(Halt::Stop(format!("{}: {error}", at()))),
    };
    if event.aggregate_id != key {
        let id = &event.aggregate_id;
        return Ok(Outcome::Reject(format!(
            "is about {id:?}, not about its key"
        )));
    }
    Ok((plan.fold)(envelope, &event))
}
