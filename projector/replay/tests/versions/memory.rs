//! A version in the store in memory, as a side of a comparison, and workers that feed it.

use cartwright_event_log::TopicPartition;
use cartwright_projector::{Plan, Worker};
use cartwright_read_model::versions::Build;
use cartwright_read_model::{PositionKey, Row, Table, Value};
use cartwright_replay::build::{self, Board, Cut, End, Work};
use cartwright_replay::verify::{Ends, ParkedSet, Side};
use cartwright_sinks::{MemorySink, MemoryStore, Sink};

use crate::setup::{TestLog, limits, run};

/// Builds `plan` from the whole log; answers whether it came to its end.
pub fn build_on(log: &TestLog, plan: Plan, store: &MemoryStore, board: &Board) -> bool {
    build_until(log, plan, store, board, None)
}

pub fn build_until(
    log: &TestLog,
    plan: Plan,
    store: &MemoryStore,
    board: &Board,
    cut: Option<Cut>,
) -> bool {
    let store = store.clone();
    let sink = move || -> Box<dyn Sink> { Box::new(MemorySink::new(store.clone(), plan.version)) };
    build_with(log, plan, &sink, board, cut)
}

/// The same into any sink.
pub fn build_with(
    log: &TestLog,
    plan: Plan,
    sink: &(dyn Fn() -> Box<dyn Sink> + Sync),
    board: &Board,
    cut: Option<Cut>,
) -> bool {
    let partitions = build::partitions(&log.log, &plan, |_| cut).expect("partitions");
    build_parts(log, plan, sink, board, partitions)
}

/// The same to the ends of a build as it was begun.
pub fn build_as_begun(log: &TestLog, plan: Plan, store: &MemoryStore, begun: &Build) -> bool {
    let store = store.clone();
    let sink = move || -> Box<dyn Sink> { Box::new(MemorySink::new(store.clone(), plan.version)) };
    let partitions = build::partitions_of(&log.log, &plan, begun).expect("partitions");
    build_parts(log, plan, &sink, &Board::default(), partitions)
}

fn build_parts(
    log: &TestLog,
    plan: Plan,
    sink: &(dyn Fn() -> Box<dyn Sink> + Sync),
    board: &Board,
    partitions: Vec<(TopicPartition, End)>,
) -> bool {
    let work = Work {
        log: log.log.clone(),
        codec: log.codec.clone(),
        plan,
        limits: limits(),
        sink,
        partitions,
        parallel: 2,
        rate: None,
    };
    build::run(&work, board)
}

/// A version that is fed by whoever asks it to reach something, if it is fed at all.
pub struct Version<'a> {
    pub log: &'a TestLog,
    pub store: MemoryStore,
    pub plan: Plan,
    pub fed: bool,
    /// Asked before rows are read: the moment at which something else may happen. Answers whether
    /// this version takes it in at once.
    pub on_look: Box<dyn FnMut() -> bool + 'a>,
}

impl<'a> Version<'a> {
    pub fn new(log: &'a TestLog, store: &MemoryStore, plan: Plan) -> Self {
        Self {
            log,
            store: store.clone(),
            plan,
            fed: true,
            on_look: Box::new(|| false),
        }
    }

    fn look(&mut self) -> anyhow::Result<()> {
        if (self.on_look)() {
            self.reach(&Ends::new())?;
        }
        Ok(())
    }

    fn rows(&self, table: &'static Table) -> Vec<Row> {
        self.store.rows(table, self.plan.version)
    }
}

impl Side for Version<'_> {
    fn label(&self) -> String {
        self.plan.label()
    }

    fn table(&self, name: &str) -> Option<&'static Table> {
        self.plan.projection.table(name)
    }

    fn scan(
        &mut self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        self.look()?;
        self.rows(table).into_iter().for_each(visit);
        Ok(())
    }

    fn get(&mut self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        self.look()?;
        let mut rows = self.rows(table);
        rows.retain(|row| keys.iter().any(|key| row.values.starts_with(key)));
        Ok(rows)
    }

    fn parked(&mut self, before: &Ends) -> anyhow::Result<ParkedSet> {
        let mut parked = ParkedSet::new();
        for stream in self.plan.projection.streams {
            for (at, end) in before
                .iter()
                .filter(|(at, _)| at.topic.as_ref() == stream.topic())
            {
                let key = PositionKey {
                    projection: self.plan.projection.name,
                    version: self.plan.version,
                    stream: *stream,
                    partition: at.partition,
                };
                let mut sink = MemorySink::new(self.store.clone(), self.plan.version);
                let loaded = sink.load(&key, 1)?;
                let waiting = loaded.parked.into_iter().filter(|row| row.offset < *end);
                parked.extend(
                    waiting.map(|row| (stream.topic().to_owned(), at.partition, row.offset)),
                );
            }
        }
        Ok(parked)
    }

    fn reach(&mut self, _: &Ends) -> anyhow::Result<Option<String>> {
        if !self.fed {
            return Ok(Some("does not move".to_owned()));
        }
        let sink = MemorySink::new(self.store.clone(), self.plan.version);
        let source = self.log.fixed(&self.plan);
        let codec = self.log.codec.clone();
        run(&mut Worker::new(
            self.plan,
            limits(),
            source,
            codec,
            Box::new(sink),
        ));
        Ok(None)
    }
}

/// Where the plan's partitions end now.
pub fn ends(log: &TestLog, plan: &Plan) -> anyhow::Result<Ends> {
    let ends = build::partitions(&log.log, plan, |_| None)?;
    let ends = ends.into_iter().map(|(at, end)| (at, end.offset));
    Ok(ends.filter(|(_, end)| *end > 0).collect())
}
