//! Killed at any moment and started again, the rows are those of one clean run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cartwright_events::{Event, Stream};
use cartwright_projector::{Step, Worker};
use cartwright_read_model::PositionKey;
use cartwright_sinks::{
    Batch, Begun, Loaded, MemoryFault, MemorySink, MemoryStore, Semantics, Sink, SinkError,
};
use proptest::prelude::*;

use crate::history::{History, Numbers, price_changed, product_created};
use crate::setup::{SUBJECTS, TestLog, rows, run};

#[test]
fn one_run_shows_every_event() {
    let history = History::new(1, 30);
    let log = TestLog::with(&history.events);
    let timeline = log.project("timeline", Semantics::Transactional);
    assert_eq!(rows(&timeline, "timeline").len(), history.events.len());
    let created = |event: &&Event| event.body.type_name() == "OrderCreated";
    let orders = history.of(Stream::Order).filter(created).count();
    let store = log.project("orders", Semantics::CellTimes);
    let of_orders = |row: &&cartwright_read_model::Row| row.table.name == "orders";
    assert_eq!(
        rows(&store, "orders").iter().filter(of_orders).count(),
        orders
    );
}

#[test]
fn both_ways_of_storing_end_with_the_same_rows() {
    let log = TestLog::with(&History::new(2, 30).events);
    for (name, _) in SUBJECTS {
        let one = log.project(name, Semantics::Transactional);
        let other = log.project(name, Semantics::CellTimes);
        assert_eq!(rows(&one, name), rows(&other, name), "{name}");
    }
}

