//! The simulation as a test: a range of seeds, the same every time.

use cartwright_sim::{Weather, run};

const SEEDS: u64 = 150;

#[test]
fn every_seed_holds_every_invariant() {
    let (mut faults, mut crashes) = (0, 0);
    let mut orders = std::collections::BTreeMap::<String, u64>::new();
    for seed in 0..SEEDS {
        let report =
            run(seed, Weather::default()).unwrap_or_else(|violation| panic!("{violation}"));
        faults += report.faults;
        crashes += report.crashes;
        for (end, count) in report.orders {
            *orders.entry(end).or_default() += count;
        }
    }
    // A simulation in which nothing goes wrong shows nothing.
    assert!(
        faults > SEEDS && crashes > SEEDS,
        "{faults} faults, {crashes} crashes"
    );
    for end in ["paid", "rejected", "cancelled", "expired"] {
        assert!(
            orders.get(end).is_some_and(|&count| count > 0),
            "no order was {end}: {orders:?}"
        );
    }
}

#[test]
fn a_seed_replays_to_the_same_log() {
    for seed in [3, 77] {
        let first = run(seed, Weather::default());
        let second = run(seed, Weather::default());
        assert_eq!(first, second);
    }
}
