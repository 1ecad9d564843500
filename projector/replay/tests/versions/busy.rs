//! Comparisons while the shop is busy: what moves is looked at again until it settles.

use cartwright_events::{Envelope, Event};
use cartwright_folds::{Outcome as Folded, fold_of};
use cartwright_projector::Plan;
use cartwright_read_model::tables::projections::CATALOG;
use cartwright_read_model::versions::Outcome;
use cartwright_read_model::{Row, RowOp, Table, Value};
use cartwright_replay::build::Board;
use cartwright_replay::verify::{Ends, Findings, Limits, ParkedSet, Side, compare};
use cartwright_sinks::Semantics;

use crate::history::{price_changed, product_created};
use crate::memory::{Version, build_on, ends};
use crate::setup::{Entry, TestLog, plan};

/// More than are looked at in one go.
const PRODUCTS: usize = 2_500;
/// The one that the wrong fold gets wrong.
const MISNAMED: &str = "sku-1234";

fn sku(number: usize) -> String {
    format!("sku-{number}")
}

/// The catalogue, with one product under another name.
fn misnaming(envelope: &Envelope, event: &Event) -> Folded {
    let fold = fold_of(&CATALOG).expect("a fold");
    let mut outcome = fold(envelope, event);
    if let Folded::Emit(ops) = &mut outcome {
        for op in ops {
            if let RowOp::Upsert { key, cells, .. } = op
                && key[0] == Value::from(MISNAMED)
            {
                for (_, value) in cells.iter_mut().filter(|(name, _)| *name == "name") {
                    *value = "another".into();
                }
            }
        }
    }
    outcome
}

fn second() -> Plan {
    Plan {
        version: 2,
        ..plan("catalog")
    }
}

fn compared(left: &mut dyn Side, right: &mut dyn Side, log: &TestLog, limits: Limits) -> Findings {
    let plan = second();
    let every = |_: &str, _: &str| true;
    let (tables, ends) = (plan.projection.tables, || ends(log, &plan));
    compare(left, right, tables, &every, &ends, limits).expect("compared")
}

/// Compares two versions of many products, every one of which changes between the first look at the
/// first version and that at the second.
fn compared_while_all_change(plan: Plan, limits: Limits) -> Findings {
    let mut log = TestLog::new();
    let created: Vec<Event> = (0..PRODUCTS)
        .map(|number| product_created(&sku(number), 5))
        .collect();
    log.write(created.iter().map(Entry::Event));
    let store = log.project("catalog", Semantics::Transactional);
    assert!(build_on(&log, plan, &store, &Board::default()));
    let reading = TestLog::over(log.log.clone());
    let mut left = Version::new(&reading, &store, crate::setup::plan("catalog"));
    let mut right = Version::new(&reading, &store, plan);
    let mut changed = false;
    right.on_look = Box::new(move || {
        let changes = !std::mem::replace(&mut changed, true);
        if changes {
            let events: Vec<Event> = (0..PRODUCTS)
                .map(|number| price_changed(&sku(number), 2, 6))
                .collect();
            log.write(events.iter().map(Entry::Event));
        }
        changes
    });
    compared(&mut left, &mut right, &reading, limits)
}

#[test]
fn however_many_rows_move_versions_that_settle_agree() {
    let findings = compared_while_all_change(second(), Limits::default());
    assert_eq!(findings.outcome(), Outcome::Passed, "{findings:?}");
    assert_eq!(findings.rows, PRODUCTS as u64);
}

#[test]
fn one_row_that_differs_is_found_among_thousands_that_move() {
    let plan = Plan {
        fold: misnaming,
        ..second()
    };
    let findings = compared_while_all_change(plan, Limits::default());
    assert_eq!(findings.outcome(), Outcome::Failed);
    let [difference] = findings.differences.as_slice() else {
        panic!("{:?}", findings.differences);
    };
    assert_eq!(difference.key, [MISNAMED.into()]);
    let columns: Vec<&str> = difference.fields.iter().map(|field| field.column).collect();
    assert_eq!(columns, ["name"]);
    assert!(!findings.more);
}

#[test]
fn where_everything_differs_the_rest_is_not_looked_at() {
    let log = TestLog::with(&[product_created("cup", 5), product_created("hat", 7)]);
    let store = log.project("catalog", Semantics::Transactional);
    let nothing = Plan {
        keys: Some(Box::leak(Box::default())),
        ..second()
    };
    let mut left = Version::new(&log, &store, plan("catalog"));
    let mut right = Version::new(&log, &store, nothing);
    let limits = Limits {
        whole_rows: 1,
        differences: 1,
        ..Limits::default()
    };
    let findings = compared(&mut left, &mut right, &log, limits);
    assert_eq!((findings.count(), findings.more), (1, true));
    assert_eq!(findings.outcome(), Outcome::Failed);
}

/// A version whose parked records are those of a list, look by look; the last ones stay.
struct Parking<'a> {
    of: Version<'a>,
    parked: Vec<ParkedSet>,
}

impl Side for Parking<'_> {
    fn label(&self) -> String {
        self.of.label()
    }

    fn table(&self, name: &str) -> Option<&'static Table> {
        self.of.table(name)
    }

    fn scan(
        &mut self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        self.of.scan(table, visit)
    }

    fn get(&mut self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        self.of.get(table, keys)
    }

    fn parked(&mut self, _: &Ends) -> anyhow::Result<ParkedSet> {
        Ok(match self.parked.len() {
            0 => ParkedSet::new(),
            1 => self.parked[0].clone(),
            _ => self.parked.remove(0),
        })
    }

    fn reach(&mut self, ends: &Ends) -> anyhow::Result<Option<String>> {
        self.of.reach(ends)
    }
}

fn parked(offsets: &[u64]) -> ParkedSet {
    let at = |offset: &u64| ("catalog.product.events.v1".to_owned(), 0, *offset);
    offsets.iter().map(at).collect()
}

/// Compares versions of which the first has parked these offsets, look by look, and the second none.
fn compared_with_parked(looks: &[&[u64]]) -> Findings {
    let log = TestLog::with(&[product_created("cup", 5)]);
    let store = log.project("catalog", Semantics::Transactional);
    assert!(build_on(&log, second(), &store, &Board::default()));
    let mut left = Parking {
        of: Version::new(&log, &store, plan("catalog")),
        parked: looks.iter().map(|offsets| parked(offsets)).collect(),
    };
    let mut right = Version::new(&log, &store, second());
    compared(&mut left, &mut right, &log, Limits::default())
}

#[test]
fn what_was_taken_off_one_list_while_the_other_was_read_is_no_difference() {
    let findings = compared_with_parked(&[&[7], &[]]);
    assert_eq!(findings.outcome(), Outcome::Passed, "{findings:?}");
}

#[test]
fn what_stays_on_one_list_only_is_found_among_what_comes_and_goes() {
    let findings = compared_with_parked(&[&[3, 7], &[5, 7], &[7]]);
    assert_eq!(findings.outcome(), Outcome::Failed);
    assert_eq!(findings.parked_left_only, parked(&[7]));
    assert_eq!(findings.unsettled, 0);
    let looks: Vec<[u64; 1]> = (0..20).map(|offset| [offset]).collect();
    let looks: Vec<&[u64]> = looks.iter().map(<[u64; 1]>::as_slice).collect();
    let findings = compared_with_parked(&looks);
    assert_eq!(findings.outcome(), Outcome::Unsettled, "it never settles");
}
