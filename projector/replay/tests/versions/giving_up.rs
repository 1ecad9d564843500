//! Records that were given up under one version, in the next.

use std::collections::BTreeSet;

use cartwright_events::{Stream, Timestamp};
use cartwright_projector::Plan;
use cartwright_read_model::tables::{CONTROL_VERSION, SKIPPED};
use cartwright_read_model::versions::Outcome;
use cartwright_read_model::{ParkAction, ParkRequest, Value};
use cartwright_replay::audit::Place;
use cartwright_replay::build::Board;
use cartwright_replay::given_up::{carried_row, places, without};
use cartwright_replay::verify::{self, Findings, Limits, Side, compare};
use cartwright_sinks::{MemoryStore, Semantics};

use crate::history::{price_changed, product_created};
use crate::memory::{Version, build_on, ends};
use crate::setup::{Entry, TestLog, partition_of, plan, run};

fn numbered(version: u32) -> Plan {
    Plan {
        version,
        ..plan("catalog")
    }
}

fn compared(left: &mut dyn Side, right: &mut dyn Side, log: &TestLog, plan: &Plan) -> Findings {
    let tables = plan.projection.tables;
    let every = |_: &str, _: &str| true;
    let ends = || ends(log, plan);
    compare(left, right, tables, &every, &ends, Limits::default()).expect("compared")
}

/// A record that no fold takes, given up under version 1.
fn given_up() -> (TestLog, MemoryStore, BTreeSet<Place>) {
    let mut log = TestLog::new();
    log.write([Entry::Event(&product_created("cup", 5))]);
    log.write([
        Entry::Raw(Stream::Product, "cup", None),
        Entry::Foreign(Stream::Product, "cup", b"hello"),
    ]);
    log.write([Entry::Event(&price_changed("cup", 2, 6))]);
    let store = MemoryStore::new(Semantics::Transactional);
    let mut worker = log.worker("catalog", &store);
    run(&mut worker);
    for id in ["1", "2"] {
        let request = ParkRequest {
            id: id.to_owned(),
            stream: Stream::Product,
            partition: partition_of("cup"),
            action: ParkAction::Skip,
            key: Some("cup".to_owned()),
            offset: None,
            reason_part: None,
            note: Some("worth nothing".to_owned()),
            asked_by: "me".to_owned(),
            asked_at: Timestamp::EPOCH,
        };
        store.ask("catalog", 1, &request);
        run(&mut worker);
    }
    let skipped = store.rows(&SKIPPED, CONTROL_VERSION);
    let given_up: BTreeSet<Place> = places(&skipped, 1).collect();
    assert_eq!(given_up.len(), 2, "{skipped:?}");
    (log, store, given_up)
}

#[test]
fn what_was_given_up_under_one_version_is_given_up_in_the_next_and_both_agree_with_the_log() {
    let (log, store, given_up) = given_up();
    let plan = without(numbered(2), given_up);
    assert!(build_on(&log, plan, &store, &Board::default()));
    let mut left = Version::new(&log, &store, numbered(1));
    let mut right = Version::new(&log, &store, plan);
    let findings = compared(&mut left, &mut right, &log, &plan);
    assert_eq!(findings.outcome(), Outcome::Passed, "{findings:?}");
    assert_eq!(findings.rows, 1);
    let mut folded = verify::Folded::new(log.log.clone(), log.codec.clone(), plan);
    let findings = compared(&mut folded, &mut right, &log, &plan);
    assert_eq!(findings.outcome(), Outcome::Passed, "{findings:?}");
}

#[test]
fn a_version_that_does_not_know_what_was_given_up_parks_it_again() {
    let (log, store, _) = given_up();
    let plan = numbered(2);
    assert!(build_on(&log, plan, &store, &Board::default()));
    let mut left = Version::new(&log, &store, numbered(1));
    let mut right = Version::new(&log, &store, plan);
    let findings = compared(&mut left, &mut right, &log, &plan);
    assert_eq!(findings.parked_right_only.len(), 3);
}

#[test]
fn who_gave_a_record_up_and_why_is_carried_over() {
    let (_, store, _) = given_up();
    let row = store.rows(&SKIPPED, CONTROL_VERSION).remove(0);
    let (key, cells) = carried_row(&row, 1, 2);
    assert_eq!(key[1], Value::from(2_u32));
    assert_eq!((&key[0], &key[2..]), (&row.values[0], &row.values[2..6]));
    let cell = |name| {
        cells
            .iter()
            .find(|(cell, _)| *cell == name)
            .map(|(_, value)| value)
    };
    let note = Value::from("worth nothing (carried over from version 1)");
    assert_eq!(cell("note"), Some(&note));
    assert_eq!(cell("skipped_by"), Some(&Value::from("me")));
}
