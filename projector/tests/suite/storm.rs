//! Ten thousand bad records over a thousand keys.

use std::time::Duration;

use cartwright_events::{Envelope, Event};
use cartwright_folds::{Fold, Outcome};
use cartwright_projector::{Limits, Plan, Step};
use cartwright_read_model::ParkAction;
use cartwright_sinks::{MemoryStore, Semantics};

use crate::history::{price_changed, product_created};
use crate::operator::{ask_all, parked};
use crate::setup::{Entry, TestLog, limits, plan, rows, run, sink};

const KEYS: u64 = 1_000;
const BAD_A_KEY: u64 = 10;
pub(crate) const BAD: u64 = KEYS * BAD_A_KEY;

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

/// Where there is room for all of it.
pub(crate) fn roomy() -> Limits {
    Limits {
        max_parked_keys: KEYS as usize,
        max_parked_records: 20_000,
        ..deployed()
    }
}

/// Products, or the catalog, as they were folded before the fold was mended: what changes a product is bad.
pub(crate) fn before_the_mend(name: &str) -> Plan {
    let fold: Fold = match name {
        "products" => |envelope: &Envelope, event: &Event| fold_before("products", envelope, event),
        _ => |envelope: &Envelope, event: &Event| fold_before("catalog", envelope, event),
    };
    Plan { fold, ..plan(name) }
}

fn fold_before(name: &str, envelope: &Envelope, event: &Event) -> Outcome {
    match event.version > 1 {
        true => Outcome::Reject("not in this version".to_owned()),
        false => (plan(name).fold)(envelope, event),
    }
}

/// Products, and ten changes of each.
pub(crate) fn stormy() -> TestLog {
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
    log
}

#[test]
fn ten_thousand_bad_records_are_parked_mended_and_drained() {
    let log = stormy();
    for semantics in [Semantics::Transactional, Semantics::CellTimes] {
        let store = MemoryStore::new(semantics);
        let mut worker = log.worker_of(before_the_mend("products"), roomy(), sink(&store));
        assert_eq!(run(&mut worker), Step::Idle);
        let waiting = parked(&store, "products");
        assert_eq!(waiting.len() as u64, BAD);
        assert!(waiting.iter().all(|row| row.seq > 0));
        drop(worker);
        ask_all(&store, "products", "1", ParkAction::Retry);
        let mut worker = log.worker_of(plan("products"), roomy(), sink(&store));
        assert_eq!(run(&mut worker), Step::Idle);
        assert_eq!(parked(&store, "products"), []);
        assert_eq!(worker.totals().unparked as u64, BAD);
        let whole = log.project("products", semantics);
        assert_eq!(rows(&store, "products"), rows(&whole, "products"));
    }
}