#[test]
fn a_worker_killed_after_every_number_of_steps_loses_and_doubles_nothing() {
    let log = TestLog::with(&History::new(3, 12).events);
    for (name, semantics) in SUBJECTS {
        let whole = rows(&log.project(name, semantics), name);
        for steps in 1..12 {
            let store = MemoryStore::new(semantics);
            // Each life gets that many steps, and at least one that applies something.
            for _ in 0..1_000 {
                let mut worker = log.worker(name, &store);
                let mut last = worker.step();
                for _ in 0..steps {
                    last = worker.step();
                }
                if last == Step::Idle {
                    break;
                }
            }
            assert_eq!(run(&mut log.worker(name, &store)), Step::Idle);
            assert_eq!(rows(&store, name), whole, "{name}, {steps} steps a life");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_that_fails_anywhere_ends_with_the_rows_of_one_run(
        seed in any::<u64>(), subject in 0..SUBJECTS.len(), later in any::<bool>(),
    ) {
        let (name, semantics) = SUBJECTS[subject];
        let mut numbers = Numbers::new(seed);
        let mut events = History::new(seed, 8).events;
        events.extend([product_created("a", 5), price_changed("a", 2, 6), product_created("b", 7)]);
        let log = TestLog::with(&events);
        let whole = rows(&log.project(name, semantics), name);
        let store = MemoryStore::new(semantics);
        for _ in 0..12 {
            for _ in 0..numbers.below(4) {
                store.inject(match numbers.below(3) {
                    0 => MemoryFault::AnswerLost,
                    _ => MemoryFault::AfterRows(numbers.below(6) as usize),
                });
            }
            let mut worker = match later {
                true => log.worker_with(name, Box::new(Later::over(&store))),
                false => log.worker(name, &store),
            };
            for _ in 0..numbers.below(9) {
                worker.step();
            }
        }
        prop_assert_eq!(run(&mut log.worker(name, &store)), Step::Idle);
        prop_assert_eq!(rows(&store, name), whole);
    }
}

/// Leaves every batch under way until its end is asked for. What is under way when it is dropped is
/// lost.
struct Later {
    inner: MemorySink,
    under_way: BTreeMap<u32, Arc<Batch>>,
}

impl Later {
    fn over(store: &MemoryStore) -> Self {
        Self {
            inner: MemorySink::new(store.clone(), 1),
            under_way: BTreeMap::new(),
        }
    }
}

/// A number for a partition of a stream.
fn place(key: &PositionKey) -> u32 {
    let stream = Stream::ALL.iter().position(|each| *each == key.stream);
    key.partition * 100 + u32::try_from(stream.unwrap_or(99)).unwrap_or(99)
}

impl Sink for Later {
    fn prepare(&mut self) -> Result<(), SinkError> {
        self.inner.prepare()
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        assert!(!self.under_way.contains_key(&place(key)), "{key:?}");
        self.inner.load(key, generation)
    }

    fn apply(&mut self, _: &Arc<Batch>) -> Result<(), SinkError> {
        unreachable!("a worker begins its batches")
    }

    fn begin(&mut self, batch: &Arc<Batch>) -> Begun {
        let before = self.under_way.insert(place(&batch.key), batch.clone());
        assert_eq!(before, None, "one at a time");
        Begun::UnderWay
    }

    fn finish(&mut self, key: &PositionKey) -> Result<(), SinkError> {
        let batch = self.under_way.remove(&place(key));
        batch.map_or(Ok(()), |batch| self.inner.apply(&batch))
    }
}

#[test]
fn the_next_batch_is_made_while_one_is_under_way_and_all_are_applied() {
    for (name, semantics) in SUBJECTS {
        let log = TestLog::with(&History::new(6, 15).events);
        let whole = log.project(name, semantics);
        let store = MemoryStore::new(semantics);
        let mut worker = log.worker_with(name, Box::new(Later::over(&store)));
        assert_eq!(run(&mut worker), Step::Idle, "{name}");
        assert_eq!(rows(&store, name), rows(&whole, name), "{name}");
        let totals = worker.totals();
        let mut alone = log.worker(name, &MemoryStore::new(semantics));
        run(&mut alone);
        assert_eq!(totals.records, alone.totals().records, "{name}");
    }
}

/// What happens in the middle.
type Interruption = Box<dyn FnOnce() + Send>;

/// Runs something before the first batch reaches the store.
struct Interrupted {
    inner: MemorySink,
    before: Arc<Mutex<Option<Interruption>>>,
}

impl Sink for Interrupted {
    fn prepare(&mut self) -> Result<(), SinkError> {
        self.inner.prepare()
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        self.inner.load(key, generation)
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        let before = self.before.lock().expect("no panic").take();
        if let Some(before) = before {
            before();
        }
        self.inner.apply(batch)
    }
}

#[test]
fn a_worker_that_has_lost_its_partition_changes_nothing() {
    for (name, semantics) in SUBJECTS {
        let log = TestLog::with(&History::new(4, 15).events);
        let whole = rows(&log.project(name, semantics), name);
        let store = MemoryStore::new(semantics);
        // While the first worker holds its first batch, another takes over and does everything.
        let mut successor = log.worker(name, &store);
        let takes_over = move || assert_eq!(run(&mut successor), Step::Idle);
        let sink = Interrupted {
            inner: MemorySink::new(store.clone(), 1),
            before: Arc::new(Mutex::new(Some(Box::new(takes_over)))),
        };
        let mut late = log.worker_with(name, Box::new(sink));
        assert_eq!(run(&mut late), Step::Idle, "{name}");
        assert_eq!(rows(&store, name), whole, "{name}");
    }
}

#[test]
fn a_store_that_is_down_is_waited_for_and_nothing_is_parked() {
    let log = TestLog::with(&History::new(5, 10).events);
    for (name, semantics) in SUBJECTS {
        let store = MemoryStore::new(semantics);
        let mut worker = log.worker(name, &store);
        let steps_while_down = |worker: &mut Worker<_>| {
            store.set_down(true);
            let steps: Vec<Step> = (0..5).map(|_| worker.step()).collect();
            store.set_down(false);
            let harmless = |step: &Step| !matches!(step, Step::Applied(_) | Step::Stopped { .. });
            assert!(steps.iter().all(harmless), "{name}: {steps:?}");
            steps
        };
        let waited = steps_while_down(&mut worker)
            .iter()
            .any(|step| matches!(step, Step::Waiting { .. }));
        assert!(waited, "{name}: the store's failure was not met");
        worker.step();
        steps_while_down(&mut worker);
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(
            rows(&store, name),
            rows(&log.project(name, semantics), name)
        );
        assert!(worker.report().iter().all(|each| each.parked_keys == 0));
    }
}
