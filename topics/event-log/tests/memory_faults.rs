//! Every scripted fault of the model does what Kafka would do.

mod fixture;

use std::time::Duration;

use cartwright_event_log::memory::{DelayedRequests, Fault};
use cartwright_event_log::{
    CommitError, EventLog, GroupEvent, GroupReader, LogError, LogReader, LogWriter, NewRecord,
    ReaderPurpose, Record, Start, read_to,
};

use fixture::{Fixture, TOPIC, fixture};

impl Fixture {
    fn committed(&self) -> Vec<String> {
        values(&self.log.committed(&self.at).expect("a partition"))
    }

    fn watermarks(&self) -> (u64, u64) {
        let reader = self.log.reader(ReaderPurpose::Recovery).expect("a reader");
        reader.watermarks(&self.at).expect("watermarks")
    }
}

fn records(values: &[&str]) -> Vec<NewRecord> {
    values
        .iter()
        .map(|value| NewRecord {
            topic: TOPIC.into(),
            partition: 0,
            key: Vec::new(),
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        })
        .collect()
}

fn values(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8(record.value.clone().unwrap_or_default()).expect("UTF-8"))
        .collect()
}

#[test]
fn a_failed_commit_leaves_aborted_records_that_take_offsets() {
    let mut f = fixture();
    f.log.inject(Fault::FailNextCommit);
    let failed = f.writer.commit(records(&["a", "b"]));
    assert!(matches!(failed, Err(CommitError::NotCommitted { .. })));
    assert_eq!(f.committed(), Vec::<String>::new());
    assert_eq!(f.watermarks(), (0, 3));
    assert_eq!(f.log.fired(&Fault::FailNextCommit), 1);
}

#[test]
fn a_failed_delivery_aborts_the_transaction() {
    let mut f = fixture();
    f.log.inject(Fault::DeliveryFailure);
    let failed = f.writer.commit(records(&["a", "b"]));
    assert!(matches!(failed, Err(CommitError::NotCommitted { .. })));
    assert_eq!(f.committed(), Vec::<String>::new());
    assert_eq!(f.watermarks(), (0, 2), "only the first reached the log");
}

#[test]
fn an_unknown_commit_may_have_happened() {
    let mut f = fixture();
    let fault = Fault::UnknownCommit { committed: true };
    f.log.inject(fault);
    let unknown = f.writer.commit(records(&["a"]));
    assert!(matches!(unknown, Err(CommitError::Unknown { .. })));
    assert_eq!(f.committed(), ["a"]);
    assert_eq!(f.log.fired(&fault), 1);
}

#[test]
fn an_unknown_commit_that_did_not_happen_holds_up_readers_until_the_take_over() {
    let mut f = fixture();
    f.log.inject(Fault::UnknownCommit { committed: false });
    let unknown = f.writer.commit(records(&["a"]));
    assert!(matches!(unknown, Err(CommitError::Unknown { .. })));
    let mut other = f.log.writer("other").expect("a writer");
    other.take_over().expect("a take-over");
    other.commit(records(&["behind it"])).expect("to commit");

    // The high watermark counts what is open, the last stable offset does not.
    assert_eq!(f.watermarks(), (0, 3));
    assert_eq!(f.log.last_stable_offset(&f.at), Ok(0));
    let mut reader = f.log.reader(ReaderPurpose::Recovery).expect("a reader");
    reader
        .assign(&[(f.at.clone(), Start::Beginning)])
        .expect("an assignment");
    let end = [(f.at.clone(), 3)];
    let stalled = read_to(&mut reader, &end, Duration::from_secs(60), |_| {
        Ok::<(), LogError>(())
    });
    assert!(matches!(
        stalled,
        Err(LogError::Stalled { position: 0, .. })
    ));

    let open = f.log.open_transactions(&f.at).expect("an answer");
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].first_offset, 0);
    assert_ne!(open[0].transactional_id.as_deref(), Some("other"));
    f.writer.take_over().expect("a take-over");
    assert_eq!(f.log.open_transactions(&f.at), Ok(Vec::new()));
    assert_eq!(f.committed(), ["behind it"]);
    assert_eq!(f.log.last_stable_offset(&f.at), Ok(4));
}

#[test]
fn the_coordinator_aborts_a_transaction_that_is_open_for_too_long() {
    let mut f = fixture();
    f.log.insist_on_take_over(false);
    f.log.inject(Fault::UnknownCommit { committed: false });
    assert!(f.writer.commit(records(&["a"])).is_err());
    f.log.advance(Duration::from_millis(2_999));
    assert_eq!(f.log.last_stable_offset(&f.at), Ok(0));
    f.log.advance(Duration::from_millis(1));
    assert_eq!(f.log.last_stable_offset(&f.at), Ok(2));
    assert_eq!(f.committed(), Vec::<String>::new());
    // It raised the epoch, so that the writer is out.
    let fenced = f.writer.commit(records(&["b"]));
    assert_eq!(fenced, Err(CommitError::Fenced));
}

