//! A record that can't be folded is put aside with what follows for its key; the rest goes on.

use cartwright_events::{Envelope, Event, Stream};
use cartwright_folds::Outcome;
use cartwright_projector::{Plan, Step};
use cartwright_read_model::{ParkAction, ParkReason};
use cartwright_sinks::{MemoryFault, MemoryStore, Semantics};

use crate::history::{price_changed, product_created};
use crate::operator::{ask_all, parked};
use crate::setup::{Entry, TestLog, limits, partition_of, plan, price_of, run, sink};

/// SKUs of one partition.
fn skus() -> [String; 3] {
    let all = (0..).map(|number| format!("sku-{number}"));
    let mut same = all.filter(|sku| partition_of(sku) == 0);
    std::array::from_fn(|_| same.next().expect("endless"))
}

/// Good, bad, then good for both keys; the bad one is `bad`.
fn log_with(bad: Entry<'_>, good: &str, poisoned: &str) -> TestLog {
    let mut log = TestLog::new();
    log.write([
        Entry::Event(&product_created(good, 1)),
        Entry::Event(&product_created(poisoned, 1)),
    ]);
    log.write([bad]);
    log.write([
        Entry::Event(&price_changed(poisoned, 2, 99)),
        Entry::Event(&price_changed(good, 2, 2)),
    ]);
    log
}

fn assert_parked_and_going_on(log: &mut TestLog, good: &str, poisoned: &str, seq: u64) {
    for semantics in [Semantics::Transactional, Semantics::CellTimes] {
        let store = MemoryStore::new(semantics);
        assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
        assert_eq!(price_of(&store, good), Some(2), "the other key goes on");
        assert_eq!(
            price_of(&store, poisoned),
            Some(1),
            "as before the bad record"
        );
        let found = parked(&store, "products");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|row| row.key == poisoned));
        assert!(matches!(found[0].reason, ParkReason::Rejected(_)));
        assert_eq!(found[0].seq, seq);
        assert_eq!(found[1].reason, ParkReason::Behind);
    }
}

#[test]
fn a_malformed_record_parks_its_key_and_nothing_else() {
    let [good, poisoned, _] = skus();
    let value = Some(b"\x00\x00\x00\x00\x01 no event".to_vec());
    let bad = Entry::Raw(Stream::Product, &poisoned, value);
    let mut log = log_with(bad, &good, &poisoned);
    assert_parked_and_going_on(&mut log, &good, &poisoned, 3);
}

#[test]
fn a_record_without_a_value_is_parked() {
    let [good, poisoned, _] = skus();
    let bad = Entry::Raw(Stream::Product, &poisoned, None);
    let mut log = log_with(bad, &good, &poisoned);
    assert_parked_and_going_on(&mut log, &good, &poisoned, 3);
}

#[test]
fn a_record_that_no_shard_wrote_is_parked_and_takes_no_seq() {
    let [good, poisoned, _] = skus();
    let bad = Entry::Foreign(Stream::Product, &poisoned, b"hello");
    let mut log = log_with(bad, &good, &poisoned);
    assert_parked_and_going_on(&mut log, &good, &poisoned, 0);
}

#[test]
fn an_event_about_another_aggregate_than_its_key_is_parked() {
    let [good, poisoned, other] = skus();
    let event: Event = product_created(&other, 7);
    let mut log = TestLog::new();
    let value = log.codec.encode_event(&event);
    let bad = Entry::Raw(Stream::Product, &poisoned, Some(value));
    log = log_with(bad, &good, &poisoned);
    assert_parked_and_going_on(&mut log, &good, &poisoned, 3);
    assert_eq!(
        price_of(&log.project("products", Semantics::CellTimes), &other),
        None
    );
}

#[test]
fn an_event_that_no_store_takes_is_parked() {
    let [good, poisoned, _] = skus();
    let mut event = product_created(&poisoned, 7);
    if let cartwright_events::EventBody::Product(body) = &mut event.body
        && let cartwright_events::catalog::ProductEvent::Created(created) = body
    {
        created.name = "a\0b".to_owned();
    }
    let mut log = log_with(Entry::Event(&event), &good, &poisoned);
    assert_parked_and_going_on(&mut log, &good, &poisoned, 3);
}

/// The deployed fold, with a defect that the price 13 meets.
fn broken(envelope: &Envelope, event: &Event) -> Outcome {
    let outcome = (plan("products").fold)(envelope, event);
    let unlucky = matches!(&outcome, Outcome::Emit(ops) if format!("{ops:?}").contains("Int(13)"));
    assert!(!unlucky, "no price is 13");
    outcome
}

