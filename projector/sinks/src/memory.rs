//! A store in memory that behaves like either real one, with scripted faults.

mod table;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cartwright_read_model::tables::{
    CONTROL_TABLES, CONTROL_VERSION, PARK_REQUESTS, PARKED, POSITIONS,
};
use cartwright_read_model::{
    CellTime, ParkRequest, ParkedRow, Position, PositionKey, Projection, RequestOutcome, Row,
    RowOp, Table,
};

use crate::control::{final_ops, parked_ops, settled_ops};
use crate::merge::{MergedRow, merge};
use crate::sink::{Batch, Loaded, SeqOp, Sink, SinkError};
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
        let state = self.lock();
        let stored = state.tables.get(&(table.name, version));
        stored.map_or_else(Vec::new, |stored| stored.rows(table))
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
}

impl MemorySink {
    /// A sink for one projection as `version`.
    #[must_use]
    pub fn new(store: MemoryStore, version: u32) -> Self {
        Self {
            store,
            version,
            known: HashMap::new(),
        }
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
        Ok(state.load(key, generation))
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        let mut state = self.store.lock();
        state.check_up()?;
        let fault = state.faults.pop_front();
        if fault == Some(MemoryFault::Refused) {
            return Err(SinkError::fatal("memory: refused"));
        }
        let complete = match state.semantics {
            Semantics::Transactional => {
                let known = self.known.get(&batch.key).copied();
                state.apply_as_one(batch, self.version, known, fault)?
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
        let stored = state.tables.get(&(PARK_REQUESTS.name, CONTROL_VERSION));
        let rows = stored.map_or_else(Vec::new, |stored| stored.rows(&PARK_REQUESTS));
        let of = [projection.into(), version.into()];
        let mut requests: Vec<_> = rows
            .iter()
            .filter(|row| row.values.starts_with(&of))
            .filter_map(ParkRequest::from_row)
            .filter(|(request, _)| request.id.as_str() > after)
            .collect();
        requests.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        Ok(requests)
    }
}

impl State {
    fn check_up(&self) -> Result<(), SinkError> {
        match self.down {
            true => Err(SinkError::retry("memory: down")),
            false => Ok(()),
        }
    }

    fn load(&self, key: &PositionKey, generation: u32) -> Loaded {
        let wanted = key.values();
        let of = |table: &'static Table| {
            let stored = self.tables.get(&(table.name, CONTROL_VERSION));
            let rows = stored.map_or_else(Vec::new, |stored| stored.rows(table));
            let mut rows: Vec<Row> = rows
                .into_iter()
                .filter(|row| row.values.starts_with(&wanted))
                .collect();
            rows.sort_by_key(|row| match (&row.values[4], &row.values.get(5)) {
                (key, Some(cartwright_read_model::Value::Int(offset))) => {
                    (format!("{key:?}"), *offset)
                }
                _ => (String::new(), 0),
            });
            rows
        };
        Loaded {
            position: of(&POSITIONS).first().and_then(Position::from_row),
            parked: of(&PARKED)
                .iter()
                .filter_map(|row| ParkedRow::waiting(row, generation))
                .collect(),
        }
    }

    /// Answers whether it was applied.
    fn apply_as_one(
        &mut self,
        batch: &Batch,
        version: u32,
        known: Option<u64>,
        fault: Option<MemoryFault>,
    ) -> Result<bool, SinkError> {
        let writes = self.writes.get(&batch.key).copied().unwrap_or_default();
        let stored = self.load(&batch.key, batch.next.generation).position;
        let same = |a: Position, b: Position| {
            (a.generation, a.next_offset) == (b.generation, b.next_offset)
        };
        let as_expected = match (stored, batch.expected) {
            (None, None) => true,
            (Some(stored), Some(expected)) => same(stored, expected),
            _ => false,
        };
        if !as_expected || known.is_some_and(|known| known != writes) {
            return Err(SinkError::PositionMoved);
        }
        if matches!(fault, Some(MemoryFault::AfterRows(_))) {
            return Ok(false);
        }
        let control = [parked_ops(batch), settled_ops(batch), final_ops(batch)].concat();
        for row in merge(&batch.ops)?.into_iter().chain(merge(&control)?) {
            self.table(&row, version).put(&row);
        }
        Ok(true)
    }

    /// Answers whether everything was applied.
    fn apply_by_cell(
        &mut self,
        batch: &Batch,
        version: u32,
        fault: Option<MemoryFault>,
    ) -> Result<bool, SinkError> {
        let generation = batch.next.generation;
        let (parked, settled, last) = (parked_ops(batch), settled_ops(batch), final_ops(batch));
        let mut rows = merge(&batch.ops)?;
        rows.extend(merge(&parked)?);
        let mut settled = merge(&settled)?;
        if let Some(MemoryFault::AfterRows(most)) = fault {
            // Rows are written in no particular order: which ones stay is any part of them.
            rotate(&mut rows, most);
            rotate(&mut settled, most);
            rows.extend(settled);
            rows.truncate(most);
            return self.write_rows(&rows, version, generation).map(|()| false);
        }
        rows.extend(settled);
        rows.extend(merge(&last)?);
        self.write_rows(&rows, version, generation).map(|()| true)
    }

    fn write_rows(
        &mut self,
        rows: &[MergedRow<'_>],
        version: u32,
        generation: u32,
    ) -> Result<(), SinkError> {
        for row in rows {
            self.table(row, version).write(row, generation)?;
        }
        Ok(())
    }

    fn table(&mut self, row: &MergedRow<'_>, version: u32) -> &mut StoredTable {
        let control = CONTROL_TABLES.iter().any(|one| one.name == row.table.name);
        let version = if control { CONTROL_VERSION } else { version };
        self.tables.entry((row.table.name, version)).or_default()
    }
}

fn rotate<T>(rows: &mut [T], by: usize) {
    if !rows.is_empty() {
        rows.rotate_left(by % rows.len());
    }
}

fn write_time(generation: u32, seq: u64) -> Result<i64, SinkError> {
    let time = CellTime::write(generation, seq).map_err(SinkError::fatal)?;
    Ok(time.as_micros())
}
