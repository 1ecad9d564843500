//! Rows held against the log: from audit to audit, and for tables that have been emptied.

use std::collections::HashSet;

use cartwright_event_log::{Record, Start, TopicPartition};
use cartwright_events::{Envelope, Event, Stream};
use cartwright_folds::{Outcome, fold_of};
use cartwright_projector::{Plan, Worker};
use cartwright_read_model::tables::projections::CATALOG;
use cartwright_read_model::tables::{
    CART_LINES, CARTS, CATALOG_PRODUCTS, CONTROL_VERSION, PARKED, SKIPPED,
};
use cartwright_read_model::{Position, PositionKey, Row, RowOp, Table, Value};
use cartwright_replay::audit::{Finding, Place, RowCheck, ViewRows, Watch};
use cartwright_replay::emptied::emptied;
use cartwright_replay::given_up::places;
use cartwright_replay::reading::{read_once, whole_topic};
use cartwright_sinks::{MemorySink, MemoryStore, Semantics};
use serde_json::json;

use crate::history::{event, price_changed, product_created};
use crate::reaching::positions;
use crate::setup::{Entry, TestLog, limits, plan, run};

/// A view in the store in memory.
pub struct View {
    pub store: MemoryStore,
    pub plan: Plan,
    /// What was put aside besides what the store says.
    pub aside: HashSet<Place>,
}

impl ViewRows for View {
    fn label(&self) -> String {
        self.plan.label()
    }

    fn positions(&self) -> anyhow::Result<Vec<(PositionKey, Position)>> {
        Ok(positions(&self.store, &self.plan))
    }

    fn get(&self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        let mut rows = self.store.rows(table, self.plan.version);
        rows.retain(|row| keys.iter().any(|key| row.values.starts_with(key)));
        Ok(rows)
    }

    fn scan(
        &self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        let rows = self.store.rows(table, self.plan.version);
        rows.into_iter().for_each(visit);
        Ok(())
    }

    fn put_aside(&self) -> anyhow::Result<HashSet<Place>> {
        let tables = [&PARKED, &SKIPPED].into_iter();
        let rows: Vec<Row> = tables
            .flat_map(|table| self.store.rows(table, CONTROL_VERSION))
            .collect();
        Ok(places(&rows, 1).chain(self.aside.iter().copied()).collect())
    }
}

/// The catalog's fold, with the prices that change off by one.
fn wrong(envelope: &Envelope, event: &Event) -> Outcome {
    let fold = fold_of(&CATALOG).expect("a fold");
    let Outcome::Emit(mut ops) = fold(envelope, event) else {
        return fold(envelope, event);
    };
    for op in &mut ops {
        if let RowOp::Upsert { cells, .. } = op
            && event.version > 1
        {
            for (name, value) in cells {
                if let ("price_minor", Value::Int(price)) = (*name, value) {
                    *price += 1;
                }
            }
        }
    }
    Outcome::Emit(ops)
}

pub fn apply(log: &TestLog, store: &MemoryStore, plan: Plan) {
    let sink = Box::new(MemorySink::new(store.clone(), plan.version));
    let codec = log.codec.clone();
    run(&mut Worker::new(
        plan,
        limits(),
        log.fixed(&plan),
        codec,
        sink,
    ));
}

/// One audit, as the command does it; answers what it read and found.
fn audit(log: &TestLog, store: &MemoryStore, watch: &mut Watch) -> (u64, Vec<Finding>) {
    let plan = plan("catalog");
    let view = View {
        store: store.clone(),
        plan,
        aside: HashSet::new(),
    };
    let mut check = RowCheck::none(&log.codec);
    check.add(plan, Box::new(view)).expect("a view");
    let (mut records, mut read_to) = (0, Vec::new());
    for stream in plan.projection.streams {
        let starts: Vec<(TopicPartition, Start)> = whole_topic(&log.log, stream.topic())
            .expect("partitions")
            .into_iter()
            .map(|(at, _)| (at.clone(), watch.rows_start(&at)))
            .collect();
        let ends = read_once(&log.log, &starts, |record| {
            records += 1;
            watch.take(&log.codec, *stream, record)?;
            check.take(*stream, record)
        });
        for (at, end) in ends.expect("read") {
            watch.read_to(&at, end);
            read_to.push((at, end));
        }
    }
    let findings = check.finish(&log.log, &read_to).expect("looked");
    watch.keep_rows_from(check.left());
    assert_eq!(watch.breaches, [], "nothing is read twice by the rules");
    (records, findings)
}

