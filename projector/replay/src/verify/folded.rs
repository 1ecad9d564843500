//! The log folded in memory, by nothing but the fold: no merging, no store.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use cartwright_event_log::{EventLog, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_projector::{Limits, Plan};
use cartwright_read_model::{ParkedRow, Position, PositionKey, ROW_SEQ, Row, RowOp, Table, Value};
use cartwright_sinks::{Batch, Loaded, Sink, SinkError};

use super::{Ends, ParkedSet, Side};
use crate::build::{self, Board, End, Work};
use crate::part::Part;

/// How often who watches is told.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See [`Side`]. Holds the rows of one part of all keys at a time, so that memory is bounded by the
/// number of parts.
pub struct Folded<L> {
    log: L,
    codec: Codec,
    plan: Plan,
    memory: Memory,
    /// Told again and again how far the log is read.
    watch: Option<Watch>,
}

/// Told how far the log is read.
type Watch = Box<dyn Fn(&Board)>;

#[derive(Clone)]
struct Memory(Arc<Mutex<Held>>, Part);

#[derive(Default)]
struct Held {
    rows: HashMap<(&'static str, Vec<Value>), Vec<Value>>,
    positions: HashMap<PositionKey, Position>,
    parked: BTreeMap<PositionKey, Vec<ParkedRow>>,
}

impl<L: EventLog> Folded<L> {
    /// Nothing is folded before somebody asks.
    #[must_use]
    pub fn new(log: L, codec: Codec, plan: Plan) -> Self {
        Self {
            log,
            codec,
            plan,
            memory: Memory(Arc::default(), Part::WHOLE),
            watch: None,
        }
    }

    /// The same, for people who watch: `watch` is told again and again how far the log is read.
    #[must_use]
    pub fn watched(mut self, watch: impl Fn(&Board) + 'static) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// The same, for the keys of one part.
    #[must_use]
    pub(crate) fn part(mut self, part: Part) -> Self {
        self.memory.1 = part;
        self
    }
}

impl<L: EventLog> Folded<L> {
    /// Reads what `work` says, while whoever watches is told; answers whether it came to its end.
    fn run(&self, work: &Work<'_, L>, board: &Board) -> anyhow::Result<bool> {
        let Some(watch) = &self.watch else {
            return Ok(build::run(work, board));
        };
        let ended = std::thread::scope(|scope| {
            let folding = scope.spawn(|| build::run(work, board));
            while !folding.is_finished() {
                watch(board);
                std::thread::sleep(LOOK_EVERY);
            }
            folding.join()
        });
        watch(board);
        ended.map_err(|_| anyhow!("folding the log has ended in a panic"))
    }
}

impl<L: EventLog> Side for Folded<L> {
    fn label(&self) -> String {
        format!(
            "a fold of the log by version {}",
            self.plan.projection.version
        )
    }

    fn table(&self, name: &str) -> Option<&'static Table> {
        self.plan.projection.table(name)
    }

    fn scan(
        &mut self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        for ((name, _), values) in &self.memory.lock().rows {
            if *name == table.name {
                let values = values.clone();
                visit(Row { table, values });
            }
        }
        Ok(())
    }

    fn get(&mut self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        let held = self.memory.lock();
        let rows = keys.iter().filter_map(|key| {
            let values = held.rows.get(&(table.name, key.clone()))?.clone();
            Some(Row { table, values })
        });
        Ok(rows.collect())
    }

    fn parked(&mut self, before: &Ends) -> anyhow::Result<ParkedSet> {
        let held = self.memory.lock();
        let parked = held.parked.iter().flat_map(|(key, rows)| {
            let at = TopicPartition::new(key.stream.topic(), key.partition);
            let end = before.get(&at).copied().unwrap_or_default();
            let rows = rows.iter().filter(move |row| row.offset < end);
            rows.map(|row| (key.stream.topic().to_owned(), key.partition, row.offset))
        });
        Ok(parked.collect())
    }

    fn reach(&mut self, ends: &Ends) -> anyhow::Result<Option<String>> {
        let memory = self.memory.clone();
        let sink = move || -> Box<dyn Sink> { Box::new(memory.clone()) };
        let partitions = ends.iter().map(|(at, offset)| {
            let (offset, cut) = (*offset, None);
            (at.clone(), End { offset, cut })
        });
        let work = Work {
            log: self.log.clone(),
            codec: self.codec.clone(),
            plan: self.plan,
            limits: Limits {
                max_records: 20_000,
                max_rows: 100_000,
                heartbeat: None,
                max_parked_keys: usize::MAX,
                max_parked_records: usize::MAX,
                ..Limits::default()
            },
            sink: &sink,
            partitions: partitions.collect(),
            parallel: 4,
            rate: None,
        };
        let board = Board::default();
        if self.run(&work, &board)? {
            return Ok(None);
        }
        let stopped = board.partitions().into_iter().find_map(|(at, progress)| {
            let error = progress.error?;
            Some(format!("{at}: {error}"))
        });
        Ok(Some(stopped.unwrap_or_else(|| {
            "the log was not read to its end".to_owned()
        })))
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn apply(&mut self, seq: u64, op: &RowOp) {
        let table = op.table();
        let id = (table.name, op.key().to_vec());
        let RowOp::Upsert { key, cells, .. } = op else {
            self.rows.remove(&id);
            return;
        };
        let columns = table.columns().count();
        let row = self.rows.entry(id).or_insert_with(|| {
            let mut values = key.clone();
            values.resize(columns, Value::Unset);
            values
        });
        let said = cells.iter().map(|(name, value)| (*name, value.clone()));
        for (name, value) in said.chain([(ROW_SEQ.name, seq.into())]) {
            let index = table.columns().position(|column| column.name == name);
            if let Some(cell) = index.and_then(|index| row.get_mut(index)) {
                *cell = value;
            }
        }
    }
}

impl Sink for Memory {
    fn prepare(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn load(&mut self, key: &PositionKey, _: u32) -> Result<Loaded, SinkError> {
        let held = self.lock();
        Ok(Loaded {
            position: held.positions.get(key).copied(),
            parked: held.parked.get(key).cloned().unwrap_or_default(),
        })
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        let part = self.1;
        let mut held = self.lock();
        for each in &batch.ops {
            if part.has(each.op.key()) {
                held.apply(each.seq, &each.op);
            }
        }
        if !batch.parked.is_empty() {
            let parked = held.parked.entry(batch.key.clone()).or_default();
            parked.extend(batch.parked.iter().cloned());
        }
        held.positions.insert(batch.key.clone(), batch.next);
        Ok(())
    }
}
