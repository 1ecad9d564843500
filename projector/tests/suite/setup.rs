//! A log with a history in it, stores, and workers over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cartwright_event_log::memory::{MemoryLog, MemoryReader};
use cartwright_event_log::{
    EventLog, LogReader, LogWriter, NewRecord, ReaderPurpose, TopicPartition,
};
use cartwright_events::envelope::header;
use cartwright_events::{Codec, Event, Stream};
use cartwright_projector::{FixedPartitions, Limits, Plan, Step, Worker};
use cartwright_read_model::{Row, Value};
use cartwright_sinks::{MemorySink, MemoryStore, Semantics, Sink};

pub const PARTITIONS: u32 = 2;

/// Small batches, no waiting.
pub fn limits() -> Limits {
    Limits {
        max_records: 7,
        max_bytes: 1_024 * 1_024,
        max_rows: 5,
        linger: Duration::ZERO,
        poll: Duration::ZERO,
        retry_min: Duration::ZERO,
        retry_max: Duration::ZERO,
        heartbeat: None,
        max_parked_keys: 3,
        max_parked_records: 1_000,
        requests_every: Duration::ZERO,
        unpark_records: 4,
        unpark_bytes: 64 * 1_024,
        unpark_slice: Duration::ZERO,
    }
}

/// The newest declaration, built as version 1.
pub fn plan(name: &str) -> Plan {
    Plan {
        version: 1,
        ..Plan::named(name, 1).expect("a projection")
    }
}

/// A log that is written to as shards do it.
pub struct TestLog {
    pub log: MemoryLog,
    pub codec: Codec,
    seqs: BTreeMap<(Stream, u32), u64>,
}

/// What a test puts into the log.
pub enum Entry<'a> {
    Event(&'a Event),
    /// A record of a shard with any value, under a key.
    Raw(Stream, &'a str, Option<Vec<u8>>),
    /// A record that no shard wrote.
    Foreign(Stream, &'a str, &'a [u8]),
}

impl TestLog {
    pub fn new() -> Self {
        Self::over(MemoryLog::new())
    }

    pub fn over(log: MemoryLog) -> Self {
        for stream in Stream::ALL {
            log.create_topic(stream.topic(), PARTITIONS);
        }
        Self {
            log,
            codec: Codec::fixed(),
            seqs: BTreeMap::new(),
        }
    }

    pub fn with(events: &[Event]) -> Self {
        let mut log = Self::new();
        // Transactions of several records, so that control records lie between them.
        for group in events.chunks(3) {
            log.write(group.iter().map(Entry::Event));
        }
        log
    }

    pub fn write<'a>(&mut self, entries: impl IntoIterator<Item = Entry<'a>>) {
        let records: Vec<NewRecord> = entries
            .into_iter()
            .map(|entry| match entry {
                Entry::Event(event) => {
                    let value = self.codec.encode_event(event);
                    self.record(event.body.stream(), &event.aggregate_id, Some(value))
                }
                Entry::Raw(stream, key, value) => self.record(stream, key, value),
                Entry::Foreign(stream, key, value) => NewRecord {
                    topic: stream.topic().into(),
                    partition: partition_of(key),
                    key: key.as_bytes().to_vec(),
                    value: Some(value.to_vec()),
                    headers: Vec::new(),
                },
            })
            .collect();
        if records.is_empty() {
            return;
        }
        let mut writer = self.log.writer("test").expect("a writer");
        writer.take_over().expect("take-over");
        writer.commit(records).expect("commit");
    }

    /// Leaves a gap in the seqs.
    pub fn skip_seq(&mut self, stream: Stream, key: &str) {
        *self.seqs.entry((stream, partition_of(key))).or_default() += 1;
    }

    fn record(&mut self, stream: Stream, key: &str, value: Option<Vec<u8>>) -> NewRecord {
        let partition = partition_of(key);
        let seq = self.seqs.entry((stream, partition)).or_default();
        *seq += 1;
        NewRecord {
            topic: stream.topic().into(),
            partition,
            key: key.as_bytes().to_vec(),
            value,
            headers: vec![
                (header::SEQ, seq.to_string().into_bytes()),
                (header::WRITER_EPOCH, b"1".to_vec()),
                (header::COMMAND_ID, b"command".to_vec()),
                (header::CORRELATION_ID, b"request".to_vec()),
            ],
        }
    }

    pub fn fixed(&self, plan: &Plan) -> FixedPartitions<MemoryReader> {
        let reader = self.log.reader(ReaderPurpose::Recovery).expect("a reader");
        let topics = plan.topics();
        let partitions = topics.iter().flat_map(|topic| {
            let topic: Arc<str> = Arc::from(*topic);
            (0..PARTITIONS).map(move |at| TopicPartition::new(Arc::clone(&topic), at))
        });
        FixedPartitions::new(reader, partitions.collect())
    }

    pub fn worker(&self, name: &str, store: &MemoryStore) -> Worker<FixedPartitions<MemoryReader>> {
        self.worker_with(name, sink(store))
    }

    pub fn worker_with(
        &self,
        name: &str,
        sink: Box<dyn Sink>,
    ) -> Worker<FixedPartitions<MemoryReader>> {
        self.worker_of(plan(name), limits(), sink)
    }

    /// A worker with everything of its own; reads parked records again when asked to.
    pub fn worker_of(
        &self,
        plan: Plan,
        limits: Limits,
        sink: Box<dyn Sink>,
    ) -> Worker<FixedPartitions<MemoryReader>> {
        let log = self.log.clone();
        let worker = Worker::new(plan, limits, self.fixed(&plan), self.codec.clone(), sink);
        worker.with_lookup(move || {
            let reader = log.reader(ReaderPurpose::Recovery)?;
            Ok(Box::new(reader) as Box<dyn LogReader>)
        })
    }

    /// Projects everything in one clean run.
    pub fn project(&self, name: &str, semantics: Semantics) -> MemoryStore {
        let store = MemoryStore::new(semantics);
        let last = run(&mut self.worker(name, &store));
        assert_eq!(last, Step::Idle);
        store
    }
}

pub fn partition_of(key: &str) -> u32 {
    cartwright_events::partition::partition_of(key, PARTITIONS)
}

/// Steps until there is nothing left to do, or it stops; answers the last step.
pub fn run<G: cartwright_event_log::GroupReader>(worker: &mut Worker<G>) -> Step {
    for _ in 0..100_000 {
        let step = worker.step();
        if !matches!(
            step,
            Step::Applied(_) | Step::Rebalanced | Step::Waiting { .. }
        ) {
            return step;
        }
    }
    panic!("no end");
}

pub fn sink(store: &MemoryStore) -> Box<dyn Sink> {
    Box::new(MemorySink::new(store.clone(), 1))
}

pub fn rows(store: &MemoryStore, name: &str) -> Vec<Row> {
    store.projection_rows(plan(name).projection, 1)
}

pub fn price_of(store: &MemoryStore, sku: &str) -> Option<i64> {
    let rows = rows(store, "products");
    let row = rows.iter().find(|row| row.values[0] == sku.into())?;
    match row.value("price_minor") {
        Value::Int(price) => Some(*price),
        _ => None,
    }
}

/// How each kind of store is tested: a projection and the way its store works.
pub const SUBJECTS: [(&str, Semantics); 8] = [
    ("products", Semantics::CellTimes),
    ("stock", Semantics::CellTimes),
    ("carts", Semantics::CellTimes),
    ("orders", Semantics::CellTimes),
    ("catalog", Semantics::Transactional),
    ("sales", Semantics::Transactional),
    ("timeline", Semantics::Transactional),
    ("causal", Semantics::Transactional),
];
