//! What is finished leaves memory, and comes back for a command.

use std::collections::BTreeMap;

use cartwright_event_log::TopicPartition;
use cartwright_event_log::memory::Fault;
use cartwright_shard::{Found, Inputs, Outcome, Ownership, Step};

use crate::rig::{Rig, SNAPSHOTS, leave_at_once, small_rounds, version};
use crate::toy::{Command, Counter, add};

#[test]
fn a_finished_aggregate_leaves_memory_and_comes_back_for_a_command() {
    let mut rig = Rig::with(leave_at_once);
    for _ in 0..3 {
        let _ = rig.decide(add("a"), None);
    }
    rig.settle();
    assert_eq!(rig.counter("a"), Counter::default(), "it has left");
    let (again, mut caller) = rig.add("a");
    rig.step(vec![again]);
    assert_eq!(caller.reply(), None, "it waits for the aggregate");
    rig.read_archive();
    assert_eq!(version(caller.reply()), 4);
}

/// A shard with "b" in memory, and a finished "a" that left it before the latest round began, so that
/// a take-over does not come across it.
pub(crate) fn with_one_that_left_long_ago() -> Rig {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        leave_at_once(options);
    });
    for _ in 0..3 {
        let _ = rig.decide(add("a"), None);
    }
    rig.settle();
    let _ = rig.decide(add("b"), None);
    write_rounds(&mut rig);
    rig
}

pub(crate) fn write_rounds(rig: &mut Rig) {
    for _ in 0..40 {
        let _ = rig.decide(Command::Refuse { sku: "b".into() }, None);
        rig.settle();
    }
}

#[test]
fn it_comes_back_after_a_restart_and_commands_for_ids_never_seen_wait_for_the_index() {
    let mut rig = with_one_that_left_long_ago();
    assert_eq!(rig.restart(), Ok(Step::Idle));
    let (known, mut known_caller) = rig.add("b");
    let (gone, mut gone_caller) = rig.add("a");
    let (fresh, mut fresh_caller) = rig.add("fresh");
    rig.step(vec![known, gone, fresh]);
    assert_eq!(
        version(known_caller.reply()),
        2,
        "what is in memory is served at once"
    );
    assert_eq!((gone_caller.reply(), fresh_caller.reply()), (None, None));
    rig.read_archive();
    assert_eq!(version(gone_caller.reply()), 4);
    assert_eq!(version(fresh_caller.reply()), 1);
}

/// A shard whose counters come and go all the time, with two of them on a page.
pub(crate) fn of_small_pages() -> Rig {
    Rig::with(|options| {
        small_rounds(options);
        leave_at_once(options);
        options.archive_page = 2;
    })
}

/// Adds one to one of a few SKUs, which may have to come back for it.
pub(crate) fn add_one(rig: &mut Rig, expected: &mut BTreeMap<String, u64>, turn: u64) {
    let sku = format!("sku-{}", (turn * turn) % 6);
    let (command, mut caller) = rig.add(&sku);
    rig.step(vec![command]);
    rig.read_archive();
    let expected = expected.entry(sku.clone()).or_default();
    *expected += 1;
    assert_eq!(version(caller.reply()), *expected, "{sku} in turn {turn}");
}

#[test]
fn out_and_back_at_any_time_with_restarts_in_between_changes_no_version() {
    let (mut rig, mut expected) = (of_small_pages(), BTreeMap::new());
    for turn in 0..200 {
        add_one(&mut rig, &mut expected, turn);
        match turn % 4 {
            0 => assert_eq!(rig.restart(), Ok(Step::Idle), "{}", rig.ownership()),
            1 => rig.settle(),
            _ => {}
        }
    }
    assert!(rig.snapshots_of("finished") > 5 && rig.snapshots_of("live") > 5);
}

