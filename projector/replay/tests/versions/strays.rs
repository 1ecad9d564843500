//! Rows that no event made, from audit to audit.

use std::collections::HashSet;

use cartwright_event_log::{Record, Start, TopicPartition};
use cartwright_events::Stream;
use cartwright_replay::audit::{RowCheck, Watch, judge};
use cartwright_replay::reading::{read_once, whole_topic};
use cartwright_sinks::{MemoryStore, Semantics};

use crate::auditing::{View, apply, haunted};
use crate::history::product_created;
use crate::setup::{Entry, TestLog, plan};

/// One audit of the catalog over what is kept of the one before; the first one reads the whole log.
fn audit(log: &TestLog, store: &MemoryStore, kept: &mut String) -> Vec<String> {
    let mut watch = match kept.is_empty() {
        true => Watch::new(1),
        false => serde_json::from_str(kept).expect("read"),
    };
    let mut check = match kept.is_empty() {
        true => RowCheck::of_whole_log(&log.codec),
        false => RowCheck::none(&log.codec),
    };
    let view = View {
        store: store.clone(),
        plan: plan("catalog"),
        aside: HashSet::new(),
    };
    check.add(view.plan, Box::new(view)).expect("a view");
    check.look_again_at(&watch.strays);
    let starts = whole_topic(&log.log, Stream::Product.topic()).expect("partitions");
    let starts = starts.into_iter();
    let starts: Vec<(TopicPartition, Start)> = starts
        .map(|(at, _)| (at.clone(), watch.rows_start(&at)))
        .collect();
    let read_to = read_once(&log.log, &starts, |record: &Record| {
        watch.take(&log.codec, Stream::Product, record)?;
        check.take(Stream::Product, record)
    });
    let read_to = read_to.expect("read");
    for (at, end) in &read_to {
        watch.read_to(at, *end);
    }
    let found = check.finish(&log.log, &read_to).expect("looked");
    watch.keep_rows_from(check.left());
    watch.keep_strays(check.strays());
    *kept = serde_json::to_string(&watch).expect("written");
    found.into_iter().map(|finding| finding.detail).collect()
}

#[test]
fn a_row_that_no_event_made_is_told_until_an_event_has_written_to_it() {
    let (mut log, store) = haunted();
    let mut kept = String::new();
    for number in 0..3 {
        let found = audit(&log, &store, &mut kept);
        assert_eq!(found.len(), 1, "{number}: {found:?}");
        assert!(found[0].contains("ghost"), "{number}: {found:?}");
        log.write([Entry::Event(&product_created(&format!("sku-{number}"), 1))]);
        apply(&log, &store, plan("catalog"));
    }
    log.write([Entry::Event(&product_created("ghost", 1))]);
    apply(&log, &store, plan("catalog"));
    for _ in 0..2 {
        assert_eq!(audit(&log, &store, &mut kept), [""; 0]);
    }
}

#[test]
fn a_row_that_no_event_made_is_told_until_it_is_gone() {
    let (log, store) = haunted();
    let mut kept = String::new();
    assert_eq!(audit(&log, &store, &mut kept).len(), 1);
    assert_eq!(audit(&log, &store, &mut kept).len(), 1);
    let mended = log.project("catalog", Semantics::Transactional);
    assert_eq!(audit(&log, &mended, &mut kept), [""; 0]);
    assert_eq!(audit(&log, &store, &mut kept), [""; 0], "it is forgotten");
}

#[test]
fn a_row_of_a_version_that_is_not_looked_at_is_kept_for_when_it_is_again() {
    let (log, store) = haunted();
    let mut kept = String::new();
    assert_eq!(audit(&log, &store, &mut kept).len(), 1);
    let of_the_first = kept.replace("\"version\":1", "\"version\":7");
    assert_ne!(of_the_first, kept);
    kept = of_the_first;
    assert_eq!(audit(&log, &store, &mut kept), [""; 0]);
    kept = kept.replace("\"version\":7", "\"version\":1");
    assert_eq!(audit(&log, &store, &mut kept).len(), 1);
}

#[test]
fn more_rows_that_no_event_made_than_there_is_room_for_are_counted() {
    let (log, store) = haunted();
    let mut kept = String::new();
    audit(&log, &store, &mut kept);
    let mut watch: Watch = serde_json::from_str(&kept).expect("read");
    let many = watch.strays.iter().cycle().take(10_003).cloned().collect();
    watch.keep_strays(many);
    assert_eq!((watch.strays.len(), watch.more_strays), (10_000, 3));
    let limits = cartwright_replay::audit::Limits {
        settle: std::time::Duration::ZERO,
        refund: std::time::Duration::ZERO,
        shipment: None,
    };
    let rules = |watch: &Watch| {
        let found = judge(watch, cartwright_events::Timestamp::EPOCH, &limits);
        found.iter().map(|finding| finding.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules(&watch), ["more_strays"]);
    assert_eq!(watch.acknowledge(), 3);
    assert_eq!(rules(&watch), [""; 0]);
}
