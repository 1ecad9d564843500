//! Builds: killed, failing, held, cut short.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Start};
use cartwright_events::Stream;
use cartwright_projector::Plan;
use cartwright_read_model::tables::TIMELINE;
use cartwright_read_model::versions::{Build, Until};
use cartwright_read_model::{FromCell, PositionKey, Row};
use cartwright_replay::build::{self, Board, Bounded, Cut, End, Phase, Rate, Signal};
use cartwright_sinks::{Batch, Loaded, MemoryFault, MemoryStore, Sink, SinkError};

use crate::history::{History, price_changed, product_created};
use crate::memory::{build_as_begun, build_on, build_until, build_with};
use crate::setup::{Entry, SUBJECTS, TestLog, partition_of, plan, rows};

/// The same projection under another number.
fn second(name: &str) -> Plan {
    Plan {
        version: 2,
        ..plan(name)
    }
}

fn built(store: &MemoryStore, plan: &Plan) -> Vec<Row> {
    store.projection_rows(plan.projection, plan.version)
}

#[test]
fn a_version_is_built_beside_the_other_with_the_same_rows() {
    let log = TestLog::with(&History::new(7, 30).events);
    for (name, semantics) in SUBJECTS {
        let store = log.project(name, semantics);
        let (plan, board) = (second(name), Board::default());
        assert!(
            build_on(&log, plan, &store, &board),
            "{:?}",
            board.partitions()
        );
        assert_eq!(built(&store, &plan), rows(&store, name), "{name}");
        let partitions = board.partitions();
        assert!(
            partitions
                .values()
                .all(|each| each.phase == Phase::Done && each.behind == 0)
        );
        // Run again, it finds nothing to do.
        let applied = store.applied();
        assert!(build_on(&log, plan, &store, &Board::default()));
        assert_eq!(store.applied(), applied, "{name}");
    }
}

#[test]
fn a_build_whose_store_fails_anywhere_goes_on_where_it_was() {
    let log = TestLog::with(&History::new(8, 20).events);
    for (name, semantics) in SUBJECTS {
        let whole = rows(&log.project(name, semantics), name);
        for step in 0..6 {
            let (store, plan) = (MemoryStore::new(semantics), second(name));
            // Killed in the middle of a batch, with and without its rows, and begun again.
            for fault in [
                MemoryFault::AfterRows(step),
                MemoryFault::AnswerLost,
                MemoryFault::Refused,
            ] {
                store.inject(fault);
                build_on(&log, plan, &store, &Board::default());
            }
            assert!(build_on(&log, plan, &store, &Board::default()));
            assert_eq!(built(&store, &plan), whole, "{name}, {step}");
        }
    }
}

#[test]
fn an_error_is_told_beside_the_progress_and_other_partitions_go_on() {
    let log = TestLog::with(&History::new(9, 20).events);
    let (name, semantics) = SUBJECTS[5];
    let (store, board) = (MemoryStore::new(semantics), Board::default());
    store.inject(MemoryFault::Refused);
    assert!(!build_on(&log, second(name), &store, &board));
    let phases: Vec<Phase> = board.partitions().values().map(|each| each.phase).collect();
    assert_eq!(
        phases
            .iter()
            .filter(|phase| **phase == Phase::Stopped)
            .count(),
        1
    );
    assert_eq!(
        phases.iter().filter(|phase| **phase == Phase::Done).count(),
        1
    );
    let errors = board
        .partitions()
        .into_values()
        .filter_map(|each| each.error);
    assert_eq!(errors.collect::<Vec<_>>(), ["memory: refused"]);
}

/// A store whose client has a defect.
struct Broken;

