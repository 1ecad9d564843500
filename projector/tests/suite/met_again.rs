//! A request about parked records that is met again, since its answer did not get into the store.

use cartwright_events::Stream;
use cartwright_projector::Step;
use cartwright_read_model::tables::{CONTROL_VERSION, SKIPPED};
use cartwright_read_model::{FromCell, ParkAction, RequestState};
use cartwright_sinks::{MemoryFault, MemoryStore, Semantics};

use crate::operator::{ask_one, counts, outcome, parked, skip};
use crate::setup::{Entry, TestLog, price_of, run};
use crate::unpark::{BOTH, twice_poisoned};

#[test]
fn a_skip_that_is_met_again_after_a_crash_gives_one_record_up() {
    for after_rows in 0..6 {
        let log = twice_poisoned("cup");
        let store = MemoryStore::new(Semantics::CellTimes);
        let mut worker = log.worker("products", &store);
        assert_eq!(run(&mut worker), Step::Idle);
        ask_one(&store, "cup", |request| request.action = ParkAction::Skip);
        ask_one(&store, "cup", skip);
        // Each try gets a little further; each ends in a crash.
        for tries in 0..4 {
            for _ in 0..tries {
                store.inject(MemoryFault::AnswerLost);
            }
            store.inject(MemoryFault::AfterRows(after_rows));
            let mut worker = log.worker("products", &store);
            for _ in 0..tries + 2 {
                worker.step();
            }
        }
        let mut worker = log.worker("products", &store);
        assert_eq!(run(&mut worker), Step::Idle);
        let kept = store.rows(&SKIPPED, CONTROL_VERSION);
        assert_eq!(kept.len(), 1, "{after_rows}: {kept:?}");
        assert_eq!(parked(&store, "products").len(), 2);
        assert_eq!(price_of(&store, "cup"), Some(20));
    }
}

/// Asks for the first of what is parked to be given up; then the store does so, and its answer is lost.
fn given_up_without_an_answer(log: &TestLog, semantics: Semantics, dies: bool) -> MemoryStore {
    let store = MemoryStore::new(semantics);
    let mut worker = log.worker("products", &store);
    assert_eq!(run(&mut worker), Step::Idle);
    let first = parked(&store, "products")[0].offset;
    ask_one(&store, "cup", |request| {
        skip(request);
        request.offset = Some(first);
    });
    store.inject(MemoryFault::AnswerLost);
    while !matches!(worker.step(), Step::Waiting { .. }) {}
    assert_eq!(store.rows(&SKIPPED, CONTROL_VERSION).len(), 1);
    if dies {
        worker = log.worker("products", &store);
    }
    assert_eq!(run(&mut worker), Step::Idle);
    store
}

#[test]
fn a_record_that_was_given_up_without_an_answer_is_not_refused_the_next_time() {
    for (semantics, dies) in BOTH.iter().flat_map(|of| [(*of, false), (*of, true)]) {
        let store = given_up_without_an_answer(&twice_poisoned("cup"), semantics, dies);
        let done = (RequestState::Done, 1, 1, 2);
        assert_eq!(counts(&outcome(&store, "products", "1")), done);
        assert_eq!(price_of(&store, "cup"), Some(20), "what was behind it");
        assert_eq!(store.rows(&SKIPPED, CONTROL_VERSION).len(), 1);

        let mut log = TestLog::new();
        log.write([Entry::Raw(Stream::Product, "cup", None)]);
        let store = given_up_without_an_answer(&log, semantics, dies);
        let done = (RequestState::Done, 0, 1, 0);
        assert_eq!(counts(&outcome(&store, "products", "1")), done, "alone");
    }
}

#[test]
fn what_another_request_gave_up_is_refused() {
    for semantics in BOTH {
        let log = twice_poisoned("cup");
        let store = given_up_without_an_answer(&log, semantics, true);
        let given_up = store.rows(&SKIPPED, CONTROL_VERSION);
        let offset = given_up[0].value("record_offset");
        ask_one(&store, "cup", |request| {
            skip(request);
            request.id = "2".to_owned();
            request.offset = FromCell::from_cell(offset);
        });
        assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
        let refused = (RequestState::Refused, 0, 0, 0);
        assert_eq!(counts(&outcome(&store, "products", "2")), refused);
        assert_eq!(parked(&store, "products").len(), 2);
    }
}