#[test]
fn a_writer_fenced_in_the_middle_leaves_nothing_visible() {
    let mut f = fixture();
    f.log.inject(Fault::FenceNext);
    let fenced = f.writer.commit(records(&["a", "b"]));
    assert_eq!(fenced, Err(CommitError::Fenced));
    assert_eq!(f.committed(), Vec::<String>::new());
    assert_eq!(f.log.last_stable_offset(&f.at), Ok(2), "nothing is open");
    assert_eq!(
        f.writer.commit(records(&["c"])),
        Err(CommitError::TakeOverFirst)
    );
}

#[test]
fn a_stale_commit_request_commits_half_of_the_next_transaction() {
    let mut f = fixture();
    f.log.inject(Fault::StaleEndTxn { noticed: false });
    let receipt = f.writer.commit(records(&["a"])).expect("to commit");
    assert!(!receipt.doubtful);
    let next = f.writer.commit(records(&["b", "c", "journal"]));
    assert!(matches!(next, Err(CommitError::Unknown { .. })));
    assert_eq!(f.committed(), ["a", "b", "c"], "without its journal record");
    let expected = DelayedRequests {
        applied: 1,
        refused: 0,
    };
    assert_eq!(f.log.delayed_requests(), expected);
}

#[test]
fn a_doubtful_receipt_makes_the_writer_insist_on_a_take_over_which_disarms_the_stale_request() {
    let mut f = fixture();
    f.log.inject(Fault::StaleEndTxn { noticed: true });
    let receipt = f.writer.commit(records(&["a"])).expect("to commit");
    assert!(receipt.doubtful);
    assert_eq!(
        f.writer.commit(records(&["b"])),
        Err(CommitError::TakeOverFirst)
    );
    f.writer.take_over().expect("a take-over");
    f.writer.commit(records(&["b", "c"])).expect("to commit");
    assert_eq!(f.committed(), ["a", "b", "c"]);
    let expected = DelayedRequests {
        applied: 0,
        refused: 1,
    };
    assert_eq!(f.log.delayed_requests(), expected);
}

#[test]
fn a_late_produce_joins_the_next_transaction_of_the_same_epoch() {
    let mut f = fixture();
    f.log.insist_on_take_over(false);
    f.log.inject(Fault::LateProduce);
    assert!(f.writer.commit(records(&["a", "late"])).is_err());
    f.writer.commit(records(&["b", "c"])).expect("to commit");
    assert_eq!(f.committed(), ["b", "late", "c"]);
}

#[test]
fn a_late_produce_is_refused_after_a_take_over() {
    let mut f = fixture();
    f.log.inject(Fault::LateProduce);
    assert!(f.writer.commit(records(&["a", "late"])).is_err());
    f.writer.take_over().expect("a take-over");
    f.writer.commit(records(&["b", "c"])).expect("to commit");
    assert_eq!(f.committed(), ["b", "c"]);
    assert_eq!(f.log.delayed_requests().refused, 1);
}

#[test]
fn a_late_produce_alone_opens_nothing() {
    let mut f = fixture();
    f.log.inject(Fault::LateProduce);
    assert!(f.writer.commit(records(&["a", "late"])).is_err());
    f.log.deliver_delayed("shard");
    assert_eq!(f.log.last_stable_offset(&f.at), Ok(f.watermarks().1));
    assert_eq!(f.log.delayed_requests().refused, 1);
}

#[test]
fn a_slow_commit_is_doubtful() {
    let mut f = fixture();
    f.log.inject(Fault::SlowCommit);
    let receipt = f.writer.commit(records(&["a"])).expect("to commit");
    assert!(receipt.doubtful && receipt.duration > Duration::from_millis(500));
    assert_eq!(
        f.writer.commit(records(&["b"])),
        Err(CommitError::TakeOverFirst)
    );
}

#[test]
fn a_failed_take_over_fences_nobody() {
    let mut f = fixture();
    let mut other = f.log.writer("shard").expect("a writer");
    f.log.inject(Fault::TakeOverError);
    assert!(matches!(
        other.take_over(),
        Err(LogError::Unavailable { .. })
    ));
    assert_eq!(
        other.commit(records(&["b"])),
        Err(CommitError::TakeOverFirst)
    );
    f.writer.commit(records(&["a"])).expect("to commit");
    assert_eq!(f.committed(), ["a"]);
}

