//! What is finished leaves memory, and comes back for a command.

use std::collections::BTreeMap;

use cartwright_event_log::memory::Fault;
use cartwright_shard::Step;

use crate::rig::{Rig, leave_at_once, small_rounds, version};
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

#[test]
fn it_comes_back_after_a_restart_and_commands_for_ids_never_seen_wait_for_the_index() {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        leave_at_once(options);
    });
    for _ in 0..3 {
        let _ = rig.decide(add("a"), None);
    }
    rig.settle();
    // A round begins after "a" has left, so that a take-over does not come across it.
    let _ = rig.decide(add("b"), None);
    for _ in 0..40 {
        let _ = rig.decide(Command::Refuse { sku: "b".into() }, None);
        rig.settle();
    }
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

#[test]
fn out_and_back_at_any_time_with_restarts_in_between_changes_no_version() {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        leave_at_once(options);
    });
    let mut expected = BTreeMap::<String, u64>::new();
    for turn in 0..200_u64 {
        let sku = format!("sku-{}", (turn * turn) % 6);
        let (command, mut caller) = rig.add(&sku);
        rig.step(vec![command]);
        rig.read_archive();
        let expected = expected.entry(sku.clone()).or_default();
        *expected += 1;
        assert_eq!(version(caller.reply()), *expected, "{sku} in turn {turn}");
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