#[test]
fn a_commit_in_doubt_loses_nothing_of_what_was_leaving() {
    for fault in [
        Fault::FailNextCommit,
        Fault::UnknownCommit { committed: true },
        Fault::UnknownCommit { committed: false },
        Fault::SlowCommit,
    ] {
        let mut rig = Rig::with(leave_at_once);
        for _ in 0..3 {
            let _ = rig.decide(add("a"), None);
        }
        rig.log.inject(fault);
        assert_eq!(rig.step(Vec::new()), Step::TakeOver, "{fault:?}");
        rig.assert_fired(fault);
        assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
        rig.settle();
        let (again, mut caller) = rig.add("a");
        rig.step(vec![again]);
        rig.read_archive();
        assert_eq!(version(caller.reply()), 4, "{fault:?}");
    }
}

#[test]
fn what_left_memory_while_a_successor_stood_by_has_left_at_the_successor_too() {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        leave_at_once(options);
    });
    let _ = rig.decide(add("b"), None);
    for _ in 0..20 {
        let _ = rig.decide(Command::Refuse { sku: "b".into() }, None);
        rig.settle();
    }
    let _ = rig.decide(add("a"), None);
    let _ = rig.decide(add("a"), None);
    let mut successor = rig.rival();
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    let _ = rig.decide(add("a"), None);
    rig.settle();
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    std::mem::swap(&mut rig.shard, &mut successor);
    assert_eq!(rig.counter("a"), Counter::default(), "it has left");
    let (again, mut caller) = rig.add("a");
    rig.step(vec![again]);
    rig.read_archive();
    assert_eq!(version(caller.reply()), 4);
    assert_eq!(rig.restart(), Ok(Step::Idle), "{}", rig.ownership());
}

/// Otherwise it could create nothing until it has read where everything is.
#[test]
fn a_successor_that_says_that_it_is_ready_knows_every_id() {
    let mut rig = with_one_that_left_long_ago();
    let mut successor = rig.rival();
    while *successor.ownership().borrow() != Ownership::Standby {
        assert_eq!(successor.prepare(), Ok(Step::Idle));
    }
    // What leaves and comes back meanwhile is known too.
    for _ in 0..3 {
        let _ = rig.decide(add("c"), None);
    }
    rig.settle();
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    let (again, mut caller) = rig.add("a");
    rig.step(vec![again]);
    rig.read_archive();
    assert_eq!(version(caller.reply()), 4);
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    std::mem::swap(&mut rig.shard, &mut successor);
    assert_eq!(rig.shard.take_asks(), [], "nothing is left to be found out");
    assert_eq!(version(rig.decide(add("fresh"), None)), 1);
    for (sku, expected) in [("a", 5), ("c", 4)] {
        let (again, mut caller) = rig.add(sku);
        rig.step(vec![again]);
        rig.read_archive();
        assert_eq!(version(caller.reply()), expected, "{sku}");
    }
}

#[test]
fn a_successor_that_could_not_fence_anybody_yet_still_knows_every_id() {
    let mut rig = with_one_that_left_long_ago();
    let mut successor = rig.rival();
    while *successor.ownership().borrow() != Ownership::Standby {
        assert_eq!(successor.prepare(), Ok(Step::Idle));
    }
    rig.log.inject(Fault::TakeOverError);
    successor.take_over().expect_err("the log is not there");
    rig.assert_fired(Fault::TakeOverError);
    assert_eq!(version(rig.decide(add("late"), None)), 1);
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    std::mem::swap(&mut rig.shard, &mut successor);
    assert_eq!(rig.shard.take_asks(), [], "nothing is left to be found out");
    assert_eq!(version(rig.decide(add("late"), None)), 2);
    assert_eq!(version(rig.decide(add("fresh"), None)), 1);
}

