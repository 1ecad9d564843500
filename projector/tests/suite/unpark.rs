//! What was parked is applied after all, or given up, when an operator asks for it: in order, once,
//! and with nothing lost, whatever fails in between.

use cartwright_event_log::memory::Fault;
use cartwright_events::{Envelope, Event, Stream};
use cartwright_folds::{FOLDS, Outcome};
use cartwright_projector::{Limits, Plan, Step};
use cartwright_read_model::tables::{CONTROL_VERSION, SKIPPED};
use cartwright_read_model::{ParkAction, ParkReason, ParkRequest, RequestState, SkippedRow};
use cartwright_sinks::{MemoryFault, MemoryStore, Semantics};
use proptest::prelude::*;

use crate::history::{History, Numbers, price_changed, product_created};
use crate::operator::{ask_all, ask_one, counts, outcome, parked, skip};
use crate::setup::{
    Entry, SUBJECTS, TestLog, limits, partition_of, plan, price_of, rows, run, sink,
};

pub(crate) const BOTH: [Semantics; 2] = [Semantics::Transactional, Semantics::CellTimes];

/// The fold as it was deployed before somebody mended it.
fn broken<const N: usize>(envelope: &Envelope, event: &Event) -> Outcome {
    match envelope.seq % 5 {
        3 => Outcome::Reject("this version cannot fold it".to_owned()),
        _ => FOLDS[N].2(envelope, event),
    }
}

fn broken_plan(name: &str) -> Plan {
    let folds = [
        broken::<0>,
        broken::<1>,
        broken::<2>,
        broken::<3>,
        broken::<4>,
        broken::<5>,
        broken::<6>,
        broken::<7>,
        broken::<8>,
        broken::<9>,
    ];
    let plan = plan(name);
    let newest = (name, plan.projection.version);
    let index = FOLDS
        .iter()
        .position(|(fold, version, _)| (*fold, *version) == newest);
    Plan {
        fold: folds[index.expect("a fold")],
        ..plan
    }
}

/// Room for everything to be parked.
fn roomy() -> Limits {
    Limits {
        max_parked_keys: 100_000,
        max_parked_records: 1_000_000,
        ..limits()
    }
}

#[test]
fn what_a_mended_fold_can_take_is_applied_in_order_when_asked() {
    let log = TestLog::with(&History::new(11, 20).events);
    for (name, _) in SUBJECTS {
        for semantics in BOTH {
            let store = MemoryStore::new(semantics);
            let mut old = log.worker_of(broken_plan(name), roomy(), sink(&store));
            assert_eq!(run(&mut old), Step::Idle);
            drop(old);
            let waiting = parked(&store, name).len();
            // A mended fold alone changes nothing: what waits, waits to be asked for.
            let mut new = log.worker_of(plan(name), roomy(), sink(&store));
            assert_eq!(run(&mut new), Step::Idle);
            assert_eq!(parked(&store, name).len(), waiting);
            ask_all(&store, name, "1", ParkAction::Retry);
            assert_eq!(run(&mut new), Step::Idle);
            assert_eq!(parked(&store, name), [], "{name}");
            let done = (RequestState::Done, waiting as u64, 0, 0);
            assert_eq!(counts(&outcome(&store, name, "1")), done, "{name}");
            let whole = log.project(name, semantics);
            assert_eq!(rows(&store, name), rows(&whole, name), "{name}");
            assert!(new.report().iter().all(|each| each.parked_records == 0));
        }
    }
}

/// A good one, a malformed one, a good one, a malformed one, a good one, all under one key.
pub(crate) fn twice_poisoned(sku: &str) -> TestLog {
    let mut log = TestLog::new();
    log.write([Entry::Event(&product_created(sku, 1))]);
    for version in [2, 3] {
        log.write([Entry::Raw(Stream::Product, sku, Some(vec![0, 0, 0, 0, 1]))]);
        let price = 10 * version as i64;
        log.write([Entry::Event(&price_changed(sku, version, price))]);
    }
    log
}

