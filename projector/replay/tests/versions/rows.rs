//! Rows held against their events: all of them, and all that was written to them.

use std::collections::HashSet;

use cartwright_event_log::{EventLog, Record, TopicPartition};
use cartwright_events::{Envelope, Event, SchemaTopic, Stream, Timestamp};
use cartwright_folds::{Outcome, fold_of};
use cartwright_projector::Plan;
use cartwright_read_model::tables::CATALOG_PRODUCTS;
use cartwright_read_model::tables::projections::CATALOG;
use cartwright_read_model::{Position, PositionKey, RowOp};
use cartwright_replay::audit::RowCheck;
use cartwright_replay::emptied::emptied;
use cartwright_replay::reading::{read_once, whole_topic};
use cartwright_sinks::{MemoryStore, Semantics};

use crate::auditing::{View, apply, held, held_by, read_places};
use crate::away::{by_another_writer, that_knows, without_registry};
use crate::history::{price_changed, product_created};
use crate::setup::{Entry, TestLog, plan};

/// The catalog's fold, with another name for what is created.
fn misnamed(envelope: &Envelope, event: &Event) -> Outcome {
    let fold = fold_of(&CATALOG).expect("a fold");
    let mut outcome = fold(envelope, event);
    if let Outcome::Emit(ops) = &mut outcome {
        for op in ops {
            if let RowOp::Upsert { cells, .. } = op {
                for (_, value) in cells.iter_mut().filter(|(name, _)| *name == "name") {
                    *value = "another".into();
                }
            }
        }
    }
    outcome
}

#[test]
fn every_cell_of_a_row_is_looked_at_though_there_is_room_for_a_few_rows_only() {
    let skus: Vec<String> = (0..9).map(|number| format!("sku-{number}")).collect();
    let created = skus.iter().map(|sku| product_created(sku, 5));
    let changed = skus.iter().map(|sku| price_changed(sku, 2, 6));
    let log = TestLog::with(&created.chain(changed).collect::<Vec<_>>());
    let store = MemoryStore::new(Semantics::Transactional);
    let misnaming = Plan {
        fold: misnamed,
        ..plan("catalog")
    };
    apply(&log, &store, misnaming);
    let right = log.project("catalog", Semantics::Transactional);
    let nothing = HashSet::new();
    for (is_whole, most_rows) in [(true, 1), (false, 1), (true, 4), (false, 4), (false, 100)] {
        let how = (is_whole, most_rows);
        let found = held_by(&log, &store, (is_whole, &nothing), most_rows, || {});
        assert_eq!(found.len(), skus.len(), "{how:?}: {found:?}");
        for sku in &skus {
            let of = found
                .iter()
                .filter(|told| told.contains(&format!("[\"{sku}\"]")));
            let of: Vec<_> = of.collect();
            assert!(of.len() == 1 && of[0].contains("name"), "{how:?}: {of:?}");
        }
        let found = held_by(&log, &right, (is_whole, &nothing), most_rows, || {});
        assert_eq!(found, [""; 0], "{how:?}");
    }
}

#[test]
fn rows_that_what_cannot_be_read_yet_may_have_written_to_are_looked_at_when_it_can() {
    let mut log = TestLog::with(&[product_created("cup", 5)]);
    let value = by_another_writer(log.codec.encode_event(&price_changed("cup", 2, 6)));
    log.write([Entry::Raw(Stream::Product, "cup", Some(value))]);
    log.write([Entry::Event(&price_changed("cup", 3, 7))]);
    let newer = that_knows(SchemaTopic::Events(Stream::Product));
    let reading = std::mem::replace(&mut log.codec, newer);
    let store = log.project("catalog", Semantics::Transactional);
    log.codec = reading;
    let place = read_places(&log, &plan("catalog")).into_iter();
    let (_, partition, offset) = place
        .filter(|(_, _, offset)| *offset > 0)
        .min()
        .expect("three");
    let view = || View {
        store: store.clone(),
        plan: plan("catalog"),
        aside: HashSet::new(),
    };
    let starts = whole_topic(&log.log, Stream::Product.topic()).expect("partitions");
    for is_whole in [true, false] {
        let mut check = match is_whole {
            true => RowCheck::of_whole_log(&log.codec),
            false => RowCheck::none(&log.codec),
        };
        check
            .add(plan("catalog"), Box::new(view()))
            .expect("a view");
        let take = |record: &Record| check.take(Stream::Product, record);
        let read_to = read_once(&log.log, &starts, take).expect("read");
        let found = check.finish(&log.log, &read_to).expect("looked");
        assert_eq!(
            found,
            [],
            "{is_whole}: the row is what a later event made it"
        );
        let unread: Vec<_> = check
            .unread()
            .filter_map(|told| told.evidence.as_ref())
            .collect();
        assert_eq!((unread.len(), unread[0].offset), (1, offset));
        let left = check.left();
        let at = TopicPartition::new(Stream::Product.topic(), partition);
        assert!(
            left.get(&at).is_some_and(|from| *from <= offset),
            "{left:?}"
        );
    }
    log.codec = that_knows(SchemaTopic::Events(Stream::Product));
    assert_eq!(held(&log, &store, (true, &HashSet::new()), || {}), [""; 0]);
}

#[test]
fn without_a_registry_no_row_is_said_to_be_right_or_wrong() {
    let mut log = TestLog::with(&[product_created("cup", 5)]);
    let store = log.project("catalog", Semantics::Transactional);
    let value = by_another_writer(log.codec.encode_event(&price_changed("cup", 2, 6)));
    log.write([Entry::Raw(Stream::Product, "cup", Some(value))]);
    let (plan, codec) = (plan("catalog"), without_registry());
    let mut check = RowCheck::none(&codec);
    let view = View {
        store,
        plan,
        aside: HashSet::new(),
    };
    check.add(plan, Box::new(view)).expect("a view");
    let starts = whole_topic(&log.log, Stream::Product.topic()).expect("partitions");
    let take = |record: &Record| check.take(Stream::Product, record);
    let read = read_once(&log.log, &starts, take);
    let error = read.expect_err("it is away").to_string();
    assert!(error.contains("schema registry"), "{error}");
    let all = positions_past_everything(&plan);
    let tables = [&CATALOG_PRODUCTS];
    let looked = emptied(&log.log, &codec, &plan, &tables, &all, &HashSet::new());
    let error = looked.expect_err("it is away").to_string();
    assert!(error.contains("schema registry"), "{error}");
}

fn positions_past_everything(plan: &Plan) -> Vec<(PositionKey, Position)> {
    let log = TestLog::with(&[]);
    let streams = plan.projection.streams.iter();
    let places = streams.flat_map(|stream| {
        let partitions = log.log.partition_count(stream.topic()).expect("a topic");
        (0..partitions).map(|partition| (*stream, partition))
    });
    let position = Position {
        generation: 1,
        next_offset: u64::MAX,
        seq: u64::MAX,
        recorded_at: Timestamp::EPOCH,
    };
    let key = |(stream, partition)| PositionKey {
        projection: plan.projection.name,
        version: plan.version,
        stream,
        partition,
    };
    places.map(|place| (key(place), position)).collect()
}