#[test]
fn a_reader_error_passes_and_loses_nothing() {
    let mut f = fixture();
    f.writer.commit(records(&["a"])).expect("to commit");
    let mut reader = f.log.reader(ReaderPurpose::Tailing).expect("a reader");
    reader
        .assign(&[(f.at.clone(), Start::Beginning)])
        .expect("an assignment");
    f.log.inject(Fault::ReaderError);
    assert!(matches!(
        reader.poll(10, Duration::ZERO),
        Err(LogError::Unavailable { .. })
    ));
    let read = reader.poll(10, Duration::ZERO).expect("to poll");
    assert_eq!(values(&read), ["a"]);
}

#[test]
fn faults_strike_the_writer_they_are_meant_for() {
    let mut f = fixture();
    f.log.inject_for("other", Fault::FailNextCommit);
    f.writer.commit(records(&["a"])).expect("to commit");
    assert_eq!(f.log.pending_faults(), 1);
    let mut other = f.log.writer("other").expect("a writer");
    other.take_over().expect("a take-over");
    assert!(other.commit(records(&["b"])).is_err());
    assert_eq!(f.log.pending_faults(), 0);
}

#[test]
fn a_fault_can_be_put_before_those_that_are_pending() {
    let mut f = fixture();
    f.log.inject(Fault::SlowCommit);
    f.log.inject_next_for("shard", Fault::FailNextCommit);
    assert!(f.writer.commit(records(&["a"])).is_err());
    assert_eq!(f.log.fired(&Fault::SlowCommit), 0);
    assert_eq!(f.log.pending_faults(), 1);
}

#[test]
fn deleted_records_are_out_of_range() {
    let mut f = fixture();
    f.writer.commit(records(&["a", "b"])).expect("to commit");
    let mut reader = f.log.reader(ReaderPurpose::Tailing).expect("a reader");
    reader
        .assign(&[(f.at.clone(), Start::Offset(0))])
        .expect("an assignment");
    f.log.delete_records(&f.at, 1);
    assert_eq!(f.watermarks(), (1, 3));
    assert!(matches!(
        reader.poll(10, Duration::ZERO),
        Err(LogError::OutOfRange { .. })
    ));
    reader
        .assign(&[(f.at.clone(), Start::Beginning)])
        .expect("an assignment");
    let read = reader.poll(10, Duration::ZERO).expect("to poll");
    assert_eq!(values(&read), ["b"]);
}

#[test]
fn time_moves_only_when_told_and_stamps_records() {
    let mut f = fixture();
    let before_us = f.log.now_us();
    f.writer.commit(records(&["a"])).expect("to commit");
    f.log.advance(Duration::from_secs(1));
    f.writer.commit(records(&["b"])).expect("to commit");
    let times: Vec<i64> = f
        .log
        .committed(&f.at)
        .expect("a partition")
        .iter()
        .map(|record| record.timestamp_us)
        .collect();
    assert_eq!(times, [before_us, before_us + 1_000_000]);
}

#[test]
fn a_group_member_taken_for_dead_learns_it_by_its_next_poll() {
    let f = fixture();
    let mut dead = f.log.group_reader("workers", &[TOPIC]).expect("a member");
    let owned = vec![f.at.clone()];
    let poll = |member: &mut dyn FnMut() -> Result<GroupEvent, LogError>| member().expect("a poll");
    assert_eq!(
        poll(&mut || dead.poll(1, Duration::ZERO)),
        GroupEvent::Assigned(owned.clone())
    );
    let mut next = f.log.group_reader("workers", &[TOPIC]).expect("a member");
    assert_eq!(
        poll(&mut || next.poll(1, Duration::ZERO)),
        GroupEvent::Records(Vec::new()),
        "the owner has not consented"
    );
    f.log.expire_oldest_member("workers");
    assert_eq!(
        poll(&mut || next.poll(1, Duration::ZERO)),
        GroupEvent::Assigned(owned.clone())
    );
    assert_eq!(
        poll(&mut || dead.poll(1, Duration::ZERO)),
        GroupEvent::Revoked(owned)
    );
}

#[test]
fn a_forced_rebalance_revokes_and_assigns_again() {
    let f = fixture();
    let mut member = f.log.group_reader("workers", &[TOPIC]).expect("a member");
    let owned = vec![f.at.clone()];
    let mut events = Vec::new();
    for _ in 0..2 {
        for _ in 0..2 {
            events.push(member.poll(1, Duration::ZERO).expect("a poll"));
        }
        f.log.force_rebalance("workers");
    }
    let expected = [
        GroupEvent::Assigned(owned.clone()),
        GroupEvent::Records(Vec::new()),
        GroupEvent::Revoked(owned.clone()),
        GroupEvent::Assigned(owned),
    ];
    assert_eq!(events, expected);
}
