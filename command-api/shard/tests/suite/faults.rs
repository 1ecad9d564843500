//! Commits that go wrong, in every way that the log can make them go wrong.

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_shard::{Ownership, Reply, Step};

use crate::rig::{Rig, version};
use crate::toy::{Command, add};

/// Takes over and lets the backlog settle.
fn settle(rig: &mut Rig) {
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    rig.step(Vec::new());
}

/// Whatever becomes of the commit, the command takes effect once and the caller learns so.
fn survives(fault: Fault) {
    let mut rig = Rig::new();
    assert_eq!(version(rig.decide(add("a"), None)), 1);
    rig.log.inject(fault);
    let (submission, mut caller) = rig.add("a");
    assert_eq!(rig.step(vec![submission]), Step::TakeOver);
    rig.assert_fired(fault);
    let early = caller.reply();
    settle(&mut rig);
    assert_eq!(version(early.or_else(|| caller.reply())), 2, "{fault:?}");
    assert_eq!(rig.counter("a").on_hand, 2, "{fault:?}");
    assert_eq!(rig.seqs(), [1, 2], "{fault:?}");
}

#[test]
fn a_commit_that_failed_for_certain_is_decided_again() {
    survives(Fault::FailNextCommit);
    survives(Fault::DeliveryFailure);
}

#[test]
fn an_unknown_outcome_is_settled_from_the_log() {
    survives(Fault::UnknownCommit { committed: true });
    survives(Fault::UnknownCommit { committed: false });
}

#[test]
fn a_slow_commit_is_answered_and_then_read_back() {
    survives(Fault::SlowCommit);
}

#[test]
fn a_reply_never_comes_before_the_commit() {
    let mut rig = Rig::new();
    rig.log.inject(Fault::UnknownCommit { committed: true });
    let (submission, mut caller) = rig.add("a");
    let (refused, mut refused_caller) = rig.submission(Command::Refuse { sku: "b".into() }, None);
    assert_eq!(rig.step(vec![submission, refused]), Step::TakeOver);
    assert_eq!(
        caller.reply(),
        None,
        "answered before the outcome was known"
    );
    assert_eq!(
        refused_caller.reply(),
        None,
        "a rejection waits for its commit as well"
    );
    settle(&mut rig);
    assert!(caller.reply().is_some());
    assert!(refused_caller.reply().is_some());
}

#[test]
fn a_late_produce_of_a_failed_transaction_never_lands_in_the_next() {
    let mut rig = Rig::new();
    rig.log.inject(Fault::LateProduce);
    let (submission, mut caller) = rig.add("a");
    assert_eq!(rig.step(vec![submission]), Step::TakeOver);
    rig.assert_fired(Fault::LateProduce);
    settle(&mut rig);
    assert_eq!(version(caller.reply()), 1);
    assert_eq!(rig.seqs(), [1]);
    rig.restart().expect("a consistent log");
}

#[test]
fn after_a_noticed_disconnect_a_stale_end_of_transaction_does_no_harm() {
    let mut rig = Rig::new();
    let fault = Fault::StaleEndTxn { noticed: true };
    rig.log.inject(fault);
    let (first, mut caller) = rig.add("a");
    assert_eq!(
        rig.step(vec![first]),
        Step::TakeOver,
        "the receipt was doubtful"
    );
    rig.assert_fired(fault);
    assert_eq!(version(caller.reply()), 1);
    settle(&mut rig);
    assert_eq!(version(rig.decide(add("a"), None)), 2);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(rig.counter("a").on_hand, 2);
}

#[test]
fn half_a_transaction_is_found_and_refused() {
    let mut rig = Rig::new();
    let fault = Fault::StaleEndTxn { noticed: false };
    rig.log.inject(fault);
    let _ = rig.decide(add("a"), None);
    rig.assert_fired(fault);
    // The stale request commits the first half of this one; the second half never arrives.
    rig.log.inject(Fault::UnknownCommit { committed: false });
    let (a, _a) = rig.add("a");
    let (b, _b) = rig.add("b");
    let (c, _c) = rig.add("c");
    assert_eq!(rig.step(vec![a, b, c]), Step::TakeOver);
    assert_eq!(rig.shard.take_over(), Ok(Step::Ended));
    match rig.ownership() {
        Ownership::Refused { reason } => assert!(reason.contains("committed in part"), "{reason}"),
        other => panic!("served on half a transaction: {other}"),
    }
}