#[test]
fn a_record_that_the_fold_panics_over_is_parked_until_the_fold_is_mended() {
    let [good, poisoned, _] = skus();
    let bad = price_changed(&poisoned, 2, 13);
    let mut log = TestLog::new();
    log.write([
        Entry::Event(&product_created(&good, 1)),
        Entry::Event(&product_created(&poisoned, 1)),
        Entry::Event(&bad),
        Entry::Event(&price_changed(&poisoned, 3, 99)),
        Entry::Event(&price_changed(&good, 2, 2)),
    ]);
    for semantics in [Semantics::Transactional, Semantics::CellTimes] {
        let store = MemoryStore::new(semantics);
        let broken = Plan {
            fold: broken,
            ..plan("products")
        };
        let mut worker = log.worker_of(broken, limits(), sink(&store));
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(price_of(&store, &good), Some(2), "the other key goes on");
        assert_eq!(price_of(&store, &poisoned), Some(1));
        let reasons: Vec<_> = parked(&store, "products")
            .into_iter()
            .map(|row| (row.key, row.reason))
            .collect();
        let rejected = "the fold panicked: no price is 13".to_owned();
        let waiting = [ParkReason::Rejected(rejected), ParkReason::Behind];
        assert_eq!(reasons, waiting.map(|reason| (poisoned.clone(), reason)));
        // Tried again by the same fold it stays where it is; by a mended one it goes on.
        ask_all(&store, "products", "1", ParkAction::Retry);
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(parked(&store, "products").len(), 2);
        drop(worker);
        ask_all(&store, "products", "2", ParkAction::Retry);
        assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
        assert_eq!(parked(&store, "products"), []);
        assert_eq!(price_of(&store, &poisoned), Some(99));
    }
}

/// A batch that fails half way leaves any part of its pointers in a store that writes row by row.
#[test]
fn what_a_half_failed_batch_parked_ahead_of_the_position_keeps_nothing_parked() {
    let [good, poisoned, _] = skus();
    let mut log = TestLog::new();
    log.write([
        Entry::Event(&product_created(&good, 1)),
        Entry::Event(&product_created(&poisoned, 1)),
        Entry::Event(&price_changed(&poisoned, 2, 13)),
        Entry::Event(&price_changed(&poisoned, 3, 99)),
    ]);
    let mut left_ahead = 0;
    for (rows, is_mended) in (1..8).flat_map(|rows| [(rows, true), (rows, false)]) {
        let store = MemoryStore::new(Semantics::CellTimes);
        store.inject(MemoryFault::AfterRows(rows));
        let broken = || Plan {
            fold: broken,
            ..plan("products")
        };
        let mut worker = log.worker_of(broken(), limits(), sink(&store));
        while !matches!(worker.step(), Step::Waiting { .. }) {}
        drop(worker);
        left_ahead += parked(&store, "products").len();
        let (next, still_parked) = match is_mended {
            true => (plan("products"), 0),
            false => (broken(), 2),
        };
        assert_eq!(
            run(&mut log.worker_of(next, limits(), sink(&store))),
            Step::Idle
        );
        let found = parked(&store, "products");
        assert_eq!(found.len(), still_parked, "{rows}: {found:?}");
        // Mended and tried again, the row is that of a clean run, whatever the store was left with.
        ask_all(&store, "products", "1", ParkAction::Retry);
        assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
        assert_eq!(parked(&store, "products"), []);
        assert_eq!(price_of(&store, &poisoned), Some(99));
    }
    assert!(left_ahead > 2, "pointers ahead of the position");
}

#[test]
fn what_is_parked_stays_parked_after_a_restart() {
    let [good, poisoned, _] = skus();
    let bad = Entry::Raw(Stream::Product, &poisoned, None);
    let mut log = log_with(bad, &good, &poisoned);
    let store = MemoryStore::new(Semantics::Transactional);
    assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
    log.write([
        Entry::Event(&price_changed(&poisoned, 3, 100)),
        Entry::Event(&price_changed(&good, 3, 3)),
    ]);
    let mut again = log.worker("products", &store);
    assert_eq!(run(&mut again), Step::Idle);
    assert_eq!(price_of(&store, &good), Some(3));
    assert_eq!(price_of(&store, &poisoned), Some(1));
    let reasons: Vec<_> = parked(&store, "products")
        .into_iter()
        .map(|row| row.reason)
        .collect();
    assert_eq!(reasons[1..], [ParkReason::Behind, ParkReason::Behind]);
    let keys: usize = again.report().iter().map(|each| each.parked_keys).sum();
    assert_eq!(keys, 1);
}

#[test]
fn each_projection_parks_for_itself() {
    let [good, poisoned, _] = skus();
    let bad = Entry::Raw(Stream::Product, &poisoned, None);
    let log = log_with(bad, &good, &poisoned);
    let store = MemoryStore::new(Semantics::Transactional);
    assert_eq!(run(&mut log.worker("products", &store)), Step::Idle);
    assert_eq!(parked(&store, "catalog"), []);
    assert_eq!(run(&mut log.worker("catalog", &store)), Step::Idle);
    assert_eq!(parked(&store, "catalog").len(), 2);
}

#[test]
fn too_many_parked_keys_stop_the_projection() {
    let mut log = TestLog::new();
    let keys: Vec<String> = (0..20).map(|number| format!("bad-{number}")).collect();
    for key in &keys {
        log.write([Entry::Raw(Stream::Product, key, None)]);
    }
    let store = MemoryStore::new(Semantics::Transactional);
    let last = run(&mut log.worker("products", &store));
    let Step::Held { reason } = last else {
        panic!("{last:?}");
    };
    assert!(reason.contains("more than 3 keys are parked"), "{reason}");
    let again = run(&mut log.worker("products", &store));
    assert!(
        matches!(again, Step::Held { .. }),
        "it stops there again: {again:?}"
    );
}
