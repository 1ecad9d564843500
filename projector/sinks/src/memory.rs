//! A store in memory that behaves like either real one, with scripted faults.

mod applying;
mod table;
mod versions;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cartwright_read_model::tables::{
    CONTROL_TABLES, CONTROL_VERSION, PARK_REQUESTS, PARKED, POSITIONS, SKIPPED,
};
use cartwright_read_model::{
    CellTime, ParkRequest, ParkedRow, Position, PositionKey, Projection, RequestOutcome, Row,
    RowOp, SkippedRow, Table, Value,
};

use crate::merge::{MergedRow, merge};
use crate::sink::{Batch, Loaded, SeqOp, Sink, SinkError};
use crate::written::Written;
use table::StoredTable;

/// How the store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semantics {
    /// As PostgreSQL: a batch is applied as a whole, if the stored position is the expected one.
    Transactional,
    /// As Cassandra: writes one by one, each cell with a time; the larger time holds, the larger
    /// value at equal times, a delete over a write at equal times. Nothing guards the position.
    CellTimes,
}

/// What goes wrong with one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryFault {
    /// The store fails after this many rows. With [`Semantics::Transactional`] none of them stays.
    AfterRows(usize),
    /// Everything is applied, and the answer is lost.
    AnswerLost,
    /// The store refuses for good.
    Refused,
}

