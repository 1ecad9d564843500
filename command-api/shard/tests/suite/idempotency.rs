//! One key, one effect, one answer.

use cartwright_event_log::memory::Fault;
use cartwright_shard::{Outcome, Reply, Step};

use crate::rig::Rig;
use crate::toy::{Command, add};

#[test]
fn a_repeat_is_answered_with_what_was_decided_then() {
    let mut rig = Rig::new();
    let first = rig.decide(add("a"), Some("k"));
    let _ = rig.decide(add("a"), None);
    assert_eq!(rig.decide(add("a"), Some("k")), first);
    assert_eq!(rig.counter("a").on_hand, 2);
}

#[test]
fn a_repeat_in_the_same_group_waits_for_the_commit_too() {
    let mut rig = Rig::new();
    rig.log.inject(Fault::UnknownCommit { committed: false });
    let (first, mut first_caller) = rig.submission(add("a"), Some("k"));
    let (second, mut second_caller) = rig.submission(add("a"), Some("k"));
    assert_eq!(rig.step(vec![first, second]), Step::TakeOver);
    assert_eq!((first_caller.reply(), second_caller.reply()), (None, None));
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    assert_eq!(rig.step(Vec::new()), Step::Committed);
    let reply = first_caller.reply();
    assert!(reply.is_some());
    assert_eq!(second_caller.reply(), reply);
    assert_eq!(rig.counter("a").on_hand, 1);
}

#[test]
fn a_key_with_another_request_is_refused_and_does_nothing() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), Some("k"));
    let other = add("b");
    assert_eq!(rig.decide(other, Some("k")), Some(Reply::KeyReused));
    assert_eq!(rig.events().len(), 1);
}

#[test]
fn results_and_rejections_survive_a_restart() {
    let mut rig = Rig::new();
    let added = rig.decide(add("a"), Some("add"));
    let refused = rig.decide(Command::Refuse { sku: "a".into() }, Some("refuse"));
    assert!(matches!(
        refused,
        Some(Reply::Decided(Outcome::Rejected(_)))
    ));
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(rig.decide(add("a"), Some("add")), added);
    assert_eq!(
        rig.decide(Command::Refuse { sku: "a".into() }, Some("refuse")),
        refused
    );
    assert_eq!(rig.events().len(), 1);
}

#[test]
fn a_failure_is_not_stored() {
    let mut rig = Rig::new();
    let broken = Command::Break { sku: "a".into() };
    assert!(matches!(
        rig.decide(broken, Some("k")),
        Some(Reply::Failed { .. })
    ));
    // The same key with a mended request is a first request.
    assert!(matches!(
        rig.decide(add("a"), Some("k")),
        Some(Reply::Decided(_))
    ));
}

#[test]
fn the_window_is_bounded_by_number() {
    let mut rig = Rig::idle();
    rig.options.results_kept = 2;
    assert_eq!(rig.restart(), Ok(Step::Idle));
    for key in ["one", "two", "three"] {
        let _ = rig.decide(add("a"), Some(key));
    }
    let _ = rig.decide(add("a"), Some("three"));
    assert_eq!(rig.counter("a").on_hand, 3, "the newest is remembered");
    let _ = rig.decide(add("a"), Some("one"));
    assert_eq!(rig.counter("a").on_hand, 4, "the oldest is not");
}

#[test]
fn the_window_is_bounded_by_age() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), Some("k"));
    rig.clock.advance_millis(rig.options.results_ttl_ms + 1);
    let (mut late, mut caller) = rig.submission(add("a"), Some("k"));
    late.deadline = late.deadline.plus_millis(rig.options.results_ttl_ms);
    rig.step(vec![late]);
    assert!(matches!(caller.reply(), Some(Reply::Decided(_))));
    assert_eq!(rig.counter("a").on_hand, 2);
}

#[test]
fn a_command_past_its_deadline_is_not_decided() {
    let mut rig = Rig::new();
    let (mut late, mut caller) = rig.add("a");
    late.deadline = cartwright_events::Timestamp::EPOCH;
    assert_eq!(rig.step(vec![late]), Step::Idle);
    assert_eq!(caller.reply(), Some(Reply::DeadlinePassed));
    assert_eq!(rig.events(), []);
}
