//! What is too large for the log is refused by itself, before it keeps anything else from being written.

use cartwright_event_log::{EventLog as _, LogWriter as _, NewRecord};
use cartwright_shard::{Found, Outcome, Ownership, Reply, Step};

use crate::rig::{Rig, version};
use crate::toy::{Command, add};

fn flood() -> Command {
    Command::Flood { sku: "a".into() }
}

fn reason(reply: Option<Reply>) -> String {
    match reply {
        Some(Reply::Decided(Outcome::Rejected(rejection))) => rejection.reason,
        other => panic!("a rejection expected: {other:?}"),
    }
}

#[test]
fn an_event_that_no_record_holds_is_refused_and_its_group_goes_on() {
    let mut rig = Rig::new();
    let (large, mut its_caller) = rig.submission(flood(), Some("k"));
    let (small, mut other_caller) = rig.add("a");
    assert_eq!(rig.step(vec![large, small]), Step::Committed);
    assert_eq!(reason(its_caller.reply()), "too_large");
    assert!(matches!(
        other_caller.reply(),
        Some(Reply::Decided(Outcome::Accepted(_)))
    ));
    assert_eq!(rig.restart(), Ok(Step::Idle));
    assert_eq!(reason(rig.decide(flood(), Some("k"))), "too_large");
    assert_eq!(rig.counter("a").on_hand, 1);
}

#[test]
fn one_that_is_queued_does_not_hold_up_the_inbox() {
    let mut rig = Rig::new();
    let ids = rig.submit(&[(flood(), None), (add("a"), None)]);
    assert_eq!(rig.step_inbox(), Step::Committed);
    assert!(matches!(
        rig.look_up(&ids[0]),
        Some(Found::Decided(Outcome::Rejected(rejection))) if rejection.reason == "too_large"
    ));
    assert_eq!(rig.counter("a").on_hand, 1);
}

#[test]
fn an_outcome_that_fills_the_journal_goes_without_its_lists() {
    let mut rig = Rig::new();
    let refused = (0..20).map(|_| Command::RefuseAtLength { sku: "a".into() });
    let taken = (0..20).map(|_| Command::AddAtLength { sku: "a".into() });
    // One with a key is in the journal twice: under its id, and under its key.
    let commands = refused.chain(taken).enumerate();
    let commands: Vec<_> = commands
        .map(|(nth, one)| (one, Some(format!("k{nth}"))))
        .collect();
    let keyed: Vec<_> = commands
        .iter()
        .map(|(one, key)| (one.clone(), key.as_deref()))
        .collect();
    let ids = rig.submit(&keyed);
    assert_eq!(rig.step_inbox(), Step::Committed);
    for (nth, id) in ids.iter().enumerate() {
        let data = match rig.look_up(id) {
            Some(Found::Decided(Outcome::Rejected(rejection))) if nth < 20 => rejection.data,
            Some(Found::Decided(Outcome::Accepted(answer))) if nth >= 20 => answer.data,
            other => panic!("{nth}: {other:?}"),
        };
        let names: Vec<&String> = data.keys().collect();
        assert_eq!(names, [if nth < 20 { "total" } else { "on_hand" }]);
    }
    assert_eq!(rig.counter("a").on_hand, 20);
}

/// Each of its snapshots has to fit one transaction.
#[test]
fn an_aggregate_that_has_grown_too_large_takes_no_more_commands() {
    let mut rig = Rig::with(|options| options.aggregate_bytes = 0);
    assert_eq!(version(rig.decide(add("a"), None)), 1);
    assert_eq!(reason(rig.decide(add("a"), Some("k"))), "too_large");
    assert_eq!(version(rig.decide(add("b"), None)), 1);
    assert_eq!(rig.counter("a").on_hand, 1);
}

#[test]
fn a_group_ends_with_its_bytes() {
    let mut rig = Rig::with(|options| options.group_bytes = 1);
    let submitted: Vec<_> = (0..3).map(|_| rig.add("a")).collect();
    let (commands, mut callers): (Vec<_>, Vec<_>) = submitted.into_iter().unzip();
    assert_eq!(rig.step(commands), Step::Committed);
    assert!(callers[0].reply().is_some());
    assert!(callers[1].reply().is_none(), "its turn is next");
    assert!(rig.shard.has_backlog());
}

/// It is somebody's unfinished order, which can be read once the schema is back.
#[test]
fn a_message_of_a_schema_that_nobody_knows_is_not_given_up() {
    let mut rig = Rig::new();
    let mut sender = rig.log.writer("sender").expect("a writer");
    sender.take_over().expect("a take-over");
    let record = NewRecord {
        topic: "inventory.inbox.v1".into(),
        partition: 0,
        key: b"o-1".to_vec(),
        value: Some(vec![0, 0, 0, 9, 9, 1]),
        headers: Vec::new(),
    };
    sender.commit(vec![record]).expect("a commit");
    let before = rig.journal().len();
    assert_eq!(rig.step_inbox(), Step::Ended);
    let ownership = rig.shard.ownership().borrow().clone();
    assert!(
        matches!(&ownership, Ownership::Refused { reason } if reason.contains("schema")),
        "{ownership}"
    );
    assert_eq!(rig.journal().len(), before);
}