#[test]
fn a_fenced_shard_stops_and_claims_no_success() {
    let mut rig = Rig::new();
    rig.log.inject(Fault::FenceNext);
    let (submission, mut caller) = rig.add("a");
    assert_eq!(rig.step(vec![submission]), Step::Ended);
    rig.assert_fired(Fault::FenceNext);
    assert!(matches!(caller.reply(), Some(Reply::Unknown { .. })));
    assert_eq!(rig.ownership(), Ownership::Fenced { epoch: 1 });
    assert_eq!(rig.events(), []);
}

#[test]
fn whether_another_has_served_is_seen_behind_what_hides_the_journal() {
    let mut rig = Rig::new();
    let mut stranger = rig.log.writer("stranger").expect("a writer");
    stranger.take_over().expect("a take-over");
    let open = Fault::UnknownCommit { committed: false };
    rig.log.inject_for("stranger", open);
    let record = NewRecord {
        topic: "inventory.journal.v1".into(),
        partition: 0,
        key: Vec::new(),
        value: None,
        headers: Vec::new(),
    };
    stranger.commit(vec![record]).expect_err("it stays open");
    rig.assert_fired(open);
    assert_eq!(rig.shard.is_replaced(1), Ok(false));
    stranger.take_over().expect("a take-over");
    let mut rival = rig.rival();
    assert_eq!(rival.take_over(), Ok(Step::Idle));
    assert_eq!(rig.shard.is_replaced(1), Ok(true));
    let not_even_its_own = rig.shard.is_replaced(7);
    assert!(not_even_its_own.is_err(), "{not_even_its_own:?}");
    // Looking has fenced nobody.
    std::mem::swap(&mut rig.shard, &mut rival);
    assert_eq!(version(rig.decide(add("a"), None)), 1);
}

#[test]
fn of_two_processes_only_the_later_one_writes() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    let mut rival = rig.rival();
    assert_eq!(rival.take_over(), Ok(Step::Idle));
    let (submission, mut caller) = rig.add("a");
    assert_eq!(rig.step(vec![submission]), Step::Ended);
    assert!(matches!(caller.reply(), Some(Reply::Unknown { .. })));
    assert_eq!(rig.seqs(), [1]);
    let epochs: Vec<u64> = rig
        .journal()
        .iter()
        .map(|journal| journal.writer_epoch)
        .collect();
    assert_eq!(epochs, [1, 1, 2]);
}

#[test]
fn an_event_that_does_not_fit_stops_the_shard_and_is_not_written() {
    let mut rig = Rig::new();
    let (good, mut good_caller) = rig.add("a");
    let (bad, mut bad_caller) = rig.submission(Command::Misfit { sku: "a".into() }, None);
    assert_eq!(rig.step(vec![good, bad]), Step::Ended);
    assert!(matches!(good_caller.reply(), Some(Reply::Unknown { .. })));
    assert!(matches!(bad_caller.reply(), Some(Reply::Unknown { .. })));
    assert!(matches!(rig.ownership(), Ownership::Refused { .. }));
    assert_eq!(rig.events(), []);
}

#[test]
fn a_command_that_panics_gets_a_failure_and_harms_nobody() {
    let mut rig = Rig::new();
    let (good, mut good_caller) = rig.add("a");
    let (bad, mut bad_caller) = rig.submission(Command::Break { sku: "a".into() }, None);
    let (next, mut next_caller) = rig.add("a");
    assert_eq!(rig.step(vec![good, bad, next]), Step::Committed);
    assert_eq!(version(good_caller.reply()), 1);
    assert_eq!(
        bad_caller.reply(),
        Some(Reply::Failed {
            reason: "a broken rule".into()
        })
    );
    assert_eq!(version(next_caller.reply()), 2);
}
