//! Snapshots: what a take-over stands on.

use std::sync::Arc;

use cartwright_event_log::{EventLog, LogWriter, NewRecord, TopicPartition};
use cartwright_shard::{Clock, Ownership, Step};

use crate::rig::{Rig, SNAPSHOTS, leave_at_once, small_rounds, version};
use crate::toy::{Command, add};

/// The process dies; another one makes the same of the log, with and without snapshots.
fn restart_and_compare(rig: &mut Rig) {
    let before = rig.shard.aggregates().cloned();
    let position = rig.shard.inbox_position();
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(rig.shard.aggregates().cloned(), before);
    assert_eq!(rig.shard.inbox_position(), position);
}

#[test]
fn a_take_over_in_any_moment_of_a_round_ends_in_the_same_state() {
    let mut rig = Rig::with(small_rounds);
    for turn in 0..120 {
        let sku = format!("sku-{}", turn % 7);
        if turn % 5 == 0 {
            rig.send(&format!("order-{turn}"), &sku);
            rig.step_inbox();
        } else {
            let _ = rig.decide(add(&sku), Some(&format!("key-{turn}")));
        }
        if turn % 11 == 0 {
            restart_and_compare(&mut rig);
        }
    }
    assert!(rig.snapshots_of("begin") > 3, "rounds have begun");
    let last = rig.records("inventory.journal.v1").pop().expect("a record");
    assert!(last.header("checkpoint").is_some(), "and were completed");
}

#[test]
fn a_take_over_reads_the_tail_and_not_the_whole_log() {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        options.results_kept = 2;
    });
    for _ in 0..20 {
        let _ = rig.decide(add("a"), None);
    }
    rig.settle();
    let all = rig.records("inventory.stock.events.v1").len() as u64;
    let begin = rig.records(SNAPSHOTS).into_iter().rev();
    let mut begin = begin.filter(|record| record.header("kind") == Some(b"begin"));
    let begin = begin.next().expect("a round");
    let value = begin.value.expect("a value");
    let text = String::from_utf8(value).expect("text");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let seq = json["streams"]["stock"]["seq"].as_u64().expect("a seq");
    assert!(seq + 8 > all, "the round began at {seq} of {all}");
}

#[test]
fn results_are_remembered_through_a_round_byte_for_byte() {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        options.results_reach = 0;
    });
    let first = rig.decide(add("a"), Some("first"));
    let refused = rig.decide(Command::Refuse { sku: "a".into() }, Some("no"));
    let check = |rig: &mut Rig| {
        assert_eq!(rig.restart(), Ok(Step::Idle));
        assert_eq!(rig.decide(add("a"), Some("first")), first);
        let repeat = Command::Refuse { sku: "a".into() };
        assert_eq!(rig.decide(repeat, Some("no")), refused);
        assert_eq!(rig.counter("a").version, 1);
    };
    for turn in 0..30 {
        let _ = rig.decide(add("b"), Some(&format!("key-{turn}")));
        rig.read_archive();
    }
    rig.settle();
    assert!(rig.snapshots_of("begin") > 0);
    assert_eq!(
        rig.snapshots_of("results"),
        0,
        "the journal is full of them"
    );
    check(&mut rig);
    // Transactions without results, until it is far to the first one.
    for turn in 0..120 {
        rig.send(&format!("order-{turn}"), "c");
        rig.step_inbox();
        rig.settle();
    }
    assert!(rig.snapshots_of("results") > 0, "the round holds them");
    check(&mut rig);
    check(&mut rig);
}

#[test]
fn the_window_of_results_keeps_its_bound_through_a_restart() {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        options.results_kept = 5;
    });
    for turn in 0..30 {
        let _ = rig.decide(add("a"), Some(&format!("key-{turn}")));
        rig.read_archive();
    }
    rig.settle();
    assert_eq!(rig.restart(), Ok(Step::Idle));
    let remembered = rig.decide(add("a"), Some("key-29"));
    assert_eq!(version(remembered), 30, "remembered");
    let (forgotten, mut caller) = rig.submission(add("a"), Some("key-0"));
    rig.step(vec![forgotten]);
    rig.read_archive();
    assert_eq!(version(caller.reply()), 31, "decided anew");
}

