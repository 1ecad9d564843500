//! The stores as projectors see them: slow, failing half way, losing answers, with writes that land
//! after everybody has given them up; and, where a bug is planted, with a sink that lies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cartwright_events::Stream;
use cartwright_read_model::tables::{CONTROL_VERSION, PARKED};
use cartwright_read_model::{
    FromCell, ParkRequest, ParkedRow, PositionKey, Projection, RequestOutcome, Store, Value,
};
use cartwright_shard::Clock;
use cartwright_sinks::{
    Batch, Loaded, MemoryFault, MemorySink, MemoryStore, Semantics, SeqOp, Sink, SinkError,
};

use crate::bug::Bug;
use crate::sim::{Sim, SimClock};

/// A write that is still on its way.
struct Late {
    sink: MemorySink,
    batch: Arc<Batch>,
}

/// One store, with everything that is on its way to it; clones share it.
#[derive(Clone)]
pub(crate) struct SimStore {
    pub(crate) memory: MemoryStore,
    semantics: Semantics,
    late: Arc<Mutex<Vec<Late>>>,
    /// How far each partition has been said to be.
    reached: Arc<Mutex<BTreeMap<PositionKey, u64>>>,
}

impl SimStore {
    pub(crate) fn new(store: Store) -> Self {
        let semantics = match store {
            Store::Postgres => Semantics::Transactional,
            Store::Cassandra => Semantics::CellTimes,
        };
        Self {
            memory: MemoryStore::new(semantics),
            semantics,
            late: Arc::default(),
            reached: Arc::default(),
        }
    }

    /// Where records of a projection wait: one entry a record.
    pub(crate) fn parked(&self, projection: &Projection) -> Vec<(Stream, u32)> {
        let rows = self.memory.rows(&PARKED, CONTROL_VERSION);
        let name = Value::from(projection.name);
        let of = rows.iter().filter(|row| *row.value("projection") == name);
        let waiting = of.filter(|row| ParkedRow::waiting(row, 1).is_some());
        let place = waiting.filter_map(|row| {
            let topic = String::from_cell(row.value("topic"))?;
            let partition = FromCell::from_cell(row.value("log_partition"))?;
            Some((Stream::of_topic(&topic)?, partition))
        });
        place.collect()
    }

    /// A position that went back would make readers believe in rows that are older than they were
    /// told.
    fn check_position(&self, sim: &Sim, sink: &mut MemorySink, batch: &Batch) {
        let Ok(loaded) = sink.load(&batch.key, batch.next.generation) else {
            return;
        };
        let offset = loaded.position.map_or(0, |position| position.next_offset);
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reached
            .insert(batch.key.clone(), offset)
            .unwrap_or_default();
        if offset < before {
            sim.violated(format!(
                "the position of {:?} went back from {before} to {offset}",
                batch.key
            ));
        }
    }

    /// Lets one of the writes land that are still on their way. Returns whether there was one.
    pub(crate) fn land(&self, sim: &Sim) -> bool {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if late.is_empty() {
            return false;
        }
        let index = sim.below(late.len());
        let mut landing = late.swap_remove(index);
        drop(late);
        let result = forced(sim, &mut landing.sink, &landing.batch);
        self.check_position(sim, &mut landing.sink, &landing.batch);
        sim.trace(&format!("lands late: {}", shown(&landing.batch, &result)));
        true
    }
}

/// See [`Sink`] and the module.
pub(crate) struct SimSink {
    inner: MemorySink,
    store: SimStore,
    sim: Sim,
    clock: Arc<SimClock>,
}

impl SimSink {
    pub(crate) fn new(store: &SimStore, version: u32, sim: &Sim, clock: &Arc<SimClock>) -> Self {
        Self {
            inner: MemorySink::new(store.memory.clone(), version),
            store: store.clone(),
            sim: sim.clone(),
            clock: Arc::clone(clock),
        }
    }

    fn is_cassandra(&self) -> bool {
        self.store.semantics == Semantics::CellTimes
    }