#[test]
fn a_row_whose_event_was_not_applied_yet_is_looked_at_the_next_time() {
    let mut log = TestLog::with(&[product_created("cup", 5), product_created("hat", 7)]);
    let store = MemoryStore::new(Semantics::Transactional);
    apply(&log, &store, plan("catalog"));
    let mut watch = Watch::new(1);
    assert_eq!(audit(&log, &store, &mut watch), (2, Vec::new()));
    assert_eq!(
        audit(&log, &store, &mut watch),
        (0, Vec::new()),
        "only what is new"
    );

    log.write([Entry::Event(&price_changed("cup", 2, 6))]);
    assert_eq!(
        audit(&log, &store, &mut watch),
        (1, Vec::new()),
        "on its way"
    );
    let broken = Plan {
        fold: wrong,
        ..plan("catalog")
    };
    apply(&log, &store, broken);
    for _ in 0..2 {
        let (read, found) = audit(&log, &store, &mut watch);
        assert_eq!(
            (read, found.len()),
            (1, 1),
            "as long as it is wrong: {found:?}"
        );
        assert_eq!(found[0].rule, "read_model_differs");
        assert!(found[0].detail.contains("price_minor"), "{found:?}");
    }

    log.write([Entry::Event(&price_changed("cup", 3, 8))]);
    apply(&log, &store, plan("catalog"));
    assert_eq!(
        audit(&log, &store, &mut watch),
        (2, Vec::new()),
        "it is right again"
    );
    assert_eq!(audit(&log, &store, &mut watch), (0, Vec::new()));
}

/// Holds the catalog in a store against a log from its beginning on: all that there is or, for all that the check
/// knows, only what is new. Something may happen before it ends.
pub fn held(
    log: &TestLog,
    store: &MemoryStore,
    how: (bool, &HashSet<Place>),
    meanwhile: impl FnOnce(),
) -> Vec<String> {
    held_by(log, store, how, 1_000, meanwhile)
}

/// The same with room for so many rows at a time.
pub fn held_by(
    log: &TestLog,
    store: &MemoryStore,
    (is_whole, aside): (bool, &HashSet<Place>),
    most_rows: usize,
    meanwhile: impl FnOnce(),
) -> Vec<String> {
    let plan = plan("catalog");
    let view = View {
        store: store.clone(),
        plan,
        aside: aside.clone(),
    };
    let mut check = match is_whole {
        true => RowCheck::of_whole_log(&log.codec),
        false => RowCheck::none(&log.codec),
    };
    check = check.holding(most_rows);
    check.add(plan, Box::new(view)).expect("a view");
    let starts = whole_topic(&log.log, Stream::Product.topic()).expect("partitions");
    let take = |record: &Record| check.take(Stream::Product, record);
    let read_to = read_once(&log.log, &starts, take).expect("read");
    meanwhile();
    let findings = check.finish(&log.log, &read_to).expect("looked");
    let findings = findings.into_iter().map(|finding| finding.detail);
    findings.collect()
}

/// The catalog's fold, with a row that no event speaks of.
fn with_a_ghost(envelope: &Envelope, event: &Event) -> Outcome {
    let fold = fold_of(&CATALOG).expect("a fold");
    let Outcome::Emit(mut ops) = fold(envelope, event) else {
        return fold(envelope, event);
    };
    let name = [("name", "Ghost".into())];
    ops.push(RowOp::upsert(&CATALOG_PRODUCTS, ["ghost".into()], name));
    Outcome::Emit(ops)
}

/// A log, and a store with a row that none of its events made.
pub fn haunted() -> (TestLog, MemoryStore) {
    let log = TestLog::with(&[product_created("cup", 5), product_created("hat", 7)]);
    let store = MemoryStore::new(Semantics::Transactional);
    let haunted = Plan {
        fold: with_a_ghost,
        ..plan("catalog")
    };
    apply(&log, &store, haunted);
    (log, store)
}

#[test]
fn more_wrong_rows_than_are_told_one_by_one_are_counted() {
    let products: Vec<_> = (0..1_003)
        .map(|number| product_created(&format!("sku-{number}"), 5))
        .collect();
    let log = TestLog::with(&products);
    let store = MemoryStore::new(Semantics::Transactional);
    let empty = Plan {
        fold: |_, _| Outcome::Emit(Vec::new()),
        ..plan("catalog")
    };
    apply(&log, &store, empty);
    let found = held(&log, &store, (true, &HashSet::new()), || {});
    assert_eq!(found.len(), 1_001);
    assert_eq!(found.last().map(String::as_str), Some("3 more rows differ"));
}