#[test]
fn an_unreadable_snapshot_falls_back_to_the_events() {
    let mut rig = Rig::with(small_rounds);
    for turn in 0..20 {
        let _ = rig.decide(add("a"), Some(&format!("key-{turn}")));
    }
    rig.settle();
    // A newer version of the code has written in a format of its own.
    foreign_snapshot(&rig, "1", "99");
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(rig.counter("a").version, 20);
    assert_eq!(version(rig.decide(add("a"), None)), 21);
}

#[test]
fn a_successor_gets_ready_without_snapshots_that_it_cannot_read() {
    let mut rig = Rig::with(small_rounds);
    let mut early = rig.rival();
    add_to_many(&mut rig);
    assert_eq!(early.prepare(), Ok(Step::Idle));
    foreign_snapshot(&rig, "1", "99");
    let mut late = rig.rival();
    for successor in [&mut late, &mut early] {
        assert_eq!(successor.prepare(), Ok(Step::Idle));
        // Its owner goes on writing what this process cannot read.
        foreign_snapshot(&rig, "1", "99");
        assert_eq!(successor.prepare(), Ok(Step::Idle));
        assert_eq!(*successor.ownership().borrow(), Ownership::Standby);
    }
    let _ = rig.decide(add("sku-0"), None);
    assert_eq!(early.take_over(), Ok(Step::Idle));
    std::mem::swap(&mut rig.shard, &mut early);
    assert_eq!(version(rig.decide(add("sku-0"), None)), 3);
}

#[test]
fn a_snapshot_of_a_transaction_that_the_journal_does_not_know_is_refused() {
    let mut rig = Rig::with(small_rounds);
    for _ in 0..20 {
        let _ = rig.decide(add("a"), None);
    }
    rig.settle();
    foreign_snapshot(&rig, "999999", "1");
    assert_eq!(rig.restart(), Ok(Step::Ended));
    let Ownership::Refused { reason } = rig.ownership() else {
        panic!("it serves");
    };
    assert!(reason.contains("committed in part"), "{reason}");
}

/// A record in the snapshots topic that this shard has not written.
fn foreign_snapshot(rig: &Rig, transaction: &str, format: &str) {
    let mut writer = rig.log.writer("somebody").expect("a writer");
    writer.take_over().expect("a take-over");
    let record = NewRecord {
        topic: Arc::from(SNAPSHOTS),
        partition: 0,
        key: b"aggregate/0/x".to_vec(),
        value: Some(br#"{"version":1,"on_hand":1,"reserved":0,"first_at":null}"#.to_vec()),
        headers: vec![
            ("kind", b"live".to_vec()),
            ("format", format.as_bytes().to_vec()),
            ("transaction", transaction.as_bytes().to_vec()),
            ("parts", b"1".to_vec()),
        ],
    };
    writer.commit(vec![record]).expect("a commit");
}

#[test]
fn a_successor_that_read_ahead_misses_nothing_that_came_after() {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        leave_at_once(options);
    });
    let mut successor = rig.rival();
    for turn in 0..90_u64 {
        let sku = format!("sku-{}", (turn * turn) % 5);
        let (command, mut caller) = rig.add(&sku);
        rig.step(vec![command]);
        rig.read_archive();
        let _ = version(caller.reply());
        if turn % 2 == 0 {
            rig.settle();
        }
        if turn % 10 == 3 {
            assert_eq!(successor.prepare(), Ok(Step::Idle));
        }
        if turn % 30 == 29 {
            let last = version(rig.decide(add("open"), None));
            assert_eq!(successor.take_over(), Ok(Step::Idle));
            std::mem::swap(&mut rig.shard, &mut successor);
            successor = rig.rival();
            assert_eq!(rig.counter("open").version, last);
        }
    }
    assert_eq!(rig.seqs(), (1..=93).collect::<Vec<_>>());
}

