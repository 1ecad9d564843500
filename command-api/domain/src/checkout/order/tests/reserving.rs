//! From pending to confirmed or rejected.

use cartwright_events::Message;
use cartwright_events::inventory::ReleaseReason;
use cartwright_events::messages::{ReleaseStock, ReservationAnswer, ReserveStock, StockQuantity};
use cartwright_events::order::{OrderConfirmed, OrderRejected, RejectReason, Shortage};

use crate::context::{BoundedContext, Decision, Outgoing};
use crate::testing::*;

fn one_of_each() -> Vec<crate::NewItem> {
    vec![item("A", 1), item("B", 1), item("C", 1)]
}

fn reserve(partition: u32, name: &str) -> Outgoing {
    let items = vec![StockQuantity {
        sku: sku(name),
        quantity: 1,
    }];
    let message = ReserveStock {
        order_id: order_id("o"),
        items,
    }
    .into();
    Outgoing { partition, message }
}

fn release(partition: u32, name: &str, reason: ReleaseReason) -> Outgoing {
    let message = ReleaseStock {
        order_id: order_id("o"),
        skus: vec![sku(name)],
        reason,
    }
    .into();
    Outgoing { partition, message }
}

/// A shop with `A`, `B` and `C` in partitions of their own, and these in order.
fn spread() -> (Shop, Vec<(u32, &'static str)>) {
    let (settings, [a, b, c]) = several_partitions();
    let mut homes = vec![(a, "A"), (b, "B"), (c, "C")];
    homes.sort_unstable();
    (Shop::with(settings), homes)
}

#[test]
fn partitions_are_asked_in_turn_and_the_order_confirms_when_all_hold() {
    let (mut shop, homes) = spread();
    let outcome = shop.cart(one_of_each()).when(Shop::check_out());
    assert_eq!(outcome.messages(), [reserve(homes[0].0, homes[0].1)]);
    for pair in homes.windows(2) {
        let decision = shop.held(pair[0].0);
        let asked = vec![reserve(pair[1].0, pair[1].1)];
        assert_eq!(
            decision,
            Decision {
                events: vec![],
                messages: asked
            }
        );
        assert!(
            shop.context.outcome(&shop.state, "o").is_none(),
            "still open"
        );
    }
    let decision = shop.held(homes[2].0);
    let confirmed = OrderConfirmed {
        total_minor: 353,
        currency: currency("GBP"),
        payment_deadline: minute(30),
    };
    assert_eq!(decision.events[0].body, order_event(confirmed));
    assert!(decision.messages.is_empty());
    let outcome = shop.context.outcome(&shop.state, "o").expect("confirmed");
    assert_eq!(
        (outcome.data["status"].as_str(), outcome.version),
        (Some("confirmed"), 2)
    );
    assert_eq!(outcome.earlier.last().map(|(_, seq)| *seq), Some(2));
}

#[test]
fn a_rejected_reservation_releases_what_was_held() {
    let (mut shop, homes) = spread();
    shop.placed(one_of_each());
    shop.held(homes[0].0);
    shop.held(homes[1].0);
    let shortages = vec![Shortage {
        sku: sku(homes[2].1),
        requested: 1,
        available: 0,
    }];
    let refused = ReservationAnswer {
        shortages: shortages.clone(),
        ..answer(homes[2].0, false)
    };
    let decision = shop.receive(refused);
    let rejected = OrderRejected {
        reason: RejectReason::OutOfStock,
        shortages,
    };
    assert_eq!(decision.events[0].body, order_event(rejected));
    let reason = ReleaseReason::Rejected;
    assert_eq!(
        decision.messages,
        [
            release(homes[0].0, homes[0].1, reason),
            release(homes[1].0, homes[1].1, reason)
        ]
    );
    let outcome = shop.context.outcome(&shop.state, "o").expect("rejected");
    assert_eq!(outcome.data["status"], "rejected");
    assert_eq!(outcome.data["shortages"][0]["sku"], homes[2].1);
    assert_eq!(
        shop.context.next_due(&shop.state),
        None,
        "nothing is left to expire"
    );
}

#[test]
fn an_inventory_that_broke_rejects_the_order_by_that_name() {
    let mut shop = Shop::new();
    shop.placed(one_of_each());
    let broke = ReservationAnswer {
        failure: Some("it broke".to_owned()),
        ..answer(0, false)
    };
    let decision = shop.receive(broke);
    let rejected = OrderRejected {
        reason: RejectReason::InventoryFailed,
        shortages: vec![],
    };
    assert_eq!(decision.events[0].body, order_event(rejected));
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut shop = Shop::new();
    let nothing = Decision {
        events: vec![],
        messages: vec![],
    };
    assert_eq!(shop.held(0), nothing, "no such order");
    shop.confirmed(one_of_each());
    assert_eq!(shop.held(0), nothing, "confirmed already");
    assert_eq!(shop.receive(answer(0, false)), nothing);
    let other = Message::from(ReleaseStock {
        order_id: order_id("o"),
        skus: vec![],
        reason: ReleaseReason::Expired,
    });
    assert_eq!(shop.receive(other), nothing, "not for the checkout");
}

#[test]
fn a_late_yes_after_the_end_asks_nobody_else() {
    let (mut shop, homes) = spread();
    shop.placed(one_of_each());
    let decisions = shop.at(minute(30));
    assert_eq!(
        decisions[0].messages.len(),
        3,
        "all are told, each behind its own request"
    );
    assert_eq!(
        shop.held(homes[0].0),
        Decision {
            events: vec![],
            messages: vec![]
        }
    );
}