#[test]
fn what_still_cannot_be_folded_stays_parked_with_what_is_behind_it() {
    for semantics in BOTH {
        let log = twice_poisoned("cup");
        let store = MemoryStore::new(semantics);
        let mut worker = log.worker("products", &store);
        assert_eq!(run(&mut worker), Step::Idle);
        let before = parked(&store, "products");
        assert_eq!(before.len(), 4);
        ask_one(&store, "cup", |_| {});
        assert_eq!(run(&mut worker), Step::Idle);
        let after = parked(&store, "products");
        assert_eq!(after.len(), 4);
        assert_eq!(after[0].tried_by.as_deref(), Some("1"));
        assert_eq!(after[1..], before[1..]);
        let done = (RequestState::Done, 0, 0, 4);
        assert_eq!(counts(&outcome(&store, "products", "1")), done);
        assert_eq!(price_of(&store, "cup"), Some(1));
    }
}

#[test]
fn a_record_that_is_given_up_is_kept_for_the_record_and_what_is_behind_it_goes_on() {
    for semantics in BOTH {
        let log = twice_poisoned("cup");
        let store = MemoryStore::new(semantics);
        let mut worker = log.worker("products", &store);
        assert_eq!(run(&mut worker), Step::Idle);
        let first = parked(&store, "products")[0].clone();
        ask_one(&store, "cup", |request| {
            skip(request);
            request.offset = Some(first.offset);
        });
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(price_of(&store, "cup"), Some(20));
        let left = parked(&store, "products");
        assert_eq!(left.len(), 2, "the second bad one, and what is behind it");
        assert!(matches!(left[0].reason, ParkReason::Rejected(_)));
        let done = (RequestState::Done, 1, 1, 2);
        assert_eq!(counts(&outcome(&store, "products", "1")), done);
        let kept = store.rows(&SKIPPED, CONTROL_VERSION);
        let kept: Vec<_> = kept.iter().filter_map(SkippedRow::from_row).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].offset, first.offset);
        assert_eq!(kept[0].note, "a test");
        assert_eq!(kept[0].reason, first.reason.text());
        // And everything that is left.
        ask_one(&store, "cup", |request| {
            request.id = "2".to_owned();
            request.action = ParkAction::SkipAll;
            request.note = Some("all of it".to_owned());
        });
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(parked(&store, "products"), []);
        assert_eq!(price_of(&store, "cup"), Some(20), "given up, not applied");
        assert_eq!(store.rows(&SKIPPED, CONTROL_VERSION).len(), 3);
    }
}

#[test]
fn every_bad_record_can_be_given_up_and_the_good_ones_behind_them_are_applied() {
    for semantics in BOTH {
        let log = twice_poisoned("cup");
        let store = MemoryStore::new(semantics);
        let mut worker = log.worker("products", &store);
        assert_eq!(run(&mut worker), Step::Idle);
        let every_bad = |id: &str, reason: Option<&str>| {
            ask_one(&store, "cup", |request| {
                skip(request);
                request.id = id.to_owned();
                request.action = ParkAction::SkipBad;
                request.reason_part = reason.map(str::to_owned);
            });
        };
        every_bad("1", Some("of no such reason"));
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(parked(&store, "products").len(), 4);
        every_bad("2", None);
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(parked(&store, "products"), []);
        assert_eq!(price_of(&store, "cup"), Some(30));
        let done = (RequestState::Done, 2, 2, 0);
        assert_eq!(counts(&outcome(&store, "products", "2")), done);
        let kept = store.rows(&SKIPPED, CONTROL_VERSION);
        let kept: Vec<_> = kept.iter().filter_map(SkippedRow::from_row).collect();
        assert_eq!(kept.len(), 2);
        assert!(
            kept.iter()
                .all(|row| row.reason != ParkReason::Behind.text())
        );
    }
}

