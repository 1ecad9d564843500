//! Whether positions hold what the log held.

use cartwright_projector::Plan;
use cartwright_read_model::{Position, PositionKey};
use cartwright_replay::build::Board;
use cartwright_replay::reached::missing;
use cartwright_replay::reading;
use cartwright_sinks::{MemorySink, MemoryStore, Sink};

use crate::history::{History, price_changed};
use crate::memory::build_on;
use crate::setup::{Entry, PARTITIONS, SUBJECTS, TestLog, partition_of, plan};

pub fn positions(store: &MemoryStore, plan: &Plan) -> Vec<(PositionKey, Position)> {
    let mut sink = MemorySink::new(store.clone(), plan.version);
    let mut positions = Vec::new();
    for stream in plan.projection.streams {
        for partition in 0..PARTITIONS {
            let key = PositionKey {
                projection: plan.projection.name,
                version: plan.version,
                stream: *stream,
                partition,
            };
            let loaded = sink.load(&key, plan.generation).expect("loaded");
            positions.extend(loaded.position.map(|position| (key, position)));
        }
    }
    positions
}

#[test]
fn what_was_built_to_the_end_misses_nothing_though_marks_of_commits_lie_behind_it() {
    let log = TestLog::with(&History::new(30, 30).events);
    for (name, semantics) in SUBJECTS {
        let (plan, store) = (plan(name), MemoryStore::new(semantics));
        let mut ends = reading::ends(&log.log, plan.projection).expect("ends");
        ends.retain(|_, end| *end > 0);
        let nothing = missing(&log.log, &[], 1, &ends).expect("looked");
        assert_eq!(nothing.len(), ends.len(), "{name}: before it is begun");
        assert!(build_on(&log, plan, &store, &Board::default()));
        let positions = positions(&store, &plan);
        let is_before = |(key, position): &(PositionKey, Position)| {
            let end = ends.iter().find(|(at, _)| {
                (at.topic.as_ref(), at.partition) == (key.stream.topic(), key.partition)
            });
            end.is_some_and(|(_, end)| position.next_offset < *end)
        };
        let begun = positions.iter().any(is_before);
        assert_eq!(begun, !ends.is_empty(), "{name}: marks lie behind");
        let none = missing(&log.log, &positions, 1, &ends).expect("looked");
        assert_eq!(none, [], "{name}");
        let other = missing(&log.log, &positions, 2, &ends).expect("looked");
        assert_eq!(other.len(), ends.len(), "{name}: of another log");
    }
}

#[test]
fn a_record_that_is_not_applied_is_missed_when_it_lies_before_the_end() {
    let mut log = TestLog::with(&History::new(31, 10).events);
    let (name, semantics) = SUBJECTS[4];
    let (plan, store) = (plan(name), MemoryStore::new(semantics));
    assert!(build_on(&log, plan, &store, &Board::default()));
    let ends = reading::ends(&log.log, plan.projection).expect("ends");
    log.write([Entry::Event(&price_changed("late", 2, 9))]);
    let positions = positions(&store, &plan);
    assert_eq!(missing(&log.log, &positions, 1, &ends).expect("looked"), []);
    let ends = reading::ends(&log.log, plan.projection).expect("ends");
    let found = missing(&log.log, &positions, 1, &ends).expect("looked");
    let partitions: Vec<u32> = found.iter().map(|each| each.partition).collect();
    assert_eq!(partitions, [partition_of("late")]);
}
