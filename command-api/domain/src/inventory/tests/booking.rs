//! What comes in, what is corrected, what is missing.

use cartwright_events::inventory::{
    ReleaseReason, StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped,
};

use super::*;
use crate::AdjustStock;
use crate::context::BoundedContext;
use crate::reason::Reason;

#[test]
fn goods_come_in_and_a_reference_counts_once() {
    let mut scene = scene();
    let received = |quantity, name: Option<&str>, on_hand| {
        let reference = name.map(reference);
        stock_event(StockReceived {
            quantity,
            reference,
            on_hand,
            reserved: 0,
        })
    };
    scene
        .when(receive(5, Some("d1")))
        .then([received(5, Some("d1"), 5)]);
    scene.when(receive(5, None)).then([received(5, None, 10)]);
    scene.when(receive(5, None)).then([received(5, None, 15)]);
    let accepted = scene.when(receive(5, Some("d1"))).repeats(1, &[1]);
    assert_eq!(accepted.data["on_hand"], 5, "what happened then");
    let rejection = scene
        .when(receive(6, Some("d1")))
        .rejected(Reason::ReferenceReused);
    assert_eq!(rejection.data["reference"], "d1");
}

#[test]
fn quantities_are_above_zero_and_sums_stay_in_range() {
    let mut scene = scene();
    scene
        .when(receive(0, None))
        .rejected(Reason::QuantityOutOfRange);
    scene
        .when(receive(-1, None))
        .rejected(Reason::QuantityOutOfRange);
    scene.when(receive(i64::MAX, None)).accepted();
    scene
        .when(receive(1, None))
        .rejected(Reason::AmountOverflow);
    scene.when(adjust(1, None)).rejected(Reason::AmountOverflow);
    scene
        .when(adjust(i64::MIN, None))
        .rejected(Reason::StockBelowZero);
}

#[test]
fn a_correction_counts_once_and_never_goes_below_zero() {
    let mut scene = scene();
    scene.when(receive(5, Some("r"))).accepted();
    let adjusted = StockAdjusted {
        delta: -2,
        reason: "counted".to_owned(),
        reference: Some(reference("r")),
        on_hand: 3,
        reserved: 0,
    };
    // Receipts and corrections have references of their own.
    scene
        .when(adjust(-2, Some("r")))
        .then([stock_event(adjusted)]);
    scene.when(adjust(-2, Some("r"))).repeats(2, &[2]);
    scene
        .when(adjust(-1, Some("r")))
        .rejected(Reason::ReferenceReused);
    let other = AdjustStock {
        reason: "broken".to_owned(),
        ..adjust(-2, Some("r"))
    };
    scene.when(other).rejected(Reason::ReferenceReused);
    let rejection = scene
        .when(adjust(-4, None))
        .rejected(Reason::StockBelowZero);
    assert_eq!(rejection.data["on_hand"], 3);
    scene.when(adjust(-3, None)).accepted();
    scene
        .when(adjust(0, None))
        .rejected(Reason::QuantityOutOfRange);
    scene
        .when(AdjustStock {
            reason: " ".to_owned(),
            ..adjust(1, None)
        })
        .rejected(Reason::TextOutOfRange);
}

#[test]
fn a_shortfall_is_told_whenever_it_changes_and_settled_first() {
    let mut scene = scene();
    scene.when(receive(5, None)).accepted();
    scene.receive(reserve("o1", &[("A", 4)]));
    let accepted = scene.when(adjust(-3, Some("count"))).then([
        stock_event(StockAdjusted {
            delta: -3,
            reason: "counted".to_owned(),
            reference: Some(reference("count")),
            on_hand: 2,
            reserved: 4,
        }),
        shortfall(2, 2, 4),
    ]);
    assert_eq!(
        (
            accepted.data["available"].as_i64(),
            accepted.data["shortfall"].as_i64()
        ),
        (Some(0), Some(2))
    );
    scene.when(adjust(-3, Some("count"))).repeats(4, &[3, 4]);

    let received = |quantity, on_hand| {
        stock_event(StockReceived {
            quantity,
            reference: None,
            on_hand,
            reserved: 4,
        })
    };
    scene
        .when(receive(1, None))
        .then([received(1, 3), shortfall(1, 3, 4)]);
    assert!(
        !answered(&scene.receive(reserve("o2", &[("A", 1)]))).held,
        "nothing is free yet"
    );
    scene
        .when(receive(2, None))
        .then([received(2, 5), shortfall(0, 5, 4)]);
    scene.when(receive(1, None)).then([received(1, 6)]);
    assert!(answered(&scene.receive(reserve("o2", &[("A", 2)]))).held);
}

#[test]
fn an_event_that_does_not_fit_stops_the_fold() {
    let mut scene = scene();
    scene.when(receive(5, Some("d1"))).accepted();
    scene.receive(reserve("o1", &[("A", 4)]));
    let order = || order_id("o1");
    let misfits = [
        stock_event(StockReceived {
            quantity: 1,
            reference: None,
            on_hand: 7,
            reserved: 4,
        }),
        stock_event(StockReceived {
            quantity: 1,
            reference: None,
            on_hand: 6,
            reserved: 3,
        }),
        stock_event(StockReceived {
            quantity: 1,
            reference: Some(reference("d1")),
            on_hand: 6,
            reserved: 4,
        }),
        stock_event(StockReserved {
            order_id: order(),
            quantity: 1,
            on_hand: 5,
            reserved: 5,
        }),
        stock_event(StockReleased {
            order_id: order_id("o2"),
            quantity: 4,
            reason: ReleaseReason::Expired,
            on_hand: 5,
            reserved: 0,
        }),
        stock_event(StockShipped {
            order_id: order(),
            shipment_id: reference("s"),
            quantity: 6,
            unbooked: 0,
            on_hand: -1,
            reserved: 0,
        }),
        shortfall(1, 5, 4),
    ];
    for body in misfits {
        let event = cartwright_events::Event {
            aggregate_id: "A".to_owned(),
            version: 3,
            occurred_at: minute(0),
            body,
        };
        let mut state = scene.refolded();
        assert!(
            scene.context.evolve(&mut state, &event, 3).is_err(),
            "{event:?}"
        );
    }
}