/// Whatever became of the transaction: also "a" is known whose next event was in it.
#[test]
fn after_a_doubt_it_is_still_known_what_has_left() {
    for fault in [
        Fault::FailNextCommit,
        Fault::UnknownCommit { committed: true },
        Fault::UnknownCommit { committed: false },
        Fault::SlowCommit,
    ] {
        let mut rig = with_one_that_left_long_ago();
        assert_eq!(rig.restart(), Ok(Step::Idle));
        rig.read_archive();
        let (again, mut caller) = rig.add("a");
        rig.step(vec![again]);
        rig.log.inject(fault);
        rig.read_archive();
        rig.assert_fired(fault);
        let early = caller.reply();
        assert_eq!(rig.shard.take_over(), Ok(Step::Idle), "{fault:?}");
        assert_eq!(
            rig.shard.take_asks(),
            [],
            "{fault:?}: nothing is read again"
        );
        assert_eq!(version(rig.decide(add("fresh"), None)), 1, "{fault:?}");
        rig.read_archive();
        let reply = early.or_else(|| caller.reply());
        assert_eq!(version(reply), 4, "{fault:?}");
    }
}

/// A doubt in the middle of the first look for what has left does not begin it anew.
#[test]
fn what_was_asked_before_a_doubt_is_answered_after_it() {
    let mut rig = with_one_that_left_long_ago();
    assert_eq!(rig.restart(), Ok(Step::Idle));
    let asked = rig.shard.take_asks();
    assert_eq!(asked.len(), 1);
    rig.log.inject(Fault::SlowCommit);
    assert_eq!(version(rig.decide(add("b"), None)), 2);
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    assert_eq!(rig.shard.take_asks(), [], "nothing is read again");
    let (fresh, mut caller) = rig.add("fresh");
    rig.step(vec![fresh]);
    assert_eq!(caller.reply(), None);
    rig.answer(&asked);
    assert_eq!(version(caller.reply()), 1);
}

/// The record that was asked for is not the last one any more.
#[test]
fn an_answer_to_what_was_asked_before_another_owner_had_it_is_not_taken() {
    let mut rig = with_one_that_left_long_ago();
    let (again, mut caller) = rig.add("a");
    rig.step(vec![again]);
    let asked = rig.shard.take_asks();
    assert_eq!(asked.len(), 1);
    rig.log.inject(Fault::UnknownCommit { committed: false });
    assert_eq!(rig.decide(add("b"), None), None);
    // It writes no round, so that this process still knows all that was before the latest one.
    rig.options.checkpoint_tail = usize::MAX;
    let mut other = rig.rival();
    assert_eq!(other.take_over(), Ok(Step::Idle));
    std::mem::swap(&mut rig.shard, &mut other);
    rig.read_archive();
    let (theirs, mut their_caller) = rig.add("a");
    rig.step(vec![theirs]);
    rig.read_archive();
    assert_eq!(version(their_caller.reply()), 4);
    rig.settle();
    assert_eq!(rig.counter("a"), Counter::default(), "it has left again");
    std::mem::swap(&mut rig.shard, &mut other);
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    rig.step(Vec::new());
    rig.answer(&asked);
    rig.read_archive();
    assert_eq!(version(caller.reply()), 5);
}

/// What this process knew is no longer all that there was before the round that it stands on.
#[test]
fn what_left_at_another_owner_in_between_is_looked_for() {
    let mut rig = with_one_that_left_long_ago();
    rig.log.inject(Fault::UnknownCommit { committed: false });
    assert_eq!(rig.decide(add("b"), None), None);
    let mut other = rig.rival();
    assert_eq!(other.take_over(), Ok(Step::Idle));
    std::mem::swap(&mut rig.shard, &mut other);
    rig.read_archive();
    for _ in 0..3 {
        let _ = rig.decide(add("c"), None);
    }
    rig.settle();
    write_rounds(&mut rig);
    std::mem::swap(&mut rig.shard, &mut other);
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    let (again, mut caller) = rig.add("c");
    rig.step(vec![again]);
    assert_eq!(caller.reply(), None, "it is not known where it is");
    rig.read_archive();
    assert_eq!(version(caller.reply()), 4);
}

