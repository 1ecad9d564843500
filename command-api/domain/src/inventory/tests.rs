//! The rules of stock.

use cartwright_events::inventory::{
    ReleaseReason, StockAdjusted, StockReceived, StockReleased, StockReservationRejected,
    StockReserved, StockRestocked, StockShipped, StockShortfallChanged,
};
use cartwright_events::messages::{
    ReleaseStock, ReservationAnswer, ReserveStock, RestockReturn, ShipStock, StockQuantity,
};
use cartwright_events::order::Shortage;
use cartwright_events::partition::partition_of;
use cartwright_events::{EventBody, Message};

use super::Inventory;
use crate::context::{BoundedContext, Decision};
use crate::reason::Reason;
use crate::testing::*;
use crate::{AdjustStock, InventorySettings, ReceiveStock};

fn scene() -> Scene<Inventory> {
    let settings = InventorySettings {
        inventory_partitions: 5,
        checkout_partitions: 3,
    };
    Scene::new(Inventory { settings }, minute(0))
}

fn receive(quantity: i64, name: Option<&str>) -> ReceiveStock {
    ReceiveStock {
        sku: sku("A"),
        quantity,
        reference: name.map(reference),
    }
}

fn adjust(delta: i64, name: Option<&str>) -> AdjustStock {
    AdjustStock {
        sku: sku("A"),
        delta,
        reason: "counted".to_owned(),
        reference: name.map(reference),
    }
}

fn items(items: &[(&str, i64)]) -> Vec<StockQuantity> {
    items
        .iter()
        .map(|(name, quantity)| StockQuantity {
            sku: sku(name),
            quantity: *quantity,
        })
        .collect()
}

fn reserve(order: &str, wanted: &[(&str, i64)]) -> ReserveStock {
    ReserveStock {
        order_id: order_id(order),
        items: items(wanted),
    }
}

fn release(order: &str, skus: &[&str]) -> ReleaseStock {
    ReleaseStock {
        order_id: order_id(order),
        skus: skus.iter().map(|name| sku(name)).collect(),
        reason: ReleaseReason::Cancelled,
    }
}

fn ship(order: &str, gone: &[(&str, i64)]) -> ShipStock {
    ShipStock {
        order_id: order_id(order),
        shipment_id: reference("s"),
        items: items(gone),
    }
}

fn bodies(decision: &Decision) -> Vec<EventBody> {
    decision
        .events
        .iter()
        .map(|event| event.body.clone())
        .collect()
}

/// The one answer that a decision sends.
fn answered(decision: &Decision) -> &ReservationAnswer {
    match decision.messages.as_slice() {
        [outgoing] => match &outgoing.message {
            Message::ReservationAnswer(answer) => answer,
            other => panic!("no answer: {other:?}"),
        },
        other => panic!("not one message: {other:?}"),
    }
}

fn shortfall(shortfall: i64, on_hand: i64, reserved: i64) -> EventBody {
    stock_event(StockShortfallChanged {
        shortfall,
        on_hand,
        reserved,
    })
}

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
fn an_order_holds_all_of_its_lines_or_none() {
    let mut scene = scene();
    scene.when(receive(5, None)).accepted();
    scene
        .when(ReceiveStock {
            sku: sku("B"),
            ..receive(2, None)
        })
        .accepted();

    let held = scene.receive(reserve("o1", &[("B", 1), ("A", 4)]));
    let reserved = |quantity, on_hand| {
        let order_id = order_id("o1");
        stock_event(StockReserved {
            order_id,
            quantity,
            on_hand,
            reserved: quantity,
        })
    };
    assert_eq!(
        bodies(&held),
        [reserved(4, 5), reserved(1, 2)],
        "in the order of the SKUs"
    );
    assert_eq!(
        (answered(&held).held, answered(&held).shortages.as_slice()),
        (true, &[][..])
    );

    // A is short, C was never seen; B is there, but not held.
    let short = scene.receive(reserve("o2", &[("C", 1), ("A", 2), ("B", 1)]));
    let rejected = |quantity, available, on_hand, reserved| {
        let order_id = order_id("o2");
        stock_event(StockReservationRejected {
            order_id,
            quantity,
            available,
            on_hand,
            reserved,
        })
    };
    assert_eq!(bodies(&short), [rejected(2, 1, 5, 4), rejected(1, 0, 0, 0)]);
    let shortage = |name, requested, available| Shortage {
        sku: sku(name),
        requested,
        available,
    };
    assert!(!answered(&short).held);
    assert_eq!(
        answered(&short).shortages,
        [shortage("A", 2, 1), shortage("C", 1, 0)]
    );
    assert_eq!(scene.state.item(&sku("B")).unwrap().level().reserved, 1);
}