#[test]
fn a_request_that_does_not_fit_is_refused_and_changes_nothing() {
    type Change = fn(&mut ParkRequest);
    let cases: [(Change, &str); 3] = [
        (
            |request| {
                request.action = ParkAction::Skip;
                request.note = None;
            },
            "a reason",
        ),
        (|request| request.offset = Some(77), "is at offset"),
        (
            |request| {
                request.key = Some("plate".to_owned());
                request.offset = Some(1);
            },
            "nothing is parked",
        ),
    ];
    for (change, says) in cases {
        let log = twice_poisoned("cup");
        let store = MemoryStore::new(Semantics::Transactional);
        let mut worker = log.worker("products", &store);
        assert_eq!(run(&mut worker), Step::Idle);
        let before = parked(&store, "products");
        ask_one(&store, "cup", change);
        assert_eq!(run(&mut worker), Step::Idle);
        let outcome = outcome(&store, "products", "1");
        assert_eq!(outcome.state, RequestState::Refused);
        let detail = outcome.detail.expect("a detail");
        assert!(detail.contains(says), "{detail}");
        assert_eq!(parked(&store, "products"), before);
    }
}

#[test]
fn keys_are_chosen_by_the_reason_of_their_first_record() {
    let mut log = TestLog::new();
    let skus: Vec<String> = (0..60).map(|number| format!("sku-{number}")).collect();
    let skus: Vec<&String> = skus.iter().filter(|sku| partition_of(sku) == 0).collect();
    let (empty, malformed) = (skus[0], skus[1]);
    log.write([Entry::Raw(Stream::Product, empty, None)]);
    log.write([Entry::Raw(Stream::Product, malformed, Some(vec![9]))]);
    let store = MemoryStore::new(Semantics::Transactional);
    let mut worker = log.worker("products", &store);
    assert_eq!(run(&mut worker), Step::Idle);
    ask_one(&store, empty, |request| {
        request.key = None;
        request.action = ParkAction::Skip;
        request.note = Some("empty".to_owned());
        request.reason_part = Some("no value".to_owned());
    });
    assert_eq!(run(&mut worker), Step::Idle);
    let left = parked(&store, "products");
    assert_eq!(left.len(), 1);
    assert_eq!(&left[0].key, malformed);
}

#[test]
fn a_key_that_goes_on_getting_records_is_drained_to_its_end() {
    for semantics in BOTH {
        let mut log = TestLog::new();
        log.write([Entry::Event(&product_created("cup", 1))]);
        log.write([Entry::Raw(Stream::Product, "cup", None)]);
        for version in 2..40 {
            log.write([Entry::Event(&price_changed("cup", version, version as i64))]);
        }
        let store = MemoryStore::new(semantics);
        let mut worker = log.worker_of(plan("products"), roomy(), sink(&store));
        assert_eq!(run(&mut worker), Step::Idle);
        ask_one(&store, "cup", skip);
        for version in 40..140 {
            log.write([Entry::Event(&price_changed("cup", version, version as i64))]);
            worker.step();
            let price = price_of(&store, "cup").expect("a price");
            assert!(price <= version as i64);
        }
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(parked(&store, "products"), []);
        assert_eq!(price_of(&store, "cup"), Some(139), "the last word");
    }
}

#[test]
fn a_worker_that_lost_its_partition_parks_nothing_behind_a_key_that_is_free_again() {
    let mut log = TestLog::new();
    log.write([Entry::Event(&product_created("cup", 1))]);
    log.write([Entry::Raw(Stream::Product, "cup", None)]);
    let store = MemoryStore::new(Semantics::Transactional);
    let mut late = log.worker("products", &store);
    assert_eq!(run(&mut late), Step::Idle);
    ask_one(&store, "cup", skip);
    assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
    // The late one still believes that the key is parked.
    log.write([Entry::Event(&price_changed("cup", 2, 2))]);
    for _ in 0..2 {
        assert_eq!(
            run(&mut late),
            Step::Idle,
            "the first round ends at the guard"
        );
    }
    assert_eq!(parked(&store, "products"), []);
    assert_eq!(price_of(&store, "cup"), Some(2));
}

