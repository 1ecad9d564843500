//! The promises about parked records and requests.

use std::sync::Arc;

use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::{
    ParkAction, ParkReason, ParkRequest, ParkedRow, RequestOutcome, RequestState, SkippedRow, Value,
};

use super::PROJECTION;
use super::at;
use super::cases::{Case, Run};
use crate::sink::{Batch, SinkError, Unparked};

pub(super) const CASES: [(&str, Run); 8] = [
    ("parked_records_come_back", parked_records),
    (
        "what_is_settled_is_parked_no_longer_and_its_rows_are_there",
        settled,
    ),
    (
        "what_was_parked_late_loses_to_what_is_applied_already",
        parked_late,
    ),
    ("what_is_given_up_is_kept_for_the_record", given_up),
    (
        "what_is_settled_is_not_parked_again_by_a_late_batch",
        not_parked_again,
    ),
    (
        "unparking_guards_as_a_move_of_the_position_does",
        unparking_guards,
    ),
    (
        "what_was_parked_of_the_log_before_is_parked_no_longer",
        log_before,
    ),
    ("requests_come_in_their_order_with_their_answers", requests),
];

fn rejected(key: &str, offset: u64, reason: &str) -> ParkedRow {
    let reason = ParkReason::Rejected(reason.to_owned());
    ParkedRow::new(key.to_owned(), offset, offset / 10, reason)
}

fn behind(key: &str, offset: u64) -> ParkedRow {
    ParkedRow::new(key.to_owned(), offset, offset / 10, ParkReason::Behind)
}

/// Parks records on the way from one seq to another.
fn park(case: &Case<'_>, from: u64, to: u64, parked: Vec<ParkedRow>) {
    let mut batch = Batch::clone(&case.batch(from, to, vec![]));
    batch.parked = parked;
    case.apply(&Arc::new(batch));
}

/// A batch that leaves the position at `seq`.
fn unpark(case: &Case<'_>, seq: u64, unparked: Unparked) -> Batch {
    let mut batch = Batch::clone(&case.batch(seq, seq, vec![]));
    batch.unparked = unparked;
    batch
}

fn parked_records(case: &Case<'_>) {
    let records = [
        rejected("b", 30, "no such thing"),
        behind("b", 40),
        behind("a", 110),
        rejected("a", 50, "odd"),
    ];
    park(case, 0, 12, records.to_vec());
    let [b30, b40, a110, a50] = records;
    assert_eq!(
        case.load().parked,
        [a50, a110, b30, b40],
        "by key and offset"
    );
    let later = case.subject.sink().load(&case.key(), 2);
    let none = later.map(|loaded| loaded.parked);
    assert_eq!(none, Ok(vec![]), "they belong to their generation");
}

fn settled(case: &Case<'_>) {
    let (first, second, third) = (rejected("a", 30, "odd"), behind("a", 40), behind("a", 50));
    park(
        case,
        0,
        12,
        vec![first.clone(), second.clone(), third.clone()],
    );
    let still = third.tried("request", "a still odd one".to_owned());
    let mut batch = unpark(
        case,
        12,
        Unparked {
            settled: vec![first, second],
            ..Unparked::default()
        },
    );
    batch.ops = vec![
        case.thing(3, [("amount", Value::Int(3))]),
        case.thing(4, [("label", "four".into())]),
    ];
    batch.parked = vec![still.clone()];
    case.apply(&Arc::new(batch));
    let loaded = case.load();
    assert_eq!(
        loaded.parked,
        std::slice::from_ref(&still),
        "with its new reason"
    );
    assert_eq!(loaded.position, Some(at(12)));
    let row = case.the_thing();
    assert_eq!(row.value("amount"), &Value::Int(3));
    assert_eq!(row.value("row_seq"), &Value::Int(4), "of the event itself");
    // And the last one, after which the key goes on.
    let mut batch = unpark(
        case,
        12,
        Unparked {
            settled: vec![still],
            ..Unparked::default()
        },
    );
    batch.ops = vec![case.thing(5, [("amount", Value::Int(5))])];
    case.apply(&Arc::new(batch));
    assert_eq!(case.load().parked, []);
    case.apply(&case.batch(12, 13, vec![case.thing(13, [("amount", Value::Int(13))])]));
    assert_eq!(case.the_thing().value("amount"), &Value::Int(13));
}

/// Where nothing guards the position, a projector that is late may park a record that another has
/// applied; what follows waits behind it, and what came between is there.
fn parked_late(case: &Case<'_>) {
    if case.subject.refuses_stale_batches() {
        return;
    }
    let (late, follows) = (behind("a", 30), behind("a", 50));
    case.apply(&case.batch(0, 4, vec![case.thing(4, [("amount", Value::Int(4))])]));
    park(case, 4, 5, vec![late.clone(), follows.clone()]);
    let settled = vec![late, follows];
    let unparked = Unparked {
        settled,
        ..Unparked::default()
    };
    let mut batch = unpark(case, 5, unparked);
    batch.ops = vec![
        case.thing(3, [("amount", Value::Int(3))]),
        case.thing(5, [("label", "five".into())]),
    ];
    case.apply(&Arc::new(batch));
    assert_eq!(case.load().parked, []);
    let row = case.the_thing();
    assert_eq!(row.value("amount"), &Value::Int(4));
    assert_eq!(row.value("label"), &Value::from("five"));
}

