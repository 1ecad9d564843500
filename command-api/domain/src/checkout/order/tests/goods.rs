//! Shipments and returns.

use cartwright_events::EventBody;
use cartwright_events::messages::{RestockReturn, ShipStock, StockQuantity};
use cartwright_events::order::{OrderReturned, OrderShipped, ReturnedLine, ShippedLine};
use serde_json::json;

use crate::context::Outgoing;
use crate::reason::Reason;
use crate::testing::*;
use crate::{NewItem, Return, Ship};

fn ship(name: &str, units: Option<&[(u32, i64)]>) -> Ship {
    Ship {
        order_id: order_id("o"),
        shipment_id: reference(name),
        lines: units.map(lines),
        occurred_at: None,
    }
}

fn bring_back(name: &str, units: &[(u32, i64)], restock: bool) -> Return {
    Return {
        order_id: order_id("o"),
        return_id: reference(name),
        lines: lines(units),
        restock,
        occurred_at: None,
    }
}

/// Two A at 1.00, three B at 2.50, one more A at 0.90.
fn goods() -> Vec<NewItem> {
    vec![item("A", 2), item("B", 3), quoted("A", 1, gbp(90))]
}

fn shipped(name: &str, units: &[(u32, &str, i64)], shipped_units: i64) -> EventBody {
    let line = |(line, name, quantity): &(u32, &str, i64)| ShippedLine {
        line: *line,
        sku: sku(name),
        quantity: *quantity,
    };
    order_event(OrderShipped {
        shipment_id: reference(name),
        lines: units.iter().map(line).collect(),
        shipped_units,
        fully_shipped: shipped_units == 6,
    })
}

fn stock(units: &[(&str, i64)]) -> Vec<StockQuantity> {
    units
        .iter()
        .map(|(name, quantity)| StockQuantity {
            sku: sku(name),
            quantity: *quantity,
        })
        .collect()
}

#[test]
fn an_order_ships_in_parts_until_all_has_left() {
    let mut shop = Shop::new();
    shop.paid(goods());
    let outcome = shop.when(ship("s1", Some(&[(3, 1), (1, 1)])));
    let message = ShipStock {
        order_id: order_id("o"),
        shipment_id: reference("s1"),
        items: stock(&[("A", 2)]),
    };
    assert_eq!(
        outcome.messages(),
        [Outgoing {
            partition: 0,
            message: message.into()
        }]
    );
    let accepted = outcome.then([shipped("s1", &[(1, "A", 1), (3, "A", 1)], 2)]);
    assert_eq!(accepted.data["status"], "partly_shipped");
    let accepted =
        shop.when(ship("s2", None))
            .then([shipped("s2", &[(1, "A", 1), (2, "B", 3)], 6)]);
    assert_eq!(accepted.data["status"], "shipped");
    shop.when(ship("s3", None))
        .rejected(Reason::NothingLeftToShip);
}

#[test]
fn a_repeated_shipment_answers_with_what_happened_then() {
    let mut shop = Shop::new();
    shop.paid(goods());
    shop.when(ship("s1", Some(&[(1, 1), (2, 1)]))).accepted();
    shop.when(ship("s2", None)).accepted();
    let accepted = shop
        .when(ship("s1", Some(&[(2, 1), (1, 1)])))
        .repeats(5, &[5]);
    assert_eq!(accepted.data["status"], "partly_shipped");
    shop.when(ship("s2", None)).repeats(6, &[6]);
    shop.when(ship("s2", Some(&[(1, 1), (2, 2), (3, 1)])))
        .repeats(6, &[6]);
    for other in [Some(&[(1, 1)][..]), Some(&[(1, 1), (2, 2)][..]), None] {
        shop.when(ship("s1", other))
            .rejected(Reason::ReferenceReused);
    }
}

#[test]
fn only_a_paid_order_ships() {
    let mut shop = Shop::new();
    shop.when(ship("s", None)).rejected(Reason::UnknownOrder);
    shop.confirmed(goods());
    let rejection = shop.when(ship("s", None)).rejected(Reason::OrderNotPaid);
    assert_eq!(rejection.data["total_minor"], 1_040);
    shop.at(minute(30));
    shop.when(ship("s", None)).rejected(Reason::OrderEnded);
}