#[test]
fn a_projection_with_too_much_parked_goes_on_by_itself_when_it_is_dealt_with() {
    let mut log = TestLog::new();
    let keys: Vec<String> = (0..20).map(|number| format!("bad-{number}")).collect();
    for key in &keys {
        log.write([Entry::Raw(Stream::Product, key, None)]);
    }
    log.write([Entry::Event(&product_created("cup", 5))]);
    let store = MemoryStore::new(Semantics::CellTimes);
    let mut worker = log.worker("products", &store);
    let mut held = 0;
    while let Step::Held { reason } = run(&mut worker) {
        assert!(reason.contains("more than 3 keys"), "{reason}");
        ask_all(&store, "products", &format!("{held}"), ParkAction::SkipAll);
        held += 1;
        assert!(held < 20, "no end");
        worker.step();
    }
    assert!(held >= 2, "{held}");
    assert_eq!(price_of(&store, "cup"), Some(5));
}

#[test]
fn a_log_that_does_not_answer_is_waited_for_while_unparking() {
    let log = twice_poisoned("cup");
    let store = MemoryStore::new(Semantics::Transactional);
    let mut worker = log.worker("products", &store);
    assert_eq!(run(&mut worker), Step::Idle);
    ask_one(&store, "cup", skip);
    for _ in 0..3 {
        log.log.inject(Fault::ReaderError);
    }
    assert_eq!(run(&mut worker), Step::Idle);
    let done = (RequestState::Done, 1, 1, 2);
    assert_eq!(counts(&outcome(&store, "products", "1")), done);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Parked by a broken fold, asked for, crashed anywhere, with more records to come: in the end
    /// the rows are those of one clean run.
    #[test]
    fn whatever_fails_while_unparking_ends_with_the_rows_of_one_run(
        seed in any::<u64>(), subject in 0..SUBJECTS.len(),
    ) {
        let (name, semantics) = SUBJECTS[subject];
        let mut numbers = Numbers::new(seed);
        let mut events = History::new(seed, 10).events;
        events.extend((0..12).map(|number| product_created(&format!("sku-{number}"), 5)));
        events.extend((0..12).map(|number| price_changed(&format!("sku-{number}"), 2, 6)));
        let (before, after) = events.split_at(events.len() * 2 / 3);
        let mut log = TestLog::with(before);
        let store = MemoryStore::new(semantics);
        let mut old = log.worker_of(broken_plan(name), roomy(), sink(&store));
        prop_assert_eq!(run(&mut old), Step::Idle);
        drop(old);
        ask_all(&store, name, "1", ParkAction::Retry);
        let mut after = after.iter();
        for _ in 0..16 {
            for _ in 0..numbers.below(4) {
                store.inject(match numbers.below(3) {
                    0 => MemoryFault::AnswerLost,
                    _ => MemoryFault::AfterRows(numbers.below(8) as usize),
                });
            }
            let mut worker = log.worker_of(plan(name), roomy(), sink(&store));
            for _ in 0..numbers.below(9) {
                log.write(after.by_ref().take(1).map(Entry::Event));
                worker.step();
            }
        }
        log.write(after.map(Entry::Event));
        prop_assert_eq!(run(&mut log.worker_of(plan(name), roomy(), sink(&store))), Step::Idle);
        prop_assert_eq!(parked(&store, name), []);
        let whole = log.project(name, semantics);
        prop_assert_eq!(rows(&store, name), rows(&whole, name));
        prop_assert_eq!(outcome(&store, name, "1").state, RequestState::Done);
    }
}
