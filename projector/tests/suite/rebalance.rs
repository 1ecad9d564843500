//! Several workers share a projection's partitions through their group.

use cartwright_event_log::EventLog;
use cartwright_event_log::memory::{MemoryGroupReader, MemoryLog};
use cartwright_projector::{Step, Worker};
use cartwright_sinks::{MemoryFault, MemorySink, MemoryStore, Semantics};

use crate::history::History;
use crate::setup::{Entry, SUBJECTS, TestLog, limits, partition_of, plan, rows};

fn member(log: &TestLog, name: &str, store: &MemoryStore) -> Worker<MemoryGroupReader> {
    let plan = plan(name);
    let reader = log.log.group_reader(&plan.group(), &plan.topics());
    let sink = MemorySink::new(store.clone(), 1);
    let reader = reader.expect("a member");
    Worker::new(plan, limits(), reader, log.codec.clone(), Box::new(sink))
}

/// Steps all members in turn until none has anything to do.
fn settle(members: &mut [Worker<MemoryGroupReader>]) {
    let mut quiet = 0;
    for _ in 0..10_000 {
        let steps: Vec<Step> = members.iter_mut().map(Worker::step).collect();
        let idle = steps.iter().all(|step| *step == Step::Idle);
        quiet = if idle { quiet + 1 } else { 0 };
        if quiet == 3 {
            return;
        }
    }
    panic!("no end");
}

fn owned(worker: &mut Worker<MemoryGroupReader>) -> usize {
    worker.report().len()
}

#[test]
fn members_share_the_partitions_and_take_over_from_each_other() {
    let events = History::new(7, 24).events;
    let (before, after) = events.split_at(events.len() / 2);
    for (name, semantics) in SUBJECTS {
        let mut log = TestLog::over(MemoryLog::new());
        let write = |log: &mut TestLog, events: &[cartwright_events::Event]| {
            for group in events.chunks(3) {
                log.write(group.iter().map(Entry::Event));
            }
        };
        write(&mut log, before);
        let store = MemoryStore::new(semantics);
        let mut members = vec![member(&log, name, &store)];
        // In the middle of it a second one joins.
        for _ in 0..3 {
            members[0].step();
        }
        members.push(member(&log, name, &store));
        settle(&mut members);
        assert!(
            members.iter_mut().all(|one| owned(one) > 0),
            "{name}: both have some"
        );
        write(&mut log, after);
        for _ in 0..2 {
            members.iter_mut().for_each(|one| drop(one.step()));
        }
        // And the first one goes.
        drop(members.remove(0));
        settle(&mut members);
        let all = plan(name).topics().len() * 2;
        assert_eq!(owned(&mut members[0]), all, "{name}: the other has all");
        let whole = rows(&log.project(name, semantics), name);
        assert_eq!(rows(&store, name), whole, "{name}");
    }
}

#[test]
fn a_rebalance_is_heard_while_the_store_is_down() {
    let log = TestLog::with(&History::new(8, 12).events);
    let store = MemoryStore::new(Semantics::Transactional);
    let mut members = vec![member(&log, "sales", &store)];
    for _ in 0..3 {
        members[0].step();
    }
    store.set_down(true);
    for _ in 0..3 {
        members[0].step();
    }
    members.push(member(&log, "sales", &store));
    for _ in 0..6 {
        members.iter_mut().for_each(|one| drop(one.step()));
    }
    assert!(
        members.iter_mut().all(|one| owned(one) == 1),
        "one partition each"
    );
    store.set_down(false);
    settle(&mut members);
    let whole = log.project("sales", Semantics::Transactional);
    assert_eq!(rows(&store, "sales"), rows(&whole, "sales"));
}

#[test]
fn a_partition_that_moved_while_it_was_paused_is_read_again() {
    let mut log = TestLog::new();
    log.write([Entry::Event(&crate::history::product_created("cup", 5))]);
    let store = MemoryStore::new(Semantics::Transactional);
    let mut members = vec![member(&log, "catalog", &store)];
    // The batch goes through and its answer is lost: the worker waits, its partitions paused, and
    // then finds that the position has moved.
    store.inject(MemoryFault::AnswerLost);
    settle(&mut members);
    log.write([Entry::Event(&crate::history::price_changed("cup", 2, 6))]);
    settle(&mut members);
    let whole = log.project("catalog", Semantics::Transactional);
    assert_eq!(rows(&store, "catalog"), rows(&whole, "catalog"));
}

#[test]
fn a_report_says_how_far_behind_each_partition_is() {
    let log = TestLog::with(&History::new(9, 6).events);
    let store = MemoryStore::new(Semantics::Transactional);
    let mut members = vec![member(&log, "sales", &store)];
    assert!(!members[0].is_following(), "before the group has dealt");
    settle(&mut members);
    assert!(members[0].is_following());
    for partition in members[0].report() {
        assert_eq!(partition.behind, Some(0));
        assert!(partition.position.is_some_and(|position| position.seq > 0));
    }
}

#[test]
fn a_report_says_since_when_the_first_batch_waits_that_the_store_does_not_take() {
    let mut log = TestLog::new();
    log.write([Entry::Event(&crate::history::product_created("cup", 5))]);
    let store = MemoryStore::new(Semantics::Transactional);
    store.inject(MemoryFault::AfterRows(0));
    let mut worker = log.worker("products", &store);
    while !matches!(worker.step(), Step::Waiting { .. }) {}
    let mut reports = worker.report().into_iter();
    let cup = reports.find(|each| each.at.partition == partition_of("cup"));
    let cup = cup.expect("its partition");
    assert_eq!((cup.position, cup.behind), (None, Some(0)), "all is read");
    assert!(cup.oldest_waiting.is_some(), "{cup:?}");
}

#[test]
fn a_partition_that_is_read_to_its_end_says_so_though_nothing_happens() {
    for semantics in [Semantics::Transactional, Semantics::CellTimes] {
        let mut log = TestLog::new();
        let cup = crate::history::product_created("cup", 5);
        log.write([Entry::Event(&cup)]);
        let store = MemoryStore::new(semantics);
        let limits = cartwright_projector::Limits {
            heartbeat: Some(std::time::Duration::ZERO),
            ..limits()
        };
        let plan = plan("products");
        let sink = Box::new(MemorySink::new(store.clone(), 1));
        let reader = log.fixed(&plan);
        let mut worker = Worker::new(plan, limits, reader, log.codec.clone(), sink);
        let begin = cartwright_events::Timestamp::now();
        for _ in 0..5 {
            worker.step();
        }
        for partition in worker.report() {
            let position = partition
                .position
                .expect("also of a partition without events");
            assert!(position.recorded_at >= begin, "{position:?}");
        }
        let whole = rows(&store, "products");
        // What comes afterwards is read as ever, by this worker and by the next.
        log.write([Entry::Event(&crate::history::price_changed("cup", 2, 6))]);
        worker.step();
        log.write([Entry::Event(&crate::history::price_changed("cup", 3, 7))]);
        assert_eq!(
            crate::setup::run(&mut log.worker("products", &store)),
            Step::Idle
        );
        assert_ne!(rows(&store, "products"), whole);
        let expected = log.project("products", semantics);
        assert_eq!(rows(&store, "products"), rows(&expected, "products"));
    }
}