#[test]
fn an_answer_goes_to_the_orders_shard_and_says_whose_it_is() {
    let mut scene = scene();
    let decision = scene.receive(reserve("o1", &[("A", 1)]));
    assert_eq!(decision.messages[0].partition, partition_of("o1", 3));
    assert_eq!(
        answered(&decision).inventory_partition,
        partition_of("A", 5)
    );
}

#[test]
fn an_order_that_holds_is_told_so_again() {
    let mut scene = scene();
    scene.when(receive(5, None)).accepted();
    scene.receive(reserve("o1", &[("A", 4)]));
    let again = scene.receive(reserve("o1", &[("A", 4)]));
    assert!(again.events.is_empty() && answered(&again).held);
}

#[test]
fn only_what_is_held_is_released() {
    let mut scene = scene();
    scene.when(receive(5, None)).accepted();
    scene.receive(reserve("o1", &[("A", 4)]));
    assert_eq!(bodies(&scene.receive(release("o2", &["A", "B"]))), []);
    let released = StockReleased {
        order_id: order_id("o1"),
        quantity: 4,
        reason: ReleaseReason::Cancelled,
        on_hand: 5,
        reserved: 0,
    };
    assert_eq!(
        bodies(&scene.receive(release("o1", &["A", "A"]))),
        [stock_event(released)]
    );
    assert_eq!(bodies(&scene.receive(release("o1", &["A"]))), []);
}

#[test]
fn a_shipment_takes_hold_and_stock_together() {
    let mut scene = scene();
    scene.when(receive(5, None)).accepted();
    scene.receive(reserve("o1", &[("A", 4)]));
    let shipped = StockShipped {
        order_id: order_id("o1"),
        shipment_id: reference("s"),
        quantity: 3,
        unbooked: 0,
        on_hand: 2,
        reserved: 1,
    };
    assert_eq!(
        bodies(&scene.receive(ship("o1", &[("A", 3)]))),
        [stock_event(shipped)]
    );
    let decision = scene.receive(release("o1", &["A"]));
    assert_eq!(
        type_names(&decision),
        ["StockReleased"],
        "the rest was still held"
    );
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
fn goods_that_the_books_did_not_have_leave_as_unbooked() {
    let mut scene = scene();
    scene.when(receive(5, None)).accepted();
    scene.receive(reserve("o1", &[("A", 4)]));
    scene.receive(reserve("o2", &[("A", 1)]));
    scene.when(adjust(-4, None)).accepted();
    let shipped = StockShipped {
        order_id: order_id("o1"),
        shipment_id: reference("s"),
        quantity: 4,
        unbooked: 3,
        on_hand: 0,
        reserved: 1,
    };
    let decision = scene.receive(ship("o1", &[("A", 4)]));
    assert_eq!(
        bodies(&decision),
        [stock_event(shipped), shortfall(1, 0, 1)]
    );
    let decision = scene.receive(release("o2", &["A"]));
    assert_eq!(
        type_names(&decision),
        ["StockReleased", "StockShortfallChanged"]
    );
}

#[test]
fn returned_goods_are_on_hand_again() {
    let mut scene = scene();
    let message = RestockReturn {
        order_id: order_id("o1"),
        return_id: reference("r"),
        items: items(&[("A", 2)]),
    };
    let restocked = StockRestocked {
        order_id: order_id("o1"),
        return_id: reference("r"),
        quantity: 2,
        on_hand: 2,
        reserved: 0,
    };
    assert_eq!(bodies(&scene.receive(message)), [stock_event(restocked)]);
}

#[test]
fn a_request_that_could_not_be_decided_is_answered_all_the_same() {
    let scene = scene();
    let request = Message::from(reserve("o1", &[("A", 1)]));
    let given_up = scene.context.give_up(&request, "it broke");
    let [outgoing] = given_up.as_slice() else {
        panic!("{given_up:?}")
    };
    assert_eq!(outgoing.partition, partition_of("o1", 3));
    let Message::ReservationAnswer(answer) = &outgoing.message else {
        panic!("{outgoing:?}")
    };
    assert_eq!(
        (answer.held, answer.failure.as_deref()),
        (false, Some("it broke"))
    );
    assert!(
        scene
            .context
            .give_up(&Message::from(release("o1", &["A"])), "it broke")
            .is_empty()
    );
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
