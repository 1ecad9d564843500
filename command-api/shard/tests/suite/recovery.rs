//! Restarts, inboxes, timers, and a log that is not as it should be.

use std::sync::Arc;

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::Message;
use cartwright_events::journal::JournalRecord;
use cartwright_shard::{Clock, Inputs, Ownership, Reply, Step};
use tokio::sync::oneshot;

use crate::rig::Rig;
use crate::toy::{BOMB, Command, POISON, add};

#[test]
fn a_restart_ends_in_the_same_state() {
    let mut rig = Rig::new();
    for sku in ["a", "b", "a"] {
        let _ = rig.decide(add(sku), None);
    }
    rig.send("order-1", "a");
    assert_eq!(rig.step_inbox(), Step::Committed);
    let before = (
        rig.counter("a"),
        rig.counter("b"),
        rig.shard.inbox_position(),
    );
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(
        (
            rig.counter("a"),
            rig.counter("b"),
            rig.shard.inbox_position()
        ),
        before
    );
    assert_eq!(rig.ownership(), Ownership::Serving { epoch: 2 });
}

#[test]
fn every_transaction_has_a_journal_record_that_names_its_seqs() {
    let mut rig = Rig::new();
    let (a, _a) = rig.add("a");
    let (b, _b) = rig.add("b");
    rig.step(vec![a, b]);
    let _ = rig.decide(Command::Refuse { sku: "a".into() }, None);
    let journal = rig.journal();
    assert_eq!(
        journal
            .iter()
            .map(|record| record.transaction)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(journal[0].ranges, [], "the first act of a take-over");
    assert_eq!(
        (journal[1].ranges[0].first, journal[1].ranges[0].last),
        (1, 2)
    );
    assert_eq!(
        (journal[2].ranges.len(), journal[2].decided.len()),
        (0, 1),
        "a rejection is durable"
    );
}

#[test]
fn a_message_is_applied_once_whatever_happens_to_the_commit() {
    for fault in [
        Fault::FailNextCommit,
        Fault::UnknownCommit { committed: true },
        Fault::UnknownCommit { committed: false },
        Fault::SlowCommit,
    ] {
        let mut rig = Rig::new();
        rig.send("order-1", "a");
        rig.log.inject_for("cartwright-inventory-0", fault);
        assert_eq!(rig.step_inbox(), Step::TakeOver, "{fault:?}");
        rig.assert_fired(fault);
        assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
        rig.step_inbox();
        assert_eq!(rig.counter("a").reserved, 1, "{fault:?}");
        assert_eq!(rig.answers().len(), 1, "{fault:?}");
    }
}

#[test]
fn a_message_that_is_delivered_twice_is_applied_once() {
    let mut rig = Rig::new();
    rig.send("order-1", "a");
    let inbox = rig.records("inventory.inbox.v1");
    let twice = Inputs {
        inbox: inbox.clone(),
        ..Inputs::default()
    };
    assert_eq!(rig.shard.step(twice), Step::Committed);
    assert_eq!(
        rig.shard.step(Inputs {
            inbox,
            ..Inputs::default()
        }),
        Step::Idle
    );
    assert_eq!(rig.counter("a").reserved, 1);
}

#[test]
fn a_poisoned_message_is_journaled_as_failed_and_answered_so() {
    let mut rig = Rig::new();
    rig.send(POISON, "a");
    rig.send("order-1", "a");
    assert_eq!(rig.step_inbox(), Step::Committed);
    assert_eq!(rig.counter("a").reserved, 1, "the next message is applied");
    let failed: Vec<_> = rig
        .journal()
        .into_iter()
        .flat_map(|journal| journal.failed)
        .collect();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].reason.contains("poisoned"),
        "{}",
        failed[0].reason
    );
    match &rig.answers()[0] {
        Message::ReservationAnswer(answer) => {
            assert!(!answer.held && answer.failure.is_some(), "{answer:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(rig.step_inbox(), Step::Idle, "it is not tried again");
}

#[test]
fn an_unreadable_message_is_journaled_and_passed() {
    let mut rig = Rig::new();
    write(&rig, "inventory.inbox.v1", vec![1, 2, 3], &[]);
    rig.send("order-1", "a");
    assert_eq!(rig.step_inbox(), Step::Committed);
    assert_eq!(rig.counter("a").reserved, 1);
    assert_eq!(
        rig.journal().last().map(|journal| journal.failed.len()),
        Some(1)
    );
}

#[test]
fn a_timer_fires_once_and_survives_a_restart() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("egg"), None);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(rig.step(Vec::new()), Step::Idle, "not yet");
    rig.clock.advance_millis(10_000);
    assert!(rig.shard.next_due().is_some());
    assert_eq!(rig.step(Vec::new()), Step::Committed);
    assert_eq!(rig.counter("egg").on_hand, 2);
    assert_eq!(rig.step(Vec::new()), Step::Idle);
}