/// Before its first round, too: the journal that a take-over would need is as old as the shard.
#[test]
fn a_shard_in_which_little_ever_happened_has_a_round_before_its_journal_is_gone() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    rig.clock.advance_millis(rig.options.checkpoint_age_ms / 2);
    restart_and_compare(&mut rig);
    rig.clock
        .advance_millis(rig.options.checkpoint_age_ms / 2 - 1);
    rig.step(Vec::new());
    assert_eq!(rig.snapshots_of("begin"), 0, "not yet");
    rig.clock.advance_millis(1);
    let now = rig.clock.now();
    assert!(rig.shard.next_due().is_some_and(|due| due <= now));
    for _ in 0..10 {
        rig.step(Vec::new());
    }
    assert_eq!(rig.snapshots_of("begin"), 1);
    trim_the_journal(&rig);
    restart_and_compare(&mut rig);
}

/// Retention takes the journal up to its last record, which goes on living by the keep-alive.
fn trim_the_journal(rig: &Rig) {
    let journal = TopicPartition::new("inventory.journal.v1", 0);
    let last = rig.records("inventory.journal.v1").pop().expect("a record");
    rig.log.delete_records(&journal, last.offset);
}

/// Enough for a few rounds, and counters that stay in memory.
fn add_to_many(rig: &mut Rig) {
    let known = rig.shard.aggregates().map_or(0, |all| all.counters.len());
    for number in known..known + 20 {
        let _ = rig.decide(add(&format!("sku-{number}")), None);
    }
    rig.settle();
}

#[test]
fn a_journal_that_was_trimmed_past_the_last_round_costs_time_and_not_the_shard() {
    let mut rig = Rig::with(small_rounds);
    add_to_many(&mut rig);
    trim_the_journal(&rig);
    restart_and_compare(&mut rig);
    assert_eq!(version(rig.decide(add("sku-0"), None)), 2);
    // The next take-overs have rounds to stand on again.
    add_to_many(&mut rig);
    let last = rig.records("inventory.journal.v1").pop().expect("a record");
    assert!(last.header("checkpoint").is_some());
    restart_and_compare(&mut rig);
}

#[test]
fn a_journal_that_was_trimmed_before_there_was_a_round_costs_nothing() {
    let mut rig = Rig::new();
    for turn in 0..10 {
        let _ = rig.decide(add(&format!("sku-{turn}")), None);
        rig.send(&format!("order-{turn}"), "b");
        rig.step_inbox();
    }
    assert_eq!(rig.snapshots_of("begin"), 0);
    trim_the_journal(&rig);
    restart_and_compare(&mut rig);
    assert_eq!(version(rig.decide(add("sku-0"), None)), 2);
    restart_and_compare(&mut rig);
}

#[test]
fn a_journal_that_has_lost_everything_is_refused_by_name() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    let journal = TopicPartition::new("inventory.journal.v1", 0);
    rig.log.delete_records(&journal, u64::MAX);
    assert_eq!(rig.restart(), Ok(Step::Ended));
    let Ownership::Refused { reason } = rig.ownership() else {
        panic!("it serves");
    };
    assert!(reason.contains("has lost all of its records"), "{reason}");
}

#[test]
fn an_idle_shard_begins_a_round_before_the_journal_of_the_last_one_is_gone() {
    let mut rig = Rig::with(small_rounds);
    add_to_many(&mut rig);
    // A round that is due by what the last one left behind begins with the next step.
    rig.settle();
    rig.step(Vec::new());
    rig.settle();
    let before = rig.snapshots_of("begin");
    rig.clock.advance_millis(rig.options.checkpoint_age_ms - 1);
    rig.step(Vec::new());
    assert_eq!(rig.snapshots_of("begin"), before, "not yet");
    rig.clock.advance_millis(1);
    let now = rig.clock.now();
    assert!(rig.shard.next_due().is_some_and(|due| due <= now));
    for _ in 0..10 {
        rig.step(Vec::new());
    }
    assert_eq!(
        rig.snapshots_of("begin"),
        before + 1,
        "one, and not one a step"
    );
    restart_and_compare(&mut rig);
    trim_the_journal(&rig);
    restart_and_compare(&mut rig);
}