/// The store; clones share it. It outlives the sinks that write to it, as a real one does.
#[derive(Debug, Clone)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    semantics: Semantics,
    tables: HashMap<(&'static str, u32), StoredTable>,
    faults: VecDeque<MemoryFault>,
    down: bool,
    applied: u64,
    /// How often each partition was written, as [`Semantics::Transactional`] guards it.
    writes: HashMap<PositionKey, u64>,
    /// Tables that were dropped, by name and version.
    dropped: HashSet<(&'static str, u32)>,
    /// Versions whose rows in the control tables were deleted: what was sent before and lands later
    /// loses against that, where each cell has a time.
    removed: HashSet<(&'static str, u32)>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(semantics: Semantics) -> Self {
        Self(Arc::new(Mutex::new(State {
            semantics,
            tables: HashMap::new(),
            faults: VecDeque::new(),
            down: false,
            applied: 0,
            writes: HashMap::new(),
            dropped: HashSet::new(),
            removed: HashSet::new(),
        })))
    }

    /// Makes `fault` strike the next batch that has not got one yet.
    pub fn inject(&self, fault: MemoryFault) {
        self.lock().faults.push_back(fault);
    }

    /// Takes the store down (every call answers `Retry`) or up again.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Batches that were applied in full so far.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.lock().applied
    }

    /// Every row of a table as readers see it, by key.
    #[must_use]
    pub fn rows(&self, table: &'static Table, version: u32) -> Vec<Row> {
        self.lock().rows(table, version, &[])
    }

    /// How far a partition is.
    #[must_use]
    pub fn position(&self, key: &PositionKey) -> Option<Position> {
        self.lock().position(key)
    }

    /// Every row of a projection, by table and key: for comparing two runs.
    #[must_use]
    pub fn projection_rows(&self, projection: &'static Projection, version: u32) -> Vec<Row> {
        let tables = projection.tables.iter();
        tables.flat_map(|table| self.rows(table, version)).collect()
    }

    /// Puts a request about parked records into the store, as an operator does.
    ///
    /// # Panics
    /// Never: what it writes is made here.
    pub fn ask(&self, projection: &str, version: u32, request: &ParkRequest) {
        let key = request.row_key(projection, version);
        let op = RowOp::upsert(&PARK_REQUESTS, key, request.cells());
        let ops = [SeqOp { seq: 0, op }];
        let mut state = self.lock();
        for row in merge(&ops).unwrap_or_default() {
            state.table(&row, CONTROL_VERSION).put(&row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Sink`] and [`MemoryStore`].
#[derive(Debug, Clone)]
pub struct MemorySink {
    store: MemoryStore,
    version: u32,
    /// How often each partition was written, as this sink knows it.
    known: HashMap<PositionKey, u64>,
    /// Set while a version is built that nobody reads.
    bulk: Option<Bulk>,
}

/// What a sink knows that copies new rows.
#[derive(Debug, Clone)]
struct Bulk {
    written: Written,
    /// Whether its tables have their keys from the beginning.
    keyed: bool,
}

impl MemorySink {
    /// A sink for one projection as `version`.
    #[must_use]
    pub fn new(store: MemoryStore, version: u32) -> Self {
        Self {
            store,
            version,
            known: HashMap::new(),
            bulk: None,
        }
    }

    /// The same for building a version of `projection` that nobody reads yet, as PostgreSQL does it:
    /// rows that this sink has not written are taken for new. One that is there all the same is an
    /// error, which passes only where the tables have their keys.
    #[must_use]
    pub fn in_bulk(self, projection: &Projection) -> Self {
        Self {
            bulk: Some(Bulk {
                written: Written::default(),
                keyed: projection.streams.len() > 1,
            }),
            ..self
        }
    }

    /// Refuses a batch that would copy a row which is there.
    fn check_new(&mut self, state: &State, batch: &Batch) -> Result<(), SinkError> {
        let Some(bulk) = &mut self.bulk else {
            return Ok(());
        };
        let mut rows = merge(&batch.ops)?;
        let new = bulk.written.take_new(&batch.key, &mut rows);
        let there = new.iter().find(|row| {
            let stored = state.tables.get(&(row.table.name, self.version));
            stored.is_some_and(|stored| stored.holds(row.key))
        });
        let Some(row) = there else {
            return Ok(());
        };
        let reason = format!("memory: {} {:?} is there already", row.table.name, row.key);
        if !bulk.keyed {
            return Err(SinkError::fatal(reason));
        }
        bulk.written.forget(&batch.key);
        Err(SinkError::retry(reason))
    }
}

impl Sink for MemorySink {
    fn prepare(&mut self) -> Result<(), SinkError> {
        self.store.lock().check_up()
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        let state = self.store.lock();
        state.check_up()?;
        let writes = state.writes.get(key).copied().unwrap_or_default();
        self.known.insert(key.clone(), writes);
        let loaded = state.load(key, generation);
        if let Some(bulk) = &mut self.bulk {
            bulk.written.loaded(key, loaded.position.is_none());
        }
        Ok(loaded)
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        let store = self.store.clone();
        let mut state = store.lock();
        state.check_up()?;
        let fault = state.faults.pop_front();
        if fault == Some(MemoryFault::Refused) {
            return Err(SinkError::fatal("memory: refused"));
        }
        let complete = match state.semantics {
            Semantics::Transactional => {
                let known = self.known.get(&batch.key).copied();
                state.check_position(batch, known)?;
                self.check_new(&state, batch)?;
                state.apply_as_one(batch, self.version, fault)?
            }
            Semantics::CellTimes => state.apply_by_cell(batch, self.version, fault)?,
        };
        if !complete {
            return Err(SinkError::retry("memory: failed half way"));
        }
        state.applied += 1;
        let writes = state.writes.entry(batch.key.clone()).or_default();
        *writes += 1;
        if fault == Some(MemoryFault::AnswerLost) {
            return Err(SinkError::retry("memory: the answer is lost"));
        }
        self.known.insert(batch.key.clone(), *writes);
        Ok(())
    }

    fn requests(
        &mut self,
        projection: &str,
        version: u32,
        after: &str,
    ) -> Result<Vec<(ParkRequest, RequestOutcome)>, SinkError> {
        let state = self.store.lock();
        state.check_up()?;
        let of = [projection.into(), version.into()];
        let stored = state.tables.get(&(PARK_REQUESTS.name, CONTROL_VERSION));
        let rows = stored.map_or_else(Vec::new, |stored| {
            let from = [projection.into(), version.into(), after.into()];
            stored.rows_from(&PARK_REQUESTS, &from, &of)
        });
        let mut requests: Vec<_> = rows
            .iter()
            .filter_map(ParkRequest::from_row)
            .filter(|(request, _)| request.id.as_str() > after)
            .collect();
        requests.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        Ok(requests)
    }

    fn skipped(
        &mut self,
        of: &PositionKey,
        key: &str,
        offset: u64,
    ) -> Result<Option<SkippedRow>, SinkError> {
        let state = self.store.lock();
        state.check_up()?;
        let rows = state.rows(&SKIPPED, CONTROL_VERSION, &of.of_record(key, offset));
        Ok(rows.first().and_then(SkippedRow::from_row))
    }
}

impl State {
    fn check_up(&self) -> Result<(), SinkError> {
        match self.down {
            true => Err(SinkError::retry("memory: down")),
            false => Ok(()),
        }
    }

    fn rows(&self, table: &'static Table, version: u32, prefix: &[Value]) -> Vec<Row> {
        let stored = self.tables.get(&(table.name, version));
        stored.map_or_else(Vec::new, |stored| stored.rows(table, prefix))
    }

    fn position(&self, key: &PositionKey) -> Option<Position> {
        let rows = self.rows(&POSITIONS, CONTROL_VERSION, &key.values());
        rows.first().and_then(Position::from_row)
    }

    fn load(&self, key: &PositionKey, generation: u32) -> Loaded {
        let parked = self.rows(&PARKED, CONTROL_VERSION, &key.values());
        let parked = parked.iter();
        Loaded {
            position: self.position(key),
            parked: parked
                .filter_map(|row| ParkedRow::waiting(row, generation))
                .collect(),
        }
    }

    fn table(&mut self, row: &MergedRow<'_>, version: u32) -> &mut StoredTable {
        let version = match is_control(row.table) {
            true => CONTROL_VERSION,
            false => version,
        };
        self.tables.entry((row.table.name, version)).or_default()
    }
}

fn is_control(table: &Table) -> bool {
    CONTROL_TABLES.iter().any(|one| one.name == table.name)
}

fn write_time(generation: u32, seq: u64) -> Result<i64, SinkError> {
    let time = CellTime::write(generation, seq).map_err(SinkError::fatal)?;
    Ok(time.as_micros())
}