#[test]
fn a_row_that_no_event_made_is_found_where_the_whole_log_is_read() {
    let (log, store) = haunted();
    let nothing = HashSet::new();
    let found = held(&log, &store, (true, &nothing), || {});
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("ghost") && found[0].contains("no event"),
        "{found:?}"
    );
    let found = held(&log, &store, (false, &nothing), || {});
    assert_eq!(found, [""; 0], "an older event may have made it");
    let right = log.project("catalog", Semantics::Transactional);
    assert_eq!(held(&log, &right, (true, &nothing), || {}), [""; 0]);
}

#[test]
fn a_row_that_says_that_it_is_newer_than_its_events_is_found_unless_it_has_been_written_to_since() {
    let created = product_created("cup", 5);
    let changed = price_changed("cup", 2, 6);
    let ahead = TestLog::with(&[created.clone(), changed.clone()]);
    let store = ahead.project("catalog", Semantics::Transactional);
    let nothing = HashSet::new();
    for is_whole in [true, false] {
        let mut log = TestLog::with(std::slice::from_ref(&created));
        let found = held(&log, &store, (is_whole, &nothing), || {});
        assert_eq!(found.len(), 1, "{is_whole}: {found:?}");
        assert!(found[0].contains("cup"), "{found:?}");
        // The view has applied what the log holds a moment later than it was read.
        let reading = TestLog::over(log.log.clone());
        let found = held(&reading, &store, (is_whole, &nothing), || {
            log.write([Entry::Event(&changed)]);
        });
        assert_eq!(found, [""; 0], "{is_whole}");
    }
}

#[test]
fn a_record_that_was_put_aside_and_is_applied_meanwhile_makes_no_row_wrong() {
    let log = TestLog::with(&[product_created("cup", 5), price_changed("cup", 2, 6)]);
    let store = log.project("catalog", Semantics::Transactional);
    let last = read_places(&log, &plan("catalog")).into_iter().max();
    let aside = HashSet::from([last.expect("a record")]);
    for is_whole in [true, false] {
        assert_eq!(
            held(&log, &store, (is_whole, &aside), || {}),
            [""; 0],
            "{is_whole}"
        );
    }
}

/// A cart that has a line, and one whose line was removed.
fn carts() -> TestLog {
    let added = json!({
        "line": 1, "sku": "cup", "name": "Thing", "quantity": 2, "unit_price_minor": 50,
        "price_source": "catalog", "catalog_seq": 1, "line_total_minor": 100,
        "cart_total_minor": 100,
    });
    let removed = json!({"line": 1, "sku": "cup", "quantity": 2, "cart_total_minor": 0});
    TestLog::with(&[
        event("one", 1, 1, "CartItemAdded", added),
        event("one", 2, 2, "CartItemRemoved", removed),
    ])
}

#[test]
fn a_table_that_is_empty_is_told_when_the_log_says_that_it_holds_rows() {
    let log = carts();
    let store = log.project("carts", Semantics::CellTimes);
    let plan = plan("carts");
    assert!(store.rows(&CART_LINES, 1).is_empty());
    let applied = positions(&store, &plan);
    let look = |positions: &[(PositionKey, Position)], aside: &HashSet<Place>| {
        let tables = [&CARTS, &CART_LINES];
        emptied(&log.log, &log.codec, &plan, &tables, positions, aside).expect("looked")
    };
    let nothing = HashSet::new();
    assert_eq!(
        look(&applied, &nothing),
        ["carts"],
        "lines were removed again"
    );
    assert_eq!(look(&[], &nothing), [""; 0], "nothing was applied");
    let records = read_places(&log, &plan);
    assert_eq!(look(&applied, &records), [""; 0], "all of it was given up");
}

pub fn read_places(log: &TestLog, plan: &Plan) -> HashSet<Place> {
    let mut places = HashSet::new();
    for stream in plan.projection.streams {
        let starts = whole_topic(&log.log, stream.topic()).expect("partitions");
        read_once(&log.log, &starts, |record| {
            places.insert((*stream, record.partition, record.offset));
            Ok(())
        })
        .expect("read");
    }
    places
}