#[test]
fn timers_that_break_rest_and_nothing_else_does() {
    let mut rig = Rig::new();
    let _ = rig.decide(add(BOMB), None);
    rig.clock.advance_millis(10_000);
    let reply = rig.decide(add("a"), None);
    assert!(matches!(reply, Some(Reply::Decided(_))), "{reply:?}");
    let now = rig.clock.now();
    let due = rig.shard.next_due().expect("a timer");
    assert!(due > now, "the shard would spin");
    // It is tried again, and goes on when what broke it has gone.
    let _ = rig.decide(add("egg"), None);
    let _ = rig.decide(add(BOMB), None);
    rig.clock.advance_millis(60_000);
    assert_eq!(rig.step(Vec::new()), Step::Committed);
    assert_eq!(rig.counter("egg").on_hand, 2);
}

#[test]
fn time_never_runs_backwards() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    rig.clock.advance_millis(-1_000);
    let _ = rig.decide(add("a"), None);
    let times: Vec<_> = rig
        .journal()
        .iter()
        .map(|journal| journal.decided_at)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn an_idle_shard_keeps_its_transactional_id_alive_by_writing() {
    let mut rig = Rig::new();
    rig.clock.advance_millis(rig.options.keep_alive_ms);
    let before = rig.journal().len();
    assert_eq!(rig.step(Vec::new()), Step::Committed);
    assert_eq!(rig.journal().len(), before + 1);
    assert_eq!(rig.step(Vec::new()), Step::Idle);
}

#[test]
fn callers_that_wait_for_an_outcome_are_told_after_the_commit() {
    let mut rig = Rig::new();
    let (early, mut early_answer) = oneshot::channel();
    let watches = vec![("a".to_owned(), early)];
    rig.shard.step(Inputs {
        watches,
        ..Inputs::default()
    });
    for _ in 0..2 {
        let _ = rig.decide(add("a"), None);
        assert!(early_answer.try_recv().is_err(), "told too early");
    }
    let _ = rig.decide(add("a"), None);
    assert_eq!(early_answer.try_recv().map(|answer| answer.version), Ok(3));
    let (late, mut late_answer) = oneshot::channel();
    let watches = vec![("a".to_owned(), late)];
    rig.shard.step(Inputs {
        watches,
        ..Inputs::default()
    });
    assert_eq!(
        late_answer
            .try_recv()
            .map(|answer| answer.position.to_string()),
        Ok("g1:s0=3".into())
    );
}

#[test]
fn a_failed_take_over_is_tried_again() {
    let mut rig = Rig::idle();
    rig.log.inject(Fault::TakeOverError);
    assert!(rig.shard.take_over().is_err());
    rig.assert_fired(Fault::TakeOverError);
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    rig.log.inject(Fault::ReaderError);
    assert!(rig.restart().is_err());
    rig.assert_fired(Fault::ReaderError);
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
}

#[test]
fn commands_wait_while_the_shard_recovers() {
    let mut rig = Rig::idle();
    let (submission, mut caller) = rig.add("a");
    assert_eq!(rig.step(vec![submission]), Step::TakeOver);
    assert_eq!(caller.reply(), None);
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    assert_eq!(rig.step(Vec::new()), Step::Committed);
    assert!(matches!(caller.reply(), Some(Reply::Decided(_))));
}

#[test]
fn a_group_is_bounded_by_its_outcomes_and_the_rest_comes_in_the_next() {
    let mut rig = Rig::idle();
    rig.options.group_outcome_bytes = 1;
    assert_eq!(rig.restart(), Ok(Step::Idle));
    let (first, mut first_caller) = rig.add("a");
    let (second, mut second_caller) = rig.add("a");
    assert_eq!(rig.step(vec![first, second]), Step::Committed);
    assert!(first_caller.reply().is_some());
    assert_eq!(second_caller.reply(), None);
    assert!(rig.shard.has_backlog());
    assert_eq!(rig.step(Vec::new()), Step::Committed);
    assert!(second_caller.reply().is_some());
}

