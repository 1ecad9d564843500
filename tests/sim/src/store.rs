//! The stores as projectors see them: slow, failing half way, losing answers, with writes that land
//! after everybody has given them up; and, where a bug is planted, with a sink that lies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cartwright_events::Stream;
use cartwright_projector::Plan;
use cartwright_read_model::tables::{CONTROL_VERSION, PARKED};
use cartwright_read_model::{
    FromCell, ParkRequest, ParkedRow, PositionKey, Projection, RequestOutcome, SkippedRow, Store,
    Value, projection,
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
    /// Whether it lies about for long, as what a coordinator keeps for a node that is away.
    lingers: bool,
}

/// One store, with everything that is on its way to it; clones share it.
#[derive(Clone)]
pub(crate) struct SimStore {
    pub(crate) memory: MemoryStore,
    semantics: Semantics,
    late: Arc<Mutex<Vec<Late>>>,
    /// How far each partition has been said to be.
    reached: Arc<Mutex<BTreeMap<PositionKey, u64>>>,
    /// Versions that were removed, which have no position any more.
    removed: Arc<Mutex<BTreeSet<(&'static str, u32)>>>,
}

/// What a process is called that is killed at each call.
struct Killed {
    preparing: &'static str,
    asking: &'static str,
    loading: &'static str,
    before: &'static str,
    half_way: &'static str,
    after: &'static str,
    /// How many times more often than others.
    times: u32,
}

/// How many times more often than others a builder is killed at a call: it makes few.
pub(crate) const BUILDER_DIES: u32 = 8;

const PROJECTOR: Killed = Killed {
    preparing: "projector killed before it makes its tables",
    asking: "projector killed before it looks for requests",
    loading: "projector killed before a load",
    before: "projector killed before a write",
    half_way: "projector killed half way",
    after: "projector killed after a write",
    times: 1,
};

const BUILDER: Killed = Killed {
    preparing: "builder killed before it makes its tables",
    asking: "builder killed before it looks for requests",
    loading: "builder killed before a load",
    before: "builder killed before a write",
    half_way: "builder killed half way",
    after: "builder killed after a write",
    times: BUILDER_DIES,
};

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            removed: Arc::default(),
        }
    }

    /// Where records of a projection's version wait: one entry a record.
    pub(crate) fn parked(&self, projection: &Projection, version: u32) -> Vec<(Stream, u32)> {
        let rows = self.memory.rows(&PARKED, CONTROL_VERSION);
        let of = [Value::from(projection.name), version.into()];
        let of = rows.iter().filter(|row| row.values.starts_with(&of));
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
    fn check_position(&self, sim: &Sim, batch: &Batch) {
        let position = self.memory.position(&batch.key);
        let offset = position.map_or(0, |position| position.next_offset);
        let version = (batch.key.projection, batch.key.version);
        if held(&self.removed).contains(&version) {
            return;
        }
        let mut reached = held(&self.reached);
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

    /// Removes a version that nobody builds or feeds any more. What is still on its way to PostgreSQL
    /// ends before, since its connection is gone; Cassandra may apply it long after.
    pub(crate) fn remove(&self, sim: &Sim, projection: &'static Projection, version: u32) {
        if self.semantics == Semantics::Transactional {
            let of = |late: &mut Late| late.batch.key.version == version;
            let ending: Vec<Late> = held(&self.late).extract_if(.., of).collect();
            ending.into_iter().for_each(|late| self.arrives(sim, late));
        }
        self.memory.remove_version(projection, version);
        held(&self.removed).insert((projection.name, version));
        if sim.has(Bug::CancelledComesBack) {
            self.memory.make_tables(projection, version);
        }
    }

    /// Lets one of the writes land that are still on their way, if it comes now. Returns whether there
    /// was one.
    pub(crate) fn land(&self, sim: &Sim) -> bool {
        let mut late = held(&self.late);
        if late.is_empty() {
            return false;
        }
        let index = sim.below(late.len());
        if late[index].lingers && sim.strikes(950) {
            return true;
        }
        let landing = late.swap_remove(index);
        drop(late);
        self.arrives(sim, landing);
        true
    }

    fn arrives(&self, sim: &Sim, mut landing: Late) {
        let result = forced(sim, &mut landing.sink, &landing.batch);
        self.check_position(sim, &landing.batch);
        sim.trace(&format!("lands late: {}", shown(&landing.batch, &result)));
    }
}

/// See [`Sink`] and the module.
pub(crate) struct SimSink {
    inner: MemorySink,
    store: SimStore,
    sim: Sim,
    clock: Arc<SimClock>,
    killed: &'static Killed,
    /// Whether it belongs to whoever builds a version.
    builds: bool,
    /// The number that the first version has.
    first: u32,
}

impl SimSink {
    /// A projector's.
    pub(crate) fn new(store: &SimStore, plan: &Plan, sim: &Sim, clock: &Arc<SimClock>) -> Self {
        Self {
            inner: MemorySink::new(store.memory.clone(), plan.version),
            store: store.clone(),
            sim: sim.clone(),
            clock: Arc::clone(clock),
            killed: &PROJECTOR,
            builds: false,
            first: projection(plan.projection.name).map_or(0, |newest| newest.version),
        }
    }

    /// That of whoever builds a version.
    pub(crate) fn of_a_build(
        store: &SimStore,
        plan: &Plan,
        sim: &Sim,
        clock: &Arc<SimClock>,
    ) -> Self {
        let mut sink = Self::new(store, plan, sim, clock);
        if store.semantics == Semantics::Transactional {
            sink.inner = sink.inner.in_bulk(plan.projection);
        }
        Self {
            killed: &BUILDER,
            builds: true,
            ..sink
        }
    }

    fn may_die(&self, kind: &'static str) {
        self.sim.may_die_often(kind, self.killed.times);
    }

    /// What a planted bug makes of what was loaded.
    fn misled(&self, key: &PositionKey, loaded: &mut Loaded) {
        if self.builds
            && self.sim.has(Bug::ResumePastThePosition)
            && let Some(position) = &mut loaded.position
        {
            position.next_offset += 1;
            position.seq += 1;
        } else if !self.builds
            && key.version != self.first
            && self.sim.has(Bug::FeedFromAnotherPosition)
        {
            let other = PositionKey {
                version: self.first,
                ..key.clone()
            };
            loaded.position = self.store.memory.position(&other);
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
        self.may_die(self.killed.preparing);
        self.inner.prepare()
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        self.may_die(self.killed.loading);
        let mut loaded = self.inner.load(key, generation)?;
        self.misled(key, &mut loaded);
        Ok(loaded)
    }

    fn requests(
        &mut self,
        projection: &str,
        version: u32,
        after: &str,
    ) -> Result<Vec<(ParkRequest, RequestOutcome)>, SinkError> {
        self.may_die(self.killed.asking);
        self.inner.requests(projection, version, after)
    }

    fn skipped(
        &mut self,
        of: &PositionKey,
        key: &str,
        offset: u64,
    ) -> Result<Option<SkippedRow>, SinkError> {
        self.may_die(self.killed.asking);
        self.inner.skipped(of, key, offset)
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        self.may_die(self.killed.before);
        let batch = self.written(batch);
        if self.sim.fault("store too slow: its write lands late", 25) {
            // With what this process knew when it sent it.
            let sink = self.inner.clone();
            let lingers = self.is_cassandra() && self.sim.below(3) == 0;
            let late = Late {
                sink,
                batch,
                lingers,
            };
            held(&self.store.late).push(late);
            return self.failed();
        }
        let half_way = self.sim.fault("store failed half way", 25);
        let times = self.killed.times;
        let killed = self.sim.fault(self.killed.half_way, 8 * times);
        if half_way || killed {
            let rows = self.sim.below(batch.ops.len() + 1);
            self.store.memory.inject(MemoryFault::AfterRows(rows));
        } else if self.sim.fault("store's answer lost", 25) {
            self.store.memory.inject(MemoryFault::AnswerLost);
        }
        let result = self.write(&batch);
        self.store.check_position(&self.sim, &batch);
        self.sim.trace(&shown(&batch, &result));
        if killed {
            Sim::die();
        }
        self.may_die(self.killed.after);
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
        "{}@{} {}[{}]: {} rows, offsets {expected} to {}: {result:?}",
        batch.key.projection,
        batch.key.version,
        batch.key.stream.topic(),
        batch.key.partition,
        batch.ops.len(),
        batch.next.next_offset
    )
}
