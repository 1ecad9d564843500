//! What orders hold, let go of, ship and bring back.

use cartwright_events::Message;
use cartwright_events::inventory::{
    ReleaseReason, StockReleased, StockReservationRejected, StockReserved, StockRestocked,
    StockShipped,
};
use cartwright_events::messages::RestockReturn;
use cartwright_events::order::Shortage;
use cartwright_events::partition::partition_of;

use super::*;
use crate::context::BoundedContext;

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
