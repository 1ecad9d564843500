//! One partition of a projection: where it stands, and what records make of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use cartwright_event_log::{Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Envelope, Stream, Timestamp};
use cartwright_folds::Outcome;
use cartwright_read_model::{ParkReason, ParkRequest, ParkedRow, Position, PositionKey};
use cartwright_sinks::{Batch, Loaded, SeqOp, Unparked};

use crate::folding::{envelope, foreign, key_text, outcome};
use crate::halt::{Halt, not_consumed};
use crate::parked::Parked;
use crate::plan::{Limits, Plan};
use crate::unpark::Drain;

/// What was taken in since the last batch.
#[derive(Debug, Default)]
struct Pending {
    ops: Vec<SeqOp>,
    parked: Vec<ParkedRow>,
    records: usize,
    dropped: usize,
    /// When the log took the first of them.
    first_at: Option<Timestamp>,
}

/// A batch, and what it was made of.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) batch: Arc<Batch>,
    pub(crate) records: usize,
    pub(crate) dropped: usize,
    /// Records that it puts aside for the first time.
    pub(crate) parked: usize,
    /// When the log took the first of its records.
    first_at: Option<Timestamp>,
}

/// A partition that this worker owns.
pub(crate) struct Partition {
    pub(crate) at: TopicPartition,
    key: PositionKey,
    /// Loaded, and the reader told where to start.
    pub(crate) started: bool,
    /// As the store has it.
    stored: Option<Position>,
    /// After every record taken in so far.
    next: Position,
    pub(crate) parked: Parked,
    /// The request that what is parked was loaded anew for.
    loaded_for: Option<String>,
    /// The request about parked records that is being carried out.
    pub(crate) drain: Option<Drain>,
    pending: Pending,
    /// Read from the log, not yet taken in.
    pub(crate) backlog: VecDeque<Record>,
    /// Being applied, since when.
    pub(crate) under_way: Option<(Cut, Instant)>,
    /// Given to the sink, and not known to be in the store.
    pub(crate) in_doubt: Option<Cut>,
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
            parked: Parked::default(),
            loaded_for: None,
            drain: None,
            pending: Pending::default(),
            backlog: VecDeque::new(),
            under_way: None,
            in_doubt: None,
        })
    }

    pub(crate) fn key(&self) -> &PositionKey {
        &self.key
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.stored
    }

    /// When the log took the first record that was read and is not in the store; while the sink has a
    /// batch, when it took the last one that is, if any is.
    pub(crate) fn oldest_waiting(&self) -> Option<Timestamp> {
        let under_way = self.under_way.as_ref().map(|(cut, _)| cut);
        let given_away = self.in_doubt.as_ref().or(under_way).and_then(|cut| {
            let stored = self.stored.map(|position| position.recorded_at);
            stored.or(cut.first_at)
        });
        let first = self.backlog.front();
        given_away.or(first.map(|record| Timestamp::from_micros(record.timestamp_us)))
    }

    /// Forgets what it holds in memory: the store is asked again.
    pub(crate) fn reset(&mut self) {
        self.started = false;
        self.pending = Pending::default();
        self.backlog.clear();
        self.under_way = None;
        self.in_doubt = None;
        self.drain = None;
    }

    /// Whether the sink has a batch of which it is not known that it is in the store.
    fn has_given_away(&self) -> bool {
        self.under_way.is_some() || self.in_doubt.is_some()
    }

    /// Whether it has been loaded from the store for this request; otherwise it will be.
    pub(crate) fn was_loaded_for(&mut self, request: &ParkRequest) -> bool {
        let was_loaded = self.loaded_for.as_ref() == Some(&request.id);
        if !was_loaded {
            self.reset();
            self.loaded_for = Some(request.id.clone());
        }
        was_loaded && self.started
    }

    /// Takes over what is stored, and says where to read from.
    pub(crate) fn start(&mut self, plan: &Plan, loaded: Loaded) -> Result<Start, Halt> {
        self.reset();
        self.stored = loaded.position;
        let start = self.starting_point(plan)?;
        self.parked = Parked::loaded(loaded.parked, self.next.next_offset);
        Ok(start)
    }

    fn starting_point(&mut self, plan: &Plan) -> Result<Start, Halt> {
        match self.stored {
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
        limits: &Limits,
    ) -> Result<bool, Halt> {
        self.check_parked(limits)?;
        while self.pending.ops.len() < limits.max_rows {
            let Some(record) = self.backlog.pop_front() else {
                return Ok(true);
            };
            if let Err(halt) = self.take(plan, codec, &record) {
                self.backlog.push_front(record);
                return Err(halt);
            }
            self.check_parked(limits)?;
        }
        Ok(self.backlog.is_empty())
    }

    fn check_parked(&self, limits: &Limits) -> Result<(), Halt> {
        match self.parked.excess(limits) {
            Some(excess) => Err(Halt::Hold(format!("{}: {excess}", self.at))),
            None => Ok(()),
        }
    }

    /// Started, with nothing read that is not in the store.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_settled() && self.backlog.is_empty()
    }

    /// Everything recorded up to `now` has been read, up to the offset `read`.
    pub(crate) fn is_current(&mut self, read: u64, now: Timestamp) {
        self.next.next_offset = self.next.next_offset.max(read);
        self.next.recorded_at = self.next.recorded_at.max(now);
    }

    /// Whether everything that was taken in is in the store, so that what is parked can be looked
    /// at.
    pub(crate) fn is_settled(&self) -> bool {
        self.started && !self.has_given_away() && !self.has_moved()
    }

    fn has_moved(&self) -> bool {
        match self.stored {
            Some(stored) if stored.generation == self.next.generation => self.next != stored,
            _ => self.next != beginning(self.next.generation),
        }
    }

    /// Whether something was taken in since the batch that is under way, or since the last one.
    pub(crate) fn has_more(&self) -> bool {
        match &self.under_way {
            Some((cut, _)) => cut.batch.next != self.next,
            None => self.has_moved(),
        }
    }

    /// What was taken in since the last batch, if anything.
    pub(crate) fn cut(&mut self) -> Option<Cut> {
        if !self.started || !self.has_moved() {
            return None;
        }
        // The next batch will be about as large.
        let next = Pending {
            ops: Vec::with_capacity(self.pending.ops.len()),
            ..Pending::default()
        };
        let pending = std::mem::replace(&mut self.pending, next);
        self.tell(&pending.parked);
        let unparked = Unparked {
            settled: self.parked.passed(self.next.next_offset),
            ..Unparked::default()
        };
        Some(Cut {
            parked: pending.parked.len(),
            batch: Arc::new(Batch {
                key: self.key.clone(),
                expected: self.stored,
                next: self.next,
                ops: pending.ops,
                parked: pending.parked,
                unparked,
            }),
            records: pending.records,
            dropped: pending.dropped,
            first_at: pending.first_at,
        })
    }

    /// A batch about what was parked before, which leaves the position where it is.
    pub(crate) fn cut_unparked(
        &self,
        (ops, parked, unparked): (Vec<SeqOp>, Vec<ParkedRow>, Unparked),
    ) -> Cut {
        Cut {
            batch: Arc::new(Batch {
                key: self.key.clone(),
                expected: self.stored,
                next: self.next,
                ops,
                parked,
                unparked,
            }),
            records: 0,
            dropped: 0,
            parked: 0,
            first_at: None,
        }
    }

    /// Once for a batch: a storm of bad records must not become one of log lines.
    fn tell(&self, parked: &[ParkedRow]) {
        let mut rejected = parked.iter().filter(|row| row.reason != ParkReason::Behind);
        if let Some(first) = rejected.next() {
            tracing::warn!(
                projection = self.key.projection,
                partition = %self.at,
                key = first.key,
                offset = first.offset,
                seq = first.seq,
                reason = first.reason.text(),
                more = rejected.count(),
                "records are parked, and with them what follows for their keys"
            );
        }
    }

    /// The batch is in the store.
    pub(crate) fn applied(&mut self, cut: &Cut) {
        self.stored = Some(cut.batch.next);
    }

    fn take(&mut self, plan: &Plan, codec: &Codec, record: &Record) -> Result<(), Halt> {
        if record.offset < self.next.next_offset {
            return Ok(());
        }
        let key = key_text(record);
        let envelope = match envelope(self.key.stream, record) {
            Ok(envelope) => envelope,
            // No shard wrote it: it takes no place among the seqs.
            Err(error) => {
                match plan.gives_up(self.key.stream, record) {
                    true => self.pending.dropped += 1,
                    false => self.park(key, record.offset, 0, foreign(&error)),
                }
                self.advance(record, self.next.seq);
                return Ok(());
            }
        };
        self.check_dense(&envelope)?;
        if plan.gives_up(self.key.stream, record) {
            self.pending.dropped += 1;
        } else if self.parked.contains(&key) {
            self.park(key, record.offset, envelope.seq, String::new());
        } else {
            match outcome(plan, codec, &envelope, record, &key)? {
                Outcome::Emit(ops) => {
                    let seq = envelope.seq;
                    let ops = ops.into_iter().map(|op| SeqOp { seq, op });
                    self.pending.ops.extend(ops);
                }
                Outcome::Drop(_) => self.pending.dropped += 1,
                Outcome::Reject(reason) => {
                    self.park(key, record.offset, envelope.seq, reason);
                }
            }
        }
        self.advance(record, envelope.seq);
        Ok(())
    }

    fn advance(&mut self, record: &Record, seq: u64) {
        let recorded_at = Timestamp::from_micros(record.timestamp_us);
        self.pending.records += 1;
        self.pending.first_at.get_or_insert(recorded_at);
        self.next = Position {
            generation: self.next.generation,
            next_offset: record.offset + 1,
            seq,
            // Kafka's times may step back when a broker's clock does; freshness must not.
            recorded_at: self.next.recorded_at.max(recorded_at),
        };
    }

    /// Puts a record aside. What keeps a key parked is its first record; the others are behind it,
    /// whatever they hold.
    fn park(&mut self, key: String, offset: u64, seq: u64, reason: String) {
        let reason = match self.parked.contains(&key) {
            true => ParkReason::Behind,
            false => ParkReason::Rejected(reason),
        };
        let row = ParkedRow::new(key, offset, seq, reason);
        self.parked.put(row.clone());
        self.pending.parked.push(row);
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
