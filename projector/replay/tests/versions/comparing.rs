//! Comparisons: of equal versions, of wrong folds, of versions that move.

use std::cell::RefCell;

use cartwright_events::{Envelope, Event};
use cartwright_folds::{Outcome as Folded, fold_of};
use cartwright_projector::Plan;
use cartwright_read_model::is_meant_to_differ;
use cartwright_read_model::tables::projections::{SALES, SALES_1};
use cartwright_read_model::versions::Outcome;
use cartwright_read_model::{RowOp, Table, Value};
use cartwright_replay::build::Board;
use cartwright_replay::verify::{self, Ends, Findings, Limits, Side, compare, made_by};
use cartwright_sinks::{MemoryStore, Semantics};

use crate::history::{History, price_changed, product_created};
use crate::memory::{Version, build_on, ends};
use crate::setup::{Entry, SUBJECTS, TestLog, plan};

fn second(name: &str) -> Plan {
    Plan {
        version: 2,
        ..plan(name)
    }
}

/// Sales, with the units of large orders off by one.
fn wrong(envelope: &Envelope, event: &Event) -> Folded {
    let fold = fold_of(&SALES).expect("a fold");
    let Folded::Emit(mut ops) = fold(envelope, event) else {
        return fold(envelope, event);
    };
    for op in &mut ops {
        if let RowOp::Upsert { cells, .. } = op {
            for (name, value) in cells {
                if let ("units", Value::Int(units @ 4..)) = (*name, &mut *value) {
                    *units += 1;
                }
            }
        }
    }
    Folded::Emit(ops)
}

fn every(_: &str, _: &str) -> bool {
    true
}

fn compared(left: &mut dyn Side, right: &mut dyn Side, log: &TestLog, plan: &Plan) -> Findings {
    let tables = plan.projection.tables;
    let limits = Limits {
        buckets: 16,
        rows: 20,
        ..Limits::default()
    };
    compare(left, right, tables, &every, &|| ends(log, plan), limits).expect("compared")
}

fn beside(log: &TestLog, name: &str, semantics: Semantics, second: Plan) -> MemoryStore {
    let store = log.project(name, semantics);
    assert!(build_on(log, second, &store, &Board::default()));
    store
}

#[test]
fn versions_of_one_fold_agree_with_each_other_and_with_the_log() {
    let log = TestLog::with(&History::new(20, 40).events);
    for (name, semantics) in SUBJECTS {
        let plan = second(name);
        let store = beside(&log, name, semantics, plan);
        let mut left = Version::new(&log, &store, crate::setup::plan(name));
        let mut right = Version::new(&log, &store, plan);
        let findings = compared(&mut left, &mut right, &log, &plan);
        assert_eq!(findings.outcome(), Outcome::Passed, "{name}: {findings:?}");
        let mut folded = verify::Folded::new(log.log.clone(), log.codec.clone(), plan);
        let findings = compared(&mut folded, &mut right, &log, &plan);
        assert_eq!(findings.outcome(), Outcome::Passed, "{name}: {findings:?}");
    }
}

#[test]
fn a_wrong_fold_is_caught_with_the_field_and_the_event_that_made_it() {
    let log = TestLog::with(&History::new(21, 40).events);
    let plan = Plan {
        fold: wrong,
        ..second("sales")
    };
    let store = beside(&log, "sales", Semantics::Transactional, plan);
    let mut left = Version::new(&log, &store, crate::setup::plan("sales"));
    let mut right = Version::new(&log, &store, plan);
    let mut findings = compared(&mut left, &mut right, &log, &plan);
    assert_eq!(findings.outcome(), Outcome::Failed);
    assert!(!findings.differences.is_empty());
    let folds = [fold_of(&SALES).expect("a fold"), plan.fold];
    let ends = ends(&log, &plan).expect("ends");
    made_by(
        &log.log,
        &log.codec,
        &folds,
        &ends,
        &mut findings.differences,
    )
    .expect("read");
    for difference in &findings.differences {
        assert_eq!(difference.table, "sales_orders");
        let columns: Vec<&str> = difference.fields.iter().map(|field| field.column).collect();
        assert_eq!(columns, ["units"]);
        let made = difference
            .events
            .iter()
            .find(|event| event.columns.contains(&"units"));
        let made = made.expect("the event that wrote it");
        assert_eq!(made.event, "OrderCreated");
        assert!(made.seq > 0 && made.topic == "checkout.order.events.v1");
    }
    // The log says which of the two is right.
    let right_fold = Plan {
        fold: fold_of(&SALES).expect("a fold"),
        ..plan
    };
    let mut folded = verify::Folded::new(log.log.clone(), log.codec.clone(), right_fold);
    let judged = compared(&mut folded, &mut right, &log, &plan);
    assert_eq!(judged.differences.len(), findings.differences.len());
}