/// Keys, ids and digests are in the journal record as well as outcomes.
#[test]
fn thousands_of_commands_with_long_keys_are_all_decided() {
    let mut rig = Rig::new();
    let key = |number| format!("{number:0>255}");
    let (submissions, mut callers): (Vec<_>, Vec<_>) = (0..4_000)
        .map(|number| rig.submission(add("a"), Some(&key(number))))
        .unzip();
    assert_eq!(rig.step(submissions), Step::Committed);
    while rig.shard.has_backlog() {
        assert_eq!(rig.step(Vec::new()), Step::Committed);
    }
    for caller in &mut callers {
        let reply = caller.reply();
        assert!(matches!(reply, Some(Reply::Decided(_))), "{reply:?}");
    }
}

#[test]
fn a_group_takes_no_more_of_the_inbox_than_it_has_room_for() {
    let mut rig = Rig::with(|options| options.group_records = 20);
    let skus: Vec<String> = (0..5).map(|number| format!("sku-{number}")).collect();
    let skus: Vec<&str> = skus.iter().map(String::as_str).collect();
    for number in 0..20 {
        rig.send_all(&format!("order-{number}"), &skus);
    }
    assert_eq!(rig.step_inbox(), Step::Committed);
    let (command, mut caller) = rig.add("a");
    assert_eq!(rig.step(vec![command]), Step::Committed);
    assert!(caller.reply().is_some(), "commands have their turn too");
    while rig.shard.has_backlog() {
        assert_eq!(rig.step(Vec::new()), Step::Committed);
    }
    assert_eq!(rig.answers().len(), 20);
    let events = |journal: &JournalRecord| {
        let ranges = journal.ranges.iter();
        ranges
            .map(|range| range.last + 1 - range.first)
            .sum::<u64>()
    };
    let largest = rig.journal().iter().map(events).max();
    assert!(largest <= Some(20), "{largest:?} events in a transaction");
}

#[test]
fn events_that_the_journal_does_not_name_are_refused() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    write_event(&rig, first_event(&rig), "2");
    assert_refused(&mut rig, "");
}

#[test]
fn a_gap_in_the_seqs_is_refused() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    write_event(&rig, first_event(&rig), "3");
    assert_refused(&mut rig, "2 was due");
}

#[test]
fn what_a_newer_writer_wrote_is_told_apart_from_what_nobody_may_write_after() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    let known = first_event(&rig);
    // Frame, id, version and time of the event, and then no branch that is known here.
    let mut value = known[..5].to_vec();
    value.extend([2, b'a', 2, 0]);
    value.extend([0; 32]);
    write_event(&rig, value, "2");
    assert_outdated(&mut rig);
}

#[test]
fn a_journal_record_that_requires_what_is_not_known_is_from_a_newer_writer() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    let last = rig.records("inventory.journal.v1").pop().expect("a record");
    let value = last.value.expect("a value");
    let headers = [("seq", "2"), ("requires", "inbox_passed,what_comes_later")];
    write(&rig, "inventory.journal.v1", value, &headers);
    assert_outdated(&mut rig);
}

fn assert_outdated(rig: &mut Rig) {
    assert_eq!(rig.restart(), Ok(Step::Ended));
    match rig.ownership() {
        Ownership::Outdated { reason } => assert!(reason.contains("newer writer"), "{reason}"),
        other => panic!("{other}"),
    }
}

fn assert_refused(rig: &mut Rig, with: &str) {
    assert_eq!(rig.restart(), Ok(Step::Ended));
    match rig.ownership() {
        Ownership::Refused { reason } => assert!(reason.contains(with), "{reason}"),
        other => panic!("{other}"),
    }
}

fn first_event(rig: &Rig) -> Vec<u8> {
    let first = rig.records("inventory.stock.events.v1").swap_remove(0);
    first.value.expect("a value")
}

/// An event that is in no journal.
fn write_event(rig: &Rig, value: Vec<u8>, seq: &str) {
    let headers = [("seq", seq), ("writer_epoch", "1")];
    write(rig, "inventory.stock.events.v1", value, &headers);
}

/// A record that no shard wrote.
fn write(rig: &Rig, topic: &str, value: Vec<u8>, headers: &[(&'static str, &str)]) {
    let mut writer = rig.log.writer("stranger").expect("a writer");
    writer.take_over().expect("a take-over");
    let record = NewRecord {
        topic: Arc::from(topic),
        partition: 0,
        key: Vec::new(),
        value: Some(value),
        headers: headers
            .iter()
            .map(|(name, text)| (*name, text.as_bytes().to_vec()))
            .collect(),
    };
    writer.commit(vec![record]).expect("a commit");
}