impl Sink for Broken {
    fn prepare(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn load(&mut self, key: &PositionKey, _: u32) -> Result<Loaded, SinkError> {
        assert_ne!(key.partition, 0, "no such partition");
        Ok(Loaded::default())
    }

    fn apply(&mut self, _: &Arc<Batch>) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn a_panic_stops_its_partition_with_a_reason_and_no_other() {
    let log = TestLog::with(&History::new(9, 20).events);
    let (plan, board) = (second(SUBJECTS[5].0), Board::default());
    assert!(!build_with(&log, plan, &|| Box::new(Broken), &board, None));
    let partitions: Vec<_> = board.partitions().into_values().collect();
    let [first, second] = partitions.as_slice() else {
        panic!("{partitions:?}");
    };
    assert_eq!((first.phase, second.phase), (Phase::Stopped, Phase::Done));
    let error = first.error.as_deref().unwrap_or_default();
    assert!(
        error.starts_with("building has ended in a panic: ") && error.contains("no such partition"),
        "{error}"
    );
}

#[test]
fn a_build_that_is_held_does_nothing_until_it_may_go_on() {
    let log = TestLog::with(&History::new(10, 10).events);
    let (name, semantics) = SUBJECTS[6];
    let (store, board) = (MemoryStore::new(semantics), Board::default());
    board.tell(Signal::Hold);
    std::thread::scope(|scope| {
        let building = scope.spawn(|| build_on(&log, second(name), &store, &board));
        let deadline = Instant::now() + Duration::from_secs(60);
        let paused = || {
            board
                .partitions()
                .values()
                .any(|each| each.phase == Phase::Paused)
        };
        while !paused() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(store.applied(), 0);
        board.tell(Signal::Go);
        assert!(building.join().expect("no panic"));
    });
    let stopped = Board::default();
    stopped.tell(Signal::Stop);
    let other = MemoryStore::new(semantics);
    assert!(!build_on(&log, second(name), &other, &stopped));
    assert_eq!(other.applied(), 0);
}

#[test]
fn a_point_in_time_holds_what_came_before_it_and_no_more() {
    let log = TestLog::with(&History::new(11, 20).events);
    let (name, semantics) = SUBJECTS[6];
    let store = MemoryStore::new(semantics);
    let cut = Cut::Seq(9);
    assert!(build_until(
        &log,
        second(name),
        &store,
        &Board::default(),
        Some(cut)
    ));
    let seqs: Vec<u64> = store
        .rows(&TIMELINE, 2)
        .iter()
        .filter_map(|row| u64::from_cell(row.value("row_seq")))
        .collect();
    // Two topics of two partitions each.
    assert_eq!(seqs.len(), 4 * 9);
    assert!(seqs.iter().all(|seq| *seq <= 9));
    // Begun again after the log went on, it stays what it was.
    let applied = store.applied();
    assert!(build_until(
        &log,
        second(name),
        &store,
        &Board::default(),
        Some(cut)
    ));
    assert_eq!(store.applied(), applied);
}

/// A position names what a command has written to; of other partitions counts what was there when the build was
/// begun.
#[test]
fn a_position_shows_the_same_however_late_its_build_comes_to_its_end() {
    let in_partition = |partition| {
        let mut names = (0..).map(|number| format!("sku-{number}"));
        let found = names.find(|sku| partition_of(sku) == partition);
        found.expect("a name")
    };
    let (named, other) = (in_partition(0), in_partition(1));
    let mut log = TestLog::with(&[product_created(&named, 5), product_created(&other, 7)]);
    let plan = second("catalog");
    let begun = Build {
        until: Some(Until {
            name: "then".to_owned(),
            time: None,
            ends: [(format!("{}-0", Stream::Product.topic()), 1)].into(),
        }),
        log_ends: build::log_ends(&log.log, plan.projection).expect("ends"),
        ..Build::default()
    };
    let [unbroken, late] = [(); 2].map(|()| MemoryStore::new(SUBJECTS[4].1));
    assert!(build_as_begun(&log, plan, &unbroken, &begun));
    log.write(
        [&named, &other]
            .map(|sku| price_changed(sku, 2, 9))
            .iter()
            .map(Entry::Event),
    );
    assert!(build_as_begun(&log, plan, &late, &begun));
    assert_eq!(built(&late, &plan), built(&unbroken, &plan));
    assert_eq!(built(&late, &plan).len(), 2);
}

#[test]
fn a_position_that_would_cut_nothing_off_is_refused() {
    let mut log = TestLog::with(&[product_created("cup", 5)]);
    log.write([Entry::Event(&price_changed("cup", 2, 9))]);
    let plan = second("catalog");
    let held = |stream: Stream, partition: u32, seq: u64| {
        let until = Until {
            name: "then".to_owned(),
            time: None,
            ends: [(format!("{}-{partition}", stream.topic()), seq)].into(),
        };
        build::check_held(&log.log, plan.projection, &until).map_err(|error| error.to_string())
    };
    let cup = partition_of("cup");
    for seq in 0..=2 {
        assert_eq!(held(Stream::Product, cup, seq), Ok(()), "{seq}");
    }
    for (refused, why) in [
        (held(Stream::Product, cup, 3), "does not hold it"),
        (held(Stream::Product, 99, 1), "no such partition"),
        (held(Stream::Order, 0, 1), "no partition that catalog reads"),
    ] {
        let error = refused.expect_err(why);
        assert!(error.contains(why), "{error}");
    }
}

/// The log's time is when a record was taken, whatever the event says of when it occurred.
#[test]
fn a_moment_is_one_of_the_logs_time() {
    let mut log = TestLog::new();
    log.write([Entry::Event(&product_created("cup", 5))]);
    log.log.advance(Duration::from_secs(60));
    let moment = log.log.now_us();
    log.write([Entry::Event(&product_created("hat", 7))]);
    let (plan, store) = (second("catalog"), MemoryStore::new(SUBJECTS[4].1));
    let built = |store: &MemoryStore, moment| {
        let cut = Some(Cut::Time(moment));
        build_until(&log, plan, store, &Board::default(), cut)
    };
    assert!(built(&store, moment));
    let rows = built_rows(&store, &plan);
    assert_eq!(
        rows,
        ["cup"],
        "what was taken at that moment is not of before it"
    );
    // When the products were created by their own account.
    let occurred = product_created("cup", 5).occurred_at.as_micros();
    assert!(occurred > moment);
    let earlier = MemoryStore::new(SUBJECTS[4].1);
    assert!(built(&earlier, moment - 120_000_000));
    assert_eq!(built_rows(&earlier, &plan), [""; 0]);
}

fn built_rows(store: &MemoryStore, plan: &Plan) -> Vec<String> {
    let rows = built(store, plan).into_iter();
    rows.filter_map(|row| String::from_cell(&row.values[0]))
        .collect()
}

#[test]
fn only_the_keys_asked_for_are_built() {
    let log = TestLog::with(&History::new(12, 20).events);
    let (name, semantics) = SUBJECTS[6];
    let keys = Box::leak(Box::new(["cart-3".to_owned()].into()));
    let plan = Plan {
        keys: Some(keys),
        ..second(name)
    };
    let store = MemoryStore::new(semantics);
    assert!(build_on(&log, plan, &store, &Board::default()));
    let built = built(&store, &plan);
    let whole = rows(&log.project(name, semantics), name);
    let of_key = |row: &&Row| String::from_cell(&row.values[0]).as_deref() == Some("cart-3");
    assert_eq!(
        built,
        whole.iter().filter(of_key).cloned().collect::<Vec<_>>()
    );
    assert!(!built.is_empty());
}

#[test]
fn a_slow_build_reads_no_faster_than_it_may() {
    let log = TestLog::with(&History::new(13, 30).events);
    let plan = second("timeline");
    let (at, end) = build::partitions(&log.log, &plan, |_| None)
        .expect("partitions")
        .remove(0);
    let reader = log.log.reader(ReaderPurpose::Recovery).expect("a reader");
    let end = End { cut: None, ..end };
    let mut source = Bounded::new(
        reader,
        at.clone(),
        end,
        Some(Arc::new(Rate::new(Some(200)))),
    );
    source
        .assign(&[(at.clone(), Start::Beginning)])
        .expect("assigned");
    let begun = Instant::now();
    let mut read = 0;
    while read < 20 {
        read += source
            .poll(100, Duration::from_millis(50))
            .expect("records")
            .len();
    }
    // The first tenth of a second's worth is free.
    let least = (read as f64 - 20.0).max(0.0) / 200.0;
    assert!(begun.elapsed().as_secs_f64() >= least);
    assert!(read <= 20 + (begun.elapsed().as_secs_f64() * 200.0) as usize + 1);
}

#[test]
fn the_rate_of_a_build_can_be_changed_while_it_reads() {
    let log = TestLog::with(&[product_created("cup", 5), product_created("hat", 7)]);
    let plan = second("catalog");
    let rate = Arc::new(Rate::new(None));
    let read = |most| {
        let mut read = 0;
        for (at, end) in build::partitions(&log.log, &plan, |_| None).expect("partitions") {
            let reader = log.log.reader(ReaderPurpose::Recovery).expect("a reader");
            let mut source = Bounded::new(reader, at.clone(), end, Some(Arc::clone(&rate)));
            source.assign(&[(at, Start::Beginning)]).expect("assigned");
            let records = source.poll(most, Duration::from_millis(1));
            read += records.expect("records").len();
        }
        read
    };
    assert_eq!(read(100), 2, "as fast as it can");
    rate.set(Some(1));
    assert!(read(100) <= 1, "one a second, of both partitions together");
    rate.set(None);
    assert_eq!(read(100), 2);
}
