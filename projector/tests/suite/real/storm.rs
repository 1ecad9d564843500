//! The storm of bad records, in running stores.

use cartwright_projector::Step;
use cartwright_read_model::ParkAction;
use cartwright_sinks::Semantics;

use super::stores::{self, RealStore, in_order};
use crate::operator::{position_keys, request};
use crate::setup::{plan, rows, run};
use crate::storm::{BAD, before_the_mend, roomy, stormy};

#[test]
fn ten_thousand_bad_records_are_parked_mended_and_drained_in_cassandra() {
    if let Some(store) = stores::cassandra() {
        are_parked_mended_and_drained(&store, "products", Semantics::CellTimes);
    }
}

#[test]
fn ten_thousand_bad_records_are_parked_mended_and_drained_in_postgres() {
    if let Some(store) = stores::postgres() {
        are_parked_mended_and_drained(&store, "catalog", Semantics::Transactional);
    }
}

fn are_parked_mended_and_drained(store: &RealStore, name: &str, semantics: Semantics) {
    let (log, plan) = (stormy(), plan(name));
    store.empty(&plan);
    let mut worker = log.worker_of(before_the_mend(name), roomy(), store.sink(&plan));
    assert_eq!(run(&mut worker), Step::Idle);
    drop(worker);
    assert_eq!(store.parked(&plan) as u64, BAD);
    for key in position_keys(name) {
        store.ask(&plan, &request("1", ParkAction::Retry, &key));
    }
    let mut worker = log.worker_of(plan, roomy(), store.sink(&plan));
    assert_eq!(run(&mut worker), Step::Idle);
    assert_eq!(store.parked(&plan), 0);
    assert_eq!(worker.totals().unparked as u64, BAD);
    let whole = log.project(name, semantics);
    assert_eq!(store.rows(&plan), in_order(rows(&whole, name)));
}
