//! Which lines a refund belongs to.

use proptest::prelude::*;

use crate::checkout::order::refund::shares;
use crate::checkout::order::state::{Placed, ReturnDue};
use crate::testing::*;

/// Order `o` of lines at these prices, as it was placed.
fn placed(prices: &[i64]) -> Placed {
    let mut shop = Shop::new();
    shop.placed(
        prices
            .iter()
            .map(|price| quoted("A", 1, gbp(*price)))
            .collect(),
    );
    shop.state
        .order("o")
        .and_then(|order| order.placed())
        .cloned()
        .unwrap()
}

fn amounts(placed: &Placed, amount: i64) -> Vec<(u32, i64)> {
    shares(placed, amount)
        .iter()
        .map(|share| (share.line, share.amount_minor))
        .collect()
}

#[test]
fn a_refund_goes_over_the_lines_by_their_charge() {
    assert_eq!(amounts(&placed(&[100, 300]), 40), [(1, 10), (2, 30)]);
    // 10 over 3 : 2 : 1 is 5, 3⅓, 1⅔: the largest remainder gets the missing one.
    assert_eq!(
        amounts(&placed(&[30, 20, 10]), 10),
        [(1, 5), (2, 3), (3, 2)]
    );
}

#[test]
fn equal_remainders_go_to_the_lower_line() {
    let mut order = placed(&[10, 11]);
    order.lines[1].charge_minor = 10;
    assert_eq!(amounts(&order, 1), [(1, 1)]);
    assert_eq!(amounts(&order, 3), [(1, 2), (2, 1)]);
}

#[test]
fn what_returns_are_owed_comes_first_and_in_their_order() {
    let mut order = placed(&[100, 300, 50]);
    order.return_dues = vec![
        ReturnDue {
            line: 3,
            amount_minor: 50,
        },
        ReturnDue {
            line: 1,
            amount_minor: 100,
        },
    ];
    assert_eq!(amounts(&order, 40), [(3, 40)]);
    assert_eq!(amounts(&order, 60), [(1, 10), (3, 50)]);
    assert_eq!(amounts(&order, 200), [(1, 100), (2, 50), (3, 50)]);
}

#[test]
fn what_is_beyond_all_charges_goes_on_the_first_line() {
    let mut order = placed(&[100, 300]);
    assert_eq!(amounts(&order, 400), [(1, 100), (2, 300)]);
    assert_eq!(amounts(&order, 401), [(1, 101), (2, 300)]);
    for line in &mut order.lines {
        line.refunded_minor = line.charge_minor;
    }
    assert_eq!(amounts(&order, 5), [(1, 5)]);
}

proptest! {
    #[test]
    fn shares_add_up_and_stay_within_the_charges(
        lines in prop::collection::vec((1..i64::MAX / 32, 0..=100i64, 0..=100i64), 1..12),
        percent in 0..=150i64,
    ) {
        let prices: Vec<i64> = (1..=lines.len() as i64).collect();
        let mut order = placed(&prices);
        let mut left = 0i64;
        for (line, (charge, refunded, due)) in order.lines.iter_mut().zip(&lines) {
            line.charge_minor = *charge;
            line.refunded_minor = charge / 100 * refunded;
            left += line.charge_minor - line.refunded_minor;
            order.return_dues.push(ReturnDue { line: line.line, amount_minor: charge / 100 * due });
        }
        let amount = (left / 100 * percent).max(1);
        let shares = shares(&order, amount);
        prop_assert_eq!(shares.iter().map(|share| share.amount_minor).sum::<i64>(), amount);
        for (index, share) in shares.iter().enumerate() {
            let line = order.lines.iter().find(|line| line.line == share.line).unwrap();
            prop_assert!(share.amount_minor > 0);
            let within = share.amount_minor <= line.charge_minor - line.refunded_minor;
            prop_assert!(within || (index == 0 && amount > left), "{:?}", share);
        }
    }
}