#[test]
fn no_more_ships_than_was_ordered() {
    let mut shop = Shop::new();
    shop.paid(goods());
    shop.when(ship("s1", Some(&[(1, 1)]))).accepted();
    let rejection = shop
        .when(ship("s2", Some(&[(1, 2), (2, 4), (3, 1)])))
        .rejected(Reason::QuantityExceedsOrder);
    assert_eq!(
        rejection.data["lines"],
        json!([
            { "line": 1, "sku": "A", "requested": 2, "left": 1 },
            { "line": 2, "sku": "B", "requested": 4, "left": 3 },
        ])
    );
    shop.when(ship("s2", Some(&[(4, 1)])))
        .rejected(Reason::UnknownLine);
    shop.when(ship("s2", Some(&[])))
        .rejected(Reason::LinesMissing);
    let rejection = shop
        .when(ship("s2", Some(&[(1, 1), (1, 1)])))
        .rejected(Reason::LineRepeated);
    assert_eq!(rejection.field.as_deref(), Some("lines[1].line"));
    shop.when(ship("s2", Some(&[(1, 0)])))
        .rejected(Reason::QuantityOutOfRange);
}

#[test]
fn returned_goods_are_owed_for_and_put_back() {
    let mut shop = Shop::new();
    shop.shipped(goods());
    let outcome = shop.when(bring_back("r1", &[(3, 1), (1, 2)], true));
    let message = RestockReturn {
        order_id: order_id("o"),
        return_id: reference("r1"),
        items: stock(&[("A", 3)]),
    };
    assert_eq!(
        outcome.messages(),
        [Outgoing {
            partition: 0,
            message: message.into()
        }]
    );
    let line = |line, quantity, charge_minor| ReturnedLine {
        line,
        sku: sku("A"),
        quantity,
        charge_minor,
    };
    let returned = OrderReturned {
        return_id: reference("r1"),
        lines: vec![line(1, 2, 200), line(3, 1, 90)],
        charge_minor: 290,
        currency: currency("GBP"),
        ship_to_country: Some(country("France")),
        restock: true,
        returned_units: 3,
        refund_due_minor: 290,
    };
    let accepted = outcome.then([order_event(returned)]);
    assert_eq!(accepted.data["refund_due_minor"], 290);
    let outcome = shop.when(bring_back("r2", &[(2, 1)], false));
    assert!(
        outcome.messages().is_empty(),
        "broken goods do not go back on the shelf"
    );
    assert_eq!(outcome.accepted().data["refund_due_minor"], 540);
}

#[test]
fn a_repeated_return_answers_with_what_happened_then() {
    let mut shop = Shop::new();
    shop.shipped(goods());
    let first = shop
        .when(bring_back("r1", &[(2, 1), (1, 1)], true))
        .accepted();
    shop.when(bring_back("r2", &[(2, 1)], true)).accepted();
    let accepted = shop
        .when(bring_back("r1", &[(1, 1), (2, 1)], true))
        .repeats(6, &[6]);
    assert_eq!(accepted.data["refund_due_minor"], 350);
    assert_eq!(accepted.data, first.data);
    shop.when(bring_back("r1", &[(1, 1), (2, 1)], false))
        .rejected(Reason::ReferenceReused);
    shop.when(bring_back("r1", &[(1, 1)], true))
        .rejected(Reason::ReferenceReused);
}

#[test]
fn no_more_comes_back_than_was_shipped() {
    let mut shop = Shop::new();
    shop.when(bring_back("r", &[(1, 1)], true))
        .rejected(Reason::UnknownOrder);
    shop.paid(goods());
    shop.when(bring_back("r", &[(1, 1)], true))
        .rejected(Reason::ReturnExceedsShipped);
    shop.when(ship("s1", Some(&[(2, 2)]))).accepted();
    shop.when(bring_back("r", &[(2, 1)], true)).accepted();
    let rejection = shop
        .when(bring_back("r2", &[(2, 2)], true))
        .rejected(Reason::ReturnExceedsShipped);
    assert_eq!(
        rejection.data["lines"],
        json!([{ "line": 2, "sku": "B", "requested": 2, "left": 1 }])
    );
    shop.when(bring_back("r2", &[(2, 1)], true)).accepted();
    shop.when(bring_back("r3", &[], true))
        .rejected(Reason::LinesMissing);
    shop.when(bring_back("r3", &[(9, 1)], true))
        .rejected(Reason::UnknownLine);
}
