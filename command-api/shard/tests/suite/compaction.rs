//! The log cleaner comes by at any moment, and nobody notices.
//!
//! Events that no round needs are deleted in these tests, as they never are: a shard that has to do without
//! its snapshots could not serve then.

use std::collections::BTreeMap;

use cartwright_event_log::TopicPartition;
use cartwright_shard::Step;

use crate::archive::{add_one, of_small_pages};
use crate::rig::{Rig, SNAPSHOTS, number};

/// Compacts all of the snapshots or a part of them, and says how many records went.
fn compact(rig: &Rig, turn: u64) -> usize {
    let at = TopicPartition::new(SNAPSHOTS, 0);
    let last = rig.records(SNAPSHOTS).pop().map_or(0, |last| last.offset);
    let before = [last + 1, last / 2, last - last / 4][(turn % 3) as usize];
    rig.log.compact(&at, before).len()
}

/// Deletes the events from before the round that the journal names.
fn delete_old_events(rig: &Rig) {
    let last = rig.records("inventory.journal.v1").pop();
    let last = last.expect("a record");
    if last.header("checkpoint").is_none() {
        return;
    }
    let round = number(&last, "checkpoint");
    let mut left = rig.records(SNAPSHOTS).into_iter();
    let begin = left.find(|record| record.offset == round);
    let begin = begin.and_then(|begin| begin.value).expect("it is there");
    let begin: serde_json::Value = serde_json::from_slice(&begin).expect("JSON");
    let from = begin["streams"]["stock"]["offset"].as_u64();
    let at = TopicPartition::new("inventory.stock.events.v1", 0);
    rig.log.delete_records(&at, from.expect("an offset"));
}

#[test]
fn out_and_back_at_any_time_with_restarts_in_between_changes_no_version() {
    let (mut rig, mut expected, mut gone) = (of_small_pages(), BTreeMap::new(), 0);
    for turn in 0..400 {
        add_one(&mut rig, &mut expected, turn);
        if turn % 5 < 2 {
            gone += compact(&rig, turn);
            delete_old_events(&rig);
        }
        match turn % 4 {
            0 => assert_eq!(rig.restart(), Ok(Step::Idle), "{}", rig.ownership()),
            1 => rig.settle(),
            _ => {}
        }
    }
    assert!(gone > 200, "{gone}");
}

#[test]
fn who_stands_by_misses_nothing_that_is_compacted_meanwhile() {
    let (mut rig, mut expected, mut gone) = (of_small_pages(), BTreeMap::new(), 0);
    let mut successor = rig.rival();
    for turn in 0..400 {
        add_one(&mut rig, &mut expected, turn);
        if turn % 3 == 1 {
            rig.settle();
        }
        if turn % 5 < 2 {
            gone += compact(&rig, turn);
        }
        if turn % 7 == 0 {
            assert_eq!(successor.prepare(), Ok(Step::Idle), "turn {turn}");
            // What the successor has read by now.
            delete_old_events(&rig);
        }
        if turn % 23 == 22 {
            assert_eq!(successor.take_over(), Ok(Step::Idle), "turn {turn}");
            rig.shard = std::mem::replace(&mut successor, rig.rival());
        }
    }
    assert!(gone > 200, "{gone}");
}

/// Several rounds may have come and gone since it began to read, and compaction leaves the latest two.
#[test]
fn who_has_stood_by_for_long_names_a_round_that_is_still_there() {
    let (mut rig, mut expected) = (of_small_pages(), BTreeMap::new());
    for turn in 0..20 {
        add_one(&mut rig, &mut expected, turn);
        rig.settle();
    }
    let mut successor = rig.rival();
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    for turn in 20..60 {
        add_one(&mut rig, &mut expected, turn);
        rig.settle();
    }
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    rig.shard = successor;
    assert!(compact(&rig, 0) > 0);
    delete_old_events(&rig);
    assert_eq!(rig.restart(), Ok(Step::Idle), "{}", rig.ownership());
    add_one(&mut rig, &mut expected, 60);
}
