//! What a worker holds of the log at a time is bounded in bytes, too.

use cartwright_events::Stream;
use cartwright_projector::{Limits, Step};
use cartwright_sinks::{MemoryStore, Semantics};

use crate::setup::{Entry, TestLog, limits, plan, sink};

#[test]
fn large_records_are_taken_few_at_a_time() {
    const BYTES: usize = 10_000;
    let mut log = TestLog::new();
    for _ in 0..60 {
        let value = Some(vec![1; BYTES]);
        log.write([Entry::Raw(Stream::Product, "cup", value)]);
    }
    let limits = Limits {
        max_records: 1_000,
        max_bytes: 5 * BYTES,
        ..limits()
    };
    let store = MemoryStore::new(Semantics::Transactional);
    let mut worker = log.worker_of(plan("products"), limits, sink(&store));
    let mut taken = Vec::new();
    loop {
        match worker.step() {
            Step::Rebalanced => {}
            Step::Applied(applied) => taken.push(applied.records),
            Step::Idle => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken.iter().sum::<usize>(), 60);
    // How large they are is known only when some were read.
    assert!(taken[0] <= 16, "{taken:?}");
    assert!(taken[1..].iter().all(|records| *records <= 5), "{taken:?}");
}
