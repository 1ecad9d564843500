//! The simulation as a test: a range of seeds, the same every time.

use std::collections::BTreeMap;

use cartwright_sim::{Weather, run};

const SEEDS: u64 = 120;

/// Every kind of fault that a run can meet: each has to strike, or the seeds show less than they say.
const KINDS: [&str; 61] = [
    "answer lost on its way",
    "builder killed after a write",
    "builder killed before a load",
    "builder killed before a write",
    "builder killed before it makes its tables",
    "builder killed before its version went live",
    "builder killed before reading",
    "builder killed half way",
    "builder killed while it asks about a partition",
    "builder killed while reading",
    "claim ended by a clock that jumped",
    "clock jumped",
    "commit aborted",
    "commit's answer lost, committed",
    "commit's answer lost, left open",
    "created once more under another key",
    "delayed request refused",
    "fenced inside a transaction",
    "group member taken for dead",
    "group rebalanced",
    "key reused for another request",
    "killed after a commit",
    "killed after a take-over",
    "killed before a commit",
    "killed before a take-over",
    "killed before reading",
    "killed before the answer of a commit",
    "killed while it asks about a partition",
    "killed while it connects a writer",
    "killed while reading",
    "killed with a transaction open",
    "leader elected whose last stable offset is behind",
    "old request repeated",
    "owner frozen and replaced",
    "produce delayed beyond its transaction",
    "projector frozen and taken for dead",
    "projector killed after a write",
    "projector killed before a load",
    "projector killed before a write",
    "projector killed before it joins its group",
    "projector killed before it looks for requests",
    "projector killed before it makes its tables",
    "projector killed before it says where to start",
    "projector killed half way",
    "projector killed while reading",
    "projector mended that had parked records",
    "projector's clock jumped",
    "read failed",
    "read late",
    "record not delivered",
    "request duplicated",
    "request lost on its way",
    "request overtaken by another",
    "second copy of an EndTxn delayed",
    "slow commit",
    "snapshots compacted",
    "store down",
    "store failed half way",
    "store too slow: its write lands late",
    "store's answer lost",
    "take-over failed",
];

/// What becomes of versions of projections, likewise.
const VERSIONS: [&str; 12] = [
    "build cancelled",
    "build paused",
    "build resumed",
    "traces of a cancelled version removed",
    "version begun",
    "version built",
    "version retired",
    "version rolled back",
    "version switched to",
    "version switched to by force",
    "versions agree",
    "versions compared too early",
];

#[test]
fn every_seed_holds_every_invariant() {
    let mut faults = BTreeMap::<&str, u64>::new();
    let mut orders = BTreeMap::<String, u64>::new();
    let mut versions = BTreeMap::<&str, u64>::new();
    let (mut queued, mut passed_in_inbox, mut anew) = (0, 0, 0);
    for seed in 0..SEEDS {
        let report =
            run(seed, Weather::default()).unwrap_or_else(|violation| panic!("{violation}"));
        queued += report.queued;
        passed_in_inbox += report.passed_in_inbox;
        anew += report.anew;
        for (kind, count) in report.faults {
            *faults.entry(kind).or_default() += count;
        }
        for (what, count) in report.versions {
            *versions.entry(what).or_default() += count;
        }
        for (end, count) in report.orders {
            *orders.entry(end).or_default() += count;
        }
    }
    for kind in KINDS {
        assert!(faults.contains_key(kind), "never: {kind}; {faults:?}");
    }
    for what in VERSIONS {
        assert!(versions.contains_key(what), "never: {what}; {versions:?}");
    }
    assert!(queued > SEEDS, "hardly a command was queued: {queued}");
    assert!(passed_in_inbox > 0, "no message has passed another");
    assert!(anew > 0, "no result was forgotten and asked for again");
    for end in [
        "paid",
        "rejected",
        "cancelled",
        "expired",
        "shipped",
        "returned",
    ] {
        assert!(orders.contains_key(end), "no order was {end}: {orders:?}");
    }
}

#[test]
fn a_seed_replays_to_the_same_trace() {
    for seed in [3, 77] {
        let first = run(seed, Weather::default());
        let second = run(seed, Weather::default());
        assert_eq!(first, second);
    }
    let digest = |seed| run(seed, Weather::default()).map(|report| report.trace_digest);
    assert_ne!(digest(3), digest(4), "the digest covers nothing");
}