#[test]
fn what_waits_in_the_inbox_is_passed_by_others_and_not_by_what_is_about_the_same() {
    let mut rig = with_one_that_left_long_ago();
    assert_eq!(rig.restart(), Ok(Step::Idle));
    let fresh = || (add("fresh"), None);
    let ids = rig.submit(&[fresh(), (add("b"), None), fresh()]);
    rig.answer_reservation("order-1");
    let version_of = |rig: &mut Rig, id: &str| match rig.look_up(id) {
        Some(Found::Decided(Outcome::Accepted(answer))) => Some(answer.version),
        Some(Found::Waiting) => None,
        other => panic!("{id}: {other:?}"),
    };
    for turn in 0..3 {
        rig.step_inbox();
        let versions: Vec<_> = ids.iter().map(|id| version_of(&mut rig, id)).collect();
        assert_eq!(versions, [None, Some(2), None], "turn {turn}");
        let last = rig.records("inventory.journal.v1").pop().expect("a record");
        let passed = last.header("inbox_passed").map(<[u8]>::to_vec);
        // A control record stands between the two transactions.
        assert_eq!(passed.as_deref(), Some(b"1,4".as_slice()));
        assert_eq!(rig.shard.inbox_position(), Some(0));
        assert_eq!(rig.counter("order-1").on_hand, 1);
        // Nothing is applied twice, with the journal alone or with a round.
        match turn {
            0 => assert_eq!(rig.restart(), Ok(Step::Idle)),
            1 => {
                write_rounds(&mut rig);
                assert_eq!(rig.restart(), Ok(Step::Idle));
            }
            _ => {}
        }
    }
    rig.read_archive();
    rig.step_inbox();
    let versions: Vec<_> = ids.iter().map(|id| version_of(&mut rig, id)).collect();
    assert_eq!(versions, [Some(1), Some(2), Some(2)]);
    assert_eq!(rig.shard.inbox_position(), Some(5));
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(rig.shard.inbox_position(), Some(5));
    assert_eq!(rig.counter("b").on_hand, 2);
    assert_eq!(rig.counter("order-1").on_hand, 1);
}

/// A new owner gets the messages before those that have passed one after the other.
#[test]
fn what_has_not_been_read_yet_is_not_passed_over() {
    let mut rig = with_one_that_left_long_ago();
    assert_eq!(rig.restart(), Ok(Step::Idle));
    let fresh = || (add("fresh"), None);
    let ids = rig.submit(&[fresh(), fresh(), (add("b"), None)]);
    rig.step_inbox();
    assert_eq!(rig.counter("b").on_hand, 2, "it has passed two");
    assert_eq!(rig.restart(), Ok(Step::Idle));
    rig.read_archive();
    let first = rig.records("inventory.inbox.v1").swap_remove(0);
    rig.shard.step(Inputs {
        inbox: vec![first],
        ..Inputs::default()
    });
    assert_eq!(rig.shard.inbox_position(), Some(1));
    assert_eq!(rig.restart(), Ok(Step::Idle));
    rig.read_archive();
    rig.step_inbox();
    assert_eq!(rig.shard.inbox_position(), Some(3));
    assert_eq!(rig.counter("fresh").on_hand, 2);
    for id in &ids {
        let found = rig.look_up(id);
        assert!(matches!(found, Some(Found::Decided(_))), "{id}: {found:?}");
    }
}

/// Where the record of a finished aggregate can't be had, the events still can.
#[test]
fn a_snapshot_that_cannot_be_read_makes_the_shard_build_its_state_from_the_events() {
    let mut rig = Rig::with(leave_at_once);
    for _ in 0..3 {
        let _ = rig.decide(add("a"), None);
    }
    rig.settle();
    assert_eq!(rig.counter("a"), Counter::default(), "it has left");
    let snapshots = TopicPartition::new(SNAPSHOTS, 0);
    rig.log.delete_records(&snapshots, u64::MAX);
    let (again, mut caller) = rig.add("a");
    rig.step(vec![again]);
    rig.read_archive();
    assert_eq!(caller.reply(), None, "it waits");
    let ownership = rig.ownership();
    assert!(
        matches!(ownership, Ownership::Recovering { .. }),
        "{ownership}"
    );
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    rig.step(Vec::new());
    assert_eq!(version(caller.reply()), 4);
    assert_eq!(rig.restart(), Ok(Step::Idle), "{}", rig.ownership());
}
