//! How fast rows go in; run by hand, prints and judges nothing.

use std::time::Instant;

use cartwright_event_log::GroupReader;
use cartwright_projector::{Limits, Plan, Step, Worker};

use super::stores::{self, RealStore};
use crate::history::History;
use crate::setup::{TestLog, plan};

fn measure(store: &RealStore, log: &TestLog, name: &str) {
    let plan: Plan = plan(name);
    store.empty(&plan);
    let limits = Limits {
        max_parked_keys: 1,
        ..Limits::default()
    };
    let reader = log.fixed(&plan);
    let mut worker = Worker::new(plan, limits, reader, log.codec.clone(), store.sink(&plan));
    let begin = Instant::now();
    finish(&mut worker);
    let took = begin.elapsed();
    let totals = worker.totals();
    let per_s = |count: usize| count as f64 / took.as_secs_f64();
    println!(
        "{name}: {} records, {} row operations, {} batches in {took:?} ({:?} in the store): \
         {:.0} records/s, {:.0} operations/s",
        totals.records,
        totals.rows,
        totals.batches,
        totals.took,
        per_s(totals.records),
        per_s(totals.rows),
    );
}

fn finish<G: GroupReader>(worker: &mut Worker<G>) {
    loop {
        match worker.step() {
            Step::Idle => return,
            Step::Applied(_) | Step::Rebalanced => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[ignore = "measures, and takes a while"]
fn rows_per_second() {
    let log = TestLog::with(&History::new(1, 8_000).events);
    if let Some(store) = stores::postgres() {
        ["sales", "timeline"]
            .iter()
            .for_each(|name| measure(&store, &log, name));
    }
    if let Some(store) = stores::cassandra() {
        ["carts", "orders"]
            .iter()
            .for_each(|name| measure(&store, &log, name));
    }
}
