//! Ten thousand bad records over a thousand keys.

use std::time::Duration;

use cartwright_events::Event;
use cartwright_projector::{Limits, Step};
use cartwright_read_model::ParkAction;
use cartwright_sinks::{MemoryStore, Semantics};

use crate::history::{price_changed, product_created};
use crate::operator::{ask_all, parked};
use crate::setup::{Entry, TestLog, limits, plan, rows, run, sink};

const KEYS: u64 = 1_000;
const BAD_A_KEY: u64 = 10;

/// The sizes of a worker as it is deployed.
fn deployed() -> Limits {
    Limits {
        max_records: 500,
        max_rows: 5_000,
        unpark_records: 10_000,
        unpark_slice: Duration::from_millis(300),
        ..limits()
    }
}

/// Whether the fold is as it was before it was mended.
fn fold_before(envelope: &cartwright_events::Envelope, event: &Event) -> cartwright_folds::Outcome {
    match event.version > 1 {
        true => cartwright_folds::Outcome::Reject("not in this version".to_owned()),
        false => (plan("products").fold)(envelope, event),
    }
}

#[test]
fn ten_thousand_bad_records_are_parked_mended_and_drained() {
    let mut log = TestLog::new();
    for version in 1..=BAD_A_KEY + 1 {
        for chunk in (0..KEYS).collect::<Vec<_>>().chunks(100) {
            let events: Vec<Event> = chunk
                .iter()
                .map(|key| match version {
                    1 => product_created(&format!("sku-{key}"), 1),
                    _ => price_changed(&format!("sku-{key}"), version, (key + version) as i64),
                })
                .collect();
            log.write(events.iter().map(Entry::Event));
        }
    }
    for semantics in [Semantics::Transactional, Semantics::CellTimes] {
        let store = MemoryStore::new(semantics);
        let roomy = Limits {
            max_parked_keys: 1_000,
            max_parked_records: 20_000,
            ..deployed()
        };
        let before = cartwright_projector::Plan {
            fold: fold_before,
            ..plan("products")
        };
        let mut worker = log.worker_of(before, roomy, sink(&store));
        assert_eq!(run(&mut worker), Step::Idle);
        let waiting = parked(&store, "products");
        assert_eq!(waiting.len() as u64, KEYS * BAD_A_KEY);
        assert!(waiting.iter().all(|row| row.seq > 0));
        drop(worker);
        ask_all(&store, "products", "1", ParkAction::Retry);
        let mut worker = log.worker_of(plan("products"), roomy, sink(&store));
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(parked(&store, "products"), []);
        assert_eq!(worker.totals().unparked as u64, KEYS * BAD_A_KEY);
        let whole = log.project("products", semantics);
        assert_eq!(rows(&store, "products"), rows(&whole, "products"));
    }
}