#[test]
fn columns_that_are_meant_to_differ_are_left_to_the_log() {
    let log = TestLog::with(&History::new(22, 40).events);
    let plan = Plan {
        fold: wrong,
        ..second("sales")
    };
    let store = beside(&log, "sales", Semantics::Transactional, plan);
    let mut left = Version::new(&log, &store, crate::setup::plan("sales"));
    let mut right = Version::new(&log, &store, plan);
    let differs = |table: &str, column: &str| (table, column) != ("sales_orders", "units");
    let tables: &[&'static Table] = plan.projection.tables;
    let ends = || -> anyhow::Result<Ends> { ends(&log, &plan) };
    let limits = Limits::default();
    let findings = compare(&mut left, &mut right, tables, &differs, &ends, limits);
    assert_eq!(findings.expect("compared").outcome(), Outcome::Passed);
    let mut folded = verify::Folded::new(log.log.clone(), log.codec.clone(), plan);
    let findings = compared(&mut folded, &mut right, &log, &plan);
    assert_eq!(
        findings.outcome(),
        Outcome::Passed,
        "the log, by its own fold"
    );
}

/// The sales as this code has them: a column was added, and the row has one more event that makes it.
#[test]
fn a_changed_fold_agrees_with_the_one_before_but_for_what_it_declares() {
    let log = TestLog::with(&History::new(24, 60).events);
    let first = Plan::of(&SALES_1, 1, 1).expect("a plan");
    let second = Plan::of(&SALES, 2, 1).expect("a plan");
    let store = MemoryStore::new(Semantics::Transactional);
    for plan in [first, second] {
        assert!(build_on(&log, plan, &store, &Board::default()));
    }
    let findings = |left: Plan, right: Plan, is_compared: &dyn Fn(&str, &str) -> bool| {
        let mut left = Version::new(&log, &store, left);
        let mut right = Version::new(&log, &store, right);
        let ends = || -> anyhow::Result<Ends> { ends(&log, &second) };
        let tables = right.plan.projection.tables;
        let limits = Limits::default();
        compare(&mut left, &mut right, tables, is_compared, &ends, limits).expect("compared")
    };
    // Also the way back: the older fold beside the newer one.
    for (left, right) in [(first, second), (second, first)] {
        let declared = |table: &str, column: &str| {
            !is_meant_to_differ(right.projection, left.projection, table, column)
        };
        let found = findings(left, right, &declared);
        assert_eq!(found.outcome(), Outcome::Passed, "{found:?}");
        assert!(found.rows > 0);
        let undeclared = findings(left, right, &every);
        assert_eq!(undeclared.outcome(), Outcome::Failed, "they do differ");
    }
    let mut folded = verify::Folded::new(log.log.clone(), log.codec.clone(), second);
    let mut right = Version::new(&log, &store, second);
    let judged = compared(&mut folded, &mut right, &log, &second);
    assert_eq!(judged.outcome(), Outcome::Passed, "{judged:?}");
}

#[test]
fn rows_that_move_meanwhile_are_looked_at_again_until_they_settle() {
    let log = RefCell::new(TestLog::with(&[
        product_created("cup", 5),
        product_created("hat", 7),
    ]));
    let plan = second("catalog");
    let store = beside(&log.borrow(), "catalog", Semantics::Transactional, plan);
    let reading = TestLog::over(log.borrow().log.clone());
    let mut left = Version::new(&reading, &store, crate::setup::plan("catalog"));
    let mut right = Version::new(&reading, &store, plan);
    // Whenever the second version is looked at, it has just taken something in that the first had
    // not when it was looked at; but not for ever.
    let moved = RefCell::new(1);
    right.on_look = Box::new(|| {
        let mut version = moved.borrow_mut();
        *version += 1;
        if *version <= 5 {
            let change = price_changed("cup", *version, 10 + *version as i64);
            log.borrow_mut().write([Entry::Event(&change)]);
        }
        *version <= 5
    });
    let findings = compared(&mut left, &mut right, &reading, &plan);
    drop(right);
    assert_eq!(findings.outcome(), Outcome::Passed, "{findings:?}");
    assert!(*moved.borrow() > 5, "it was looked at until it settled");
}

#[test]
fn rows_that_never_settle_prove_nothing() {
    let mut version = 1;
    let log = RefCell::new(TestLog::with(&[product_created("cup", 5)]));
    let plan = second("catalog");
    let store = beside(&log.borrow(), "catalog", Semantics::Transactional, plan);
    let reading = TestLog::over(log.borrow().log.clone());
    let mut left = Version::new(&reading, &store, crate::setup::plan("catalog"));
    let mut right = Version::new(&reading, &store, plan);
    right.on_look = Box::new(|| {
        version += 1;
        let change = price_changed("cup", version, 10 + version as i64);
        log.borrow_mut().write([Entry::Event(&change)]);
        true
    });
    let findings = compared(&mut left, &mut right, &reading, &plan);
    assert_eq!(
        (findings.outcome(), findings.unsettled),
        (Outcome::Unsettled, 1)
    );
}

#[test]
fn a_version_that_does_not_move_proves_nothing() {
    let log = TestLog::with(&History::new(23, 10).events);
    let plan = second("sales");
    let store = beside(&log, "sales", Semantics::Transactional, plan);
    let mut left = Version::new(&log, &store, crate::setup::plan("sales"));
    let mut right = Version::new(&log, &store, plan);
    right.fed = false;
    let findings = compared(&mut left, &mut right, &log, &plan);
    assert_eq!(findings.outcome(), Outcome::Unsettled);
    assert!(findings.stuck.expect("a reason").contains("sales@2"));
}

#[test]
fn a_record_that_only_one_version_has_parked_is_a_difference() {
    let mut log = TestLog::with(&[product_created("cup", 5)]);
    log.write([Entry::Raw(
        cartwright_events::Stream::Product,
        "hat",
        Some(b"no event".to_vec()),
    )]);
    // The second version is one whose fold never sees the key.
    let keys = Box::leak(Box::new(["cup".to_owned()].into()));
    let plan = Plan {
        keys: Some(keys),
        ..second("catalog")
    };
    let store = beside(&log, "catalog", Semantics::Transactional, plan);
    let mut left = Version::new(&log, &store, crate::setup::plan("catalog"));
    let mut right = Version::new(&log, &store, plan);
    let findings = compared(&mut left, &mut right, &log, &plan);
    assert_eq!(findings.outcome(), Outcome::Failed);
    assert_eq!(findings.parked_left_only.len(), 1);
    assert!(findings.parked_right_only.is_empty() && findings.differences.is_empty());
}