    /// The batch as it will be written: as it is, unless a bug is planted.
    fn written(&self, batch: &Arc<Batch>) -> Arc<Batch> {
        if self.sim.has(Bug::UnparkOutOfOrder) && !batch.unparked.settled.is_empty() {
            return Arc::new(backwards(batch));
        }
        let seq: Box<dyn Fn(u64) -> u64> = match self.sim.lock().bug {
            Some(Bug::TimestampFromTheClock) => {
                let millis = self.clock.now().as_micros() / 1000;
                Box::new(move |_| u64::try_from(millis).unwrap_or_default())
            }
            Some(Bug::TiedTimestamps) => Box::new(|seq| seq / 8 * 8),
            _ => return Arc::clone(batch),
        };
        if !self.is_cassandra() {
            return Arc::clone(batch);
        }
        let timed = |each: &SeqOp| SeqOp {
            seq: seq(each.seq),
            op: each.op.clone(),
        };
        Arc::new(Batch {
            ops: batch.ops.iter().map(timed).collect(),
            ..Batch::clone(batch)
        })
    }

    fn write(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        if self.sim.has(Bug::PositionBeforeRows) && self.is_cassandra() {
            let position = Arc::new(Batch {
                ops: Vec::new(),
                parked: Vec::new(),
                ..Batch::clone(batch)
            });
            self.inner.apply(&position)?;
            self.sim.may_die("projector killed inside a write");
        }
        forced(&self.sim, &mut self.inner, batch)
    }
}

impl Sink for SimSink {
    fn prepare(&mut self) -> Result<(), SinkError> {
        self.inner.prepare()
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        self.sim.may_die("projector killed before a load");
        self.inner.load(key, generation)
    }

    fn requests(
        &mut self,
        projection: &str,
        version: u32,
        after: &str,
    ) -> Result<Vec<(ParkRequest, RequestOutcome)>, SinkError> {
        self.inner.requests(projection, version, after)
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        self.sim.may_die("projector killed before a write");
        let batch = self.written(batch);
        if self.sim.fault("store too slow: its write lands late", 25) {
            // With what this process knew when it sent it.
            let sink = self.inner.clone();
            let mut late = self
                .store
                .late
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            late.push(Late { sink, batch });
            drop(late);
            return self.failed();
        }
        let half_way = self.sim.fault("store failed half way", 25);
        let killed = self.sim.fault("projector killed half way", 8);
        if half_way || killed {
            let rows = self.sim.below(batch.ops.len() + 1);
            self.store.memory.inject(MemoryFault::AfterRows(rows));
        } else if self.sim.fault("store's answer lost", 25) {
            self.store.memory.inject(MemoryFault::AnswerLost);
        }
        let result = self.write(&batch);
        self.store
            .check_position(&self.sim, &mut self.inner, &batch);
        self.sim.trace(&shown(&batch, &result));
        if killed {
            Sim::die();
        }
        self.sim.may_die("projector killed after a write");
        match result {
            Err(SinkError::Retry { .. }) => self.failed(),
            other => other,
        }
    }
}

impl SimSink {
    fn failed(&self) -> Result<(), SinkError> {
        if self.sim.has(Bug::SwallowStoreFailure) {
            return Ok(());
        }
        let reason = "the store does not answer".to_owned();
        Err(SinkError::Retry { reason })
    }
}

/// Applies; with the bug planted, also where the position says that somebody else has.
fn forced(sim: &Sim, sink: &mut MemorySink, batch: &Arc<Batch>) -> Result<(), SinkError> {
    match sink.apply(batch) {
        Err(SinkError::PositionMoved) if sim.has(Bug::UnguardedPosition) => {
            let expected = sink.load(&batch.key, batch.next.generation)?.position;
            sink.apply(&Arc::new(Batch {
                expected,
                ..Batch::clone(batch)
            }))
        }
        other => other,
    }
}

/// The batch with its operations as if the last event had come first.
fn backwards(batch: &Batch) -> Batch {
    let seqs = batch.ops.iter().map(|each| each.seq);
    let ops = batch.ops.iter().rev().map(|each| each.op.clone());
    let ops = seqs.zip(ops).map(|(seq, op)| SeqOp { seq, op });
    Batch {
        ops: ops.collect(),
        ..Batch::clone(batch)
    }
}

/// A line of the trace.
fn shown(batch: &Batch, result: &Result<(), SinkError>) -> String {
    let expected = batch.expected.map_or(0, |position| position.next_offset);
    format!(
        "{} {}[{}]: {} rows, offsets {expected} to {}: {result:?}",
        batch.key.projection,
        batch.key.stream.topic(),
        batch.key.partition,
        batch.ops.len(),
        batch.next.next_offset
    )
}
