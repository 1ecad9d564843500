//! The take-over protocol, exhaustively: with all of its rules nothing breaks, without any one of
//! them something does.

use cartwright_sim::take_over::{Bounds, Rules, explore};

#[test]
fn with_every_rule_no_state_breaks_a_property() {
    let explored = explore(Rules::ALL, Bounds::default()).unwrap_or_else(|found| panic!("{found}"));
    println!("{explored:?}");
    assert!(explored.states > 10_000, "{explored:?}");
    assert!(explored.all_acknowledged > 0, "{explored:?}");
    assert_eq!(explored.refusals, 0, "half a transaction was committed");
}

/// What breaks without a rule.
fn without(change: impl FnOnce(&mut Rules), bounds: Bounds) -> String {
    let mut rules = Rules::ALL;
    change(&mut rules);
    let found = explore(rules, bounds).expect_err("the rule is of no use");
    println!("{found}");
    found.problem
}

#[test]
fn without_any_rule_a_property_breaks() {
    let bounds = Bounds::default();
    without(|rules| rules.fence = false, bounds);
    without(|rules| rules.recover_to_high_watermark = false, bounds);
    without(|rules| rules.read_back_the_unknown = false, bounds);
}

/// Without these, half a transaction can be committed. Recovery finds it, which costs the partition
/// its service; where recovery does not look, a property breaks.
#[test]
fn without_a_take_over_after_doubt_half_a_transaction_is_committed() {
    type Drop = fn(&mut Rules);
    let drops: [Drop; 2] = [
        |rules| rules.take_over_after_doubt = false,
        |rules| rules.take_over_after_failure = false,
    ];
    for drop in drops {
        let mut rules = Rules::ALL;
        drop(&mut rules);
        let refusals = explore(rules, Bounds::default()).map(|explored| explored.refusals);
        assert_ne!(refusals, Ok(0), "the rule is of no use");
        let blind = |rules: &mut Rules| {
            drop(rules);
            rules.refuse_half_transactions = false;
        };
        without(blind, Bounds::default());
    }
}

/// If the client did not notice the disconnect, half a transaction could be committed: then it is
/// found by whoever recovers, who refuses to serve.
#[test]
fn half_a_transaction_is_detected() {
    let bounds = Bounds {
        unnoticed: true,
        ..Bounds::default()
    };
    let explored = explore(Rules::ALL, bounds).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.refusals > 0, "{explored:?}");
    without(|rules| rules.refuse_half_transactions = false, bounds);
}