fn given_up(case: &Case<'_>) {
    let record = rejected("given-up", 30, "odd");
    park(case, 0, 12, vec![record.clone()]);
    let skipped = SkippedRow {
        key: record.key.clone(),
        offset: record.offset,
        seq: record.seq,
        reason: record.reason.text().to_owned(),
        note: "a test record".to_owned(),
        skipped_by: "somebody".to_owned(),
        skipped_at: Timestamp::from_micros(1_700_000_000_000_000),
        request_id: "request".to_owned(),
    };
    let batch = unpark(
        case,
        12,
        Unparked {
            settled: vec![record],
            skipped: vec![skipped.clone()],
            answered: Vec::new(),
        },
    );
    case.apply(&Arc::new(batch));
    assert_eq!(case.load().parked, []);
    let kept = case.subject.skipped();
    assert!(kept.contains(&skipped), "{kept:?}");
    let mut sink = case.subject.sink();
    let key = case.key();
    assert_eq!(sink.skipped(&key, "given-up", 30), Ok(Some(skipped)));
    assert_eq!(sink.skipped(&key, "given-up", 40), Ok(None));
    assert_eq!(sink.skipped(&key, "another", 30), Ok(None));
}

fn log_before(case: &Case<'_>) {
    let before = [
        rejected("a", 30, "odd"),
        behind("a", 50),
        rejected("b", 100, "odd"),
    ];
    park(case, 0, 12, before.to_vec());
    // The other log has a record at the same place, which nobody counted.
    let parked = vec![
        ParkedRow::new(
            "a".to_owned(),
            30,
            0,
            ParkReason::Rejected("foreign".to_owned()),
        ),
        behind("c", 40),
    ];
    let mut batch = Batch::clone(&case.batch(12, 5, vec![]));
    batch.next.generation = 2;
    batch.parked = parked.clone();
    case.apply(&Arc::new(batch.clone()));
    let of = |generation| {
        let loaded = case.subject.sink().load(&case.key(), generation);
        loaded.map(|loaded| loaded.parked)
    };
    assert_eq!(of(1), Ok(vec![]), "{}", case.name);
    assert_eq!(of(2), Ok(parked.clone()), "{}", case.name);
    // What is parked of a log stays where the position moves on in it.
    let mut next = Batch::clone(&case.batch(5, 6, vec![]));
    (next.expected, next.next.generation) = (Some(batch.next), 2);
    case.apply(&Arc::new(next));
    assert_eq!(of(2), Ok(parked), "{}", case.name);
}

fn not_parked_again(case: &Case<'_>) {
    let record = rejected("a", 30, "odd");
    let mut parking = Batch::clone(&case.batch(0, 12, vec![]));
    parking.parked = vec![record.clone()];
    let parking = Arc::new(parking);
    case.apply(&parking);
    let unparked = Unparked {
        settled: vec![record],
        ..Unparked::default()
    };
    case.apply(&Arc::new(unpark(case, 12, unparked)));
    case.apply_stale(&parking);
    assert_eq!(case.load().parked, []);
}

fn unparking_guards(case: &Case<'_>) {
    let record = rejected("a", 30, "odd");
    park(case, 0, 12, vec![record.clone()]);
    let mut late = case.subject.sink();
    let loaded = late.load(&case.key(), 1);
    assert_eq!(loaded.map(|loaded| loaded.parked), Ok(vec![record.clone()]));
    let unparked = Unparked {
        settled: vec![record],
        ..Unparked::default()
    };
    case.apply(&Arc::new(unpark(case, 12, unparked)));
    // It believes that the key is still parked, and would put what follows behind it.
    let mut batch = Batch::clone(&case.batch(12, 13, vec![]));
    batch.parked = vec![behind("a", 130)];
    let refuses = case.subject.refuses_stale_batches();
    let result = late.apply(&Arc::new(batch));
    if refuses {
        assert_eq!(result, Err(SinkError::PositionMoved), "{}", case.name);
        assert_eq!(case.load().parked, []);
        assert_eq!(case.load().position, Some(at(12)));
    } else {
        assert_eq!(result, Ok(()), "{}", case.name);
    }
}

fn requests(case: &Case<'_>) {
    let request = |id: &str| ParkRequest {
        id: id.to_owned(),
        stream: Stream::Order,
        partition: case.key().partition,
        action: ParkAction::Skip,
        key: Some("a".to_owned()),
        offset: Some(30),
        reason_part: None,
        note: Some("a test record".to_owned()),
        asked_by: "somebody".to_owned(),
        asked_at: Timestamp::from_micros(1_700_000_000_000_000),
    };
    let (first, second) = (request("0001-first"), request("0002-second"));
    case.subject.ask(&second);
    case.subject.ask(&first);
    let read = |after: &str| {
        let version = case.subject.version();
        let found = case
            .subject
            .sink()
            .requests(PROJECTION.name, version, after);
        found.unwrap_or_else(|error| panic!("{}: {error}", case.name))
    };
    let asked = RequestOutcome {
        state: RequestState::Asked,
        retried: 0,
        skipped: 0,
        still_parked: 0,
        detail: None,
        done_at: None,
    };
    assert_eq!(
        read(""),
        [(first.clone(), asked.clone()), (second.clone(), asked)]
    );
    case.apply(&case.batch(0, 12, vec![]));
    let done = RequestOutcome {
        state: RequestState::Done,
        retried: 7,
        skipped: 1,
        still_parked: 2,
        detail: Some("two are left".to_owned()),
        done_at: Some(Timestamp::from_micros(1_700_000_000_000_001)),
    };
    let unparked = Unparked {
        answered: vec![(first.clone(), done.clone())],
        ..Unparked::default()
    };
    case.apply(&Arc::new(unpark(case, 12, unparked)));
    assert_eq!(read("")[0], (first, done));
    let after: Vec<_> = read("0001-first");
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].0, second);
}
