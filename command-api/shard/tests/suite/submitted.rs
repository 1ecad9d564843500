//! Commands that come through the inbox, because their callers do not wait.

use cartwright_event_log::memory::Fault;
use cartwright_shard::{Found, Outcome, Reply, Step};

use crate::rig::Rig;
use crate::toy::{Command, add};

fn reason(found: Option<Found>) -> String {
    match found {
        Some(Found::Decided(Outcome::Rejected(rejection))) => rejection.reason,
        other => panic!("a rejection expected: {other:?}"),
    }
}

#[test]
fn it_is_decided_once_and_its_outcome_found_under_its_id() {
    let mut rig = Rig::new();
    let ids = rig.submit(&[
        (add("a"), None),
        (Command::Refuse { sku: "a".into() }, None),
    ]);
    assert!(matches!(rig.look_up(&ids[0]), Some(Found::Waiting)));
    assert_eq!(rig.step_inbox(), Step::Committed);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert!(matches!(
        rig.look_up(&ids[0]),
        Some(Found::Decided(Outcome::Accepted(_)))
    ));
    assert_eq!(reason(rig.look_up(&ids[1])), "refused");
    assert_eq!(rig.counter("a").on_hand, 1);
}

#[test]
fn a_repeat_under_its_key_has_the_same_outcome_and_no_effect() {
    let mut rig = Rig::new();
    let first = rig.decide(add("a"), Some("k"));
    let ids = rig.submit(&[
        (add("a"), Some("k")),
        (add("a"), Some("k")),
        (add("b"), Some("k")),
    ]);
    assert_eq!(rig.step_inbox(), Step::Committed);
    for id in &ids[..2] {
        let Some(Found::Decided(outcome)) = rig.look_up(id) else {
            panic!("{id} is decided");
        };
        assert_eq!(Some(Reply::Decided(outcome)), first);
    }
    assert_eq!(reason(rig.look_up(&ids[2])), "idempotency_key_reused");
    assert_eq!(rig.events().len(), 1);
}

#[test]
fn one_that_breaks_or_can_not_be_read_is_told_and_the_next_goes_on() {
    let mut rig = Rig::new();
    let ids = rig.submit(&[(Command::Break { sku: "a".into() }, None), (add("a"), None)]);
    assert_eq!(rig.step_inbox(), Step::Committed);
    assert_eq!(reason(rig.look_up(&ids[0])), "not_decided");
    assert_eq!(rig.counter("a").on_hand, 1);
}

#[test]
fn a_commit_in_doubt_decides_each_once() {
    for committed in [false, true] {
        let mut rig = Rig::new();
        let ids = rig.submit(&[(add("a"), None), (add("a"), Some("k"))]);
        let fault = Fault::UnknownCommit { committed };
        rig.log.inject(fault);
        assert_eq!(rig.step_inbox(), Step::TakeOver);
        rig.assert_fired(fault);
        assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
        rig.step_inbox();
        assert_eq!(rig.counter("a").on_hand, 2, "committed: {committed}");
        for id in &ids {
            assert!(matches!(rig.look_up(id), Some(Found::Decided(_))));
        }
    }
}

/// However many arrive at once: a journal record that the broker refuses would be made anew for ever.
#[test]
fn a_flood_is_cut_into_groups_in_its_order_and_other_commands_get_their_turn() {
    let most = 2_000;
    let mut rig = Rig::with(|options| options.group_outcome_bytes = most);
    let flood: Vec<_> = (0..100).map(|_| (add("a"), None)).collect();
    let ids = rig.submit(&flood);
    rig.step_inbox();
    assert!(rig.shard.has_backlog(), "the rest is next");
    let (beside, mut caller) = rig.add("b");
    rig.step(vec![beside]);
    assert!(caller.reply().is_some(), "it need not wait for the flood");
    let mut steps = 2;
    while rig.shard.has_backlog() {
        assert_eq!(rig.step(Vec::new()), Step::Committed);
        steps += 1;
    }
    assert!(steps > 5, "{steps} groups");
    for journal in rig.journal() {
        let bytes: usize = journal.decided.iter().map(|one| one.outcome.len()).sum();
        assert!(bytes < most, "{bytes} bytes of outcomes");
    }
    let versions = ids.iter().map(|id| match rig.look_up(id) {
        Some(Found::Decided(Outcome::Accepted(answer))) => answer.version,
        other => panic!("{id} is decided: {other:?}"),
    });
    let versions: Vec<u64> = versions.collect();
    assert_eq!(versions, (1..=100).collect::<Vec<u64>>());
}
