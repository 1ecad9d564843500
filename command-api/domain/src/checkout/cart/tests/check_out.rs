//! A cart becomes an order.

use cartwright_events::EventBody;
use cartwright_events::cart::{CartCheckedOut, CartItemRepriced};
use cartwright_events::messages::{ReserveStock, StockQuantity};
use cartwright_events::order::{OrderCreated, OrderLine};
use serde_json::json;

use crate::context::Outgoing;
use crate::reason::Reason;
use crate::testing::*;
use crate::{CheckOut, CheckoutSettings, MAX_AHEAD_MS, Price};

fn expecting_total(total: Price) -> CheckOut {
    CheckOut {
        expected_total: Some(total),
        ..Shop::check_out()
    }
}

fn checked_out(total_minor: i64) -> EventBody {
    cart_event(CartCheckedOut {
        order_id: order_id("o"),
        total_minor,
        currency: currency("GBP"),
    })
}

fn line(line: u32, name: &str, quantity: i64, unit_price_minor: i64) -> OrderLine {
    OrderLine {
        line,
        sku: sku(name),
        name: format!("product {name}"),
        quantity,
        unit_price_minor,
        line_total_minor: quantity * unit_price_minor,
    }
}

#[test]
fn cart_and_order_are_decided_together() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 2), item("B", 1), quoted("A", 3, gbp(90))]);
    let outcome = shop.when(expecting_total(gbp(720)));
    let reserve = ReserveStock {
        order_id: order_id("o"),
        items: vec![
            StockQuantity {
                sku: sku("A"),
                quantity: 5,
            },
            StockQuantity {
                sku: sku("B"),
                quantity: 1,
            },
        ],
    };
    assert_eq!(
        outcome.messages(),
        [Outgoing {
            partition: 0,
            message: reserve.into()
        }]
    );
    let created = OrderCreated {
        cart_id: cart_id("o"),
        customer_id: Some(customer("c1")),
        currency: currency("GBP"),
        ship_to_country: Some(country("France")),
        external_reference: None,
        lines: vec![
            line(1, "A", 2, 100),
            line(2, "B", 1, 250),
            line(3, "A", 3, 90),
        ],
        units: 6,
        total_minor: 720,
        payment_deadline: minute(30),
    };
    let accepted = outcome.then([checked_out(720), order_event(created)]);
    assert_eq!((accepted.aggregate_id.as_str(), accepted.version), ("o", 1));
    assert_eq!(accepted.data["status"], "pending");
    assert_eq!(accepted.data["total_minor"], 720);
    assert_eq!(accepted.data["currency"], "GBP");
}

#[test]
fn checking_out_again_answers_with_the_order_as_it_stands() {
    let mut shop = Shop::new();
    shop.placed(vec![item("A", 1)]);
    assert_eq!(
        shop.when(Shop::check_out()).repeats(1, &[1, 3]).data["status"],
        "pending"
    );
    shop.held(0);
    shop.prices.retire("A");
    let accepted = shop.when(expecting_total(gbp(7))).repeats(1, &[1, 3]);
    assert_eq!(
        (
            accepted.data["status"].as_str(),
            accepted.data["order_id"].as_str()
        ),
        (Some("confirmed"), Some("o"))
    );
}

#[test]
fn an_empty_cart_cannot_be_checked_out() {
    let mut shop = Shop::new();
    shop.cart(vec![])
        .when(Shop::check_out())
        .rejected(Reason::CartEmpty);
}

#[test]
fn changed_prices_need_the_new_total() {
    let mut shop = Shop::new();
    shop.cart(vec![
        item("A", 2),
        item("B", 1),
        quoted("A", 1, gbp(90)),
        item("C", 10),
    ]);
    shop.prices.set("A", 110);
    shop.prices.set("C", 2);
    // 570 until now: A costs 20 more, C costs 10 less, the quoted A keeps its price.
    for command in [
        Shop::check_out(),
        expecting_total(gbp(570)),
        expecting_total(gbp(579)),
    ] {
        let rejection = shop.when(command).rejected(Reason::PriceChanged);
        assert_eq!(
            rejection.data["current_total"],
            json!({ "amount_minor": 580, "currency": "GBP" })
        );
        let price = |amount: i64| json!({ "amount_minor": amount, "currency": "GBP" });
        assert_eq!(
            rejection.data["lines"],
            json!([
                { "line": 1, "sku": "A", "expected_price": price(100), "current_price": price(110) },
                { "line": 4, "sku": "C", "expected_price": price(3), "current_price": price(2) },
            ])
        );
    }
    let repriced = |line, name, prices: (i64, i64), line_total_minor, cart_total_minor| {
        cart_event(CartItemRepriced {
            line,
            sku: sku(name),
            old_unit_price_minor: prices.0,
            unit_price_minor: prices.1,
            catalog_seq: Some(2),
            line_total_minor,
            cart_total_minor,
        })
    };
    let outcome = shop.when(expecting_total(gbp(580)));
    let bodies: Vec<EventBody> = outcome
        .decision
        .events
        .iter()
        .map(|event| event.body.clone())
        .collect();
    assert_eq!(
        bodies[..3],
        [
            repriced(1, "A", (100, 110), 220, 590),
            repriced(4, "C", (3, 2), 20, 580),
            checked_out(580)
        ]
    );
    let accepted = outcome.accepted();
    assert_eq!(accepted.data["total_minor"], 580);
}

#[test]
fn a_price_that_went_up_and_back_is_no_change() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 1)]);
    shop.prices.set("A", 110);
    shop.prices.set("A", 100);
    shop.when(Shop::check_out())
        .then_types(&["CartCheckedOut", "OrderCreated"]);
}

#[test]
fn another_total_at_unchanged_prices_is_refused_with_both() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 2)]);
    let rejection = shop
        .when(expecting_total(gbp(199)))
        .rejected(Reason::TotalChanged);
    assert_eq!(rejection.data["expected_total"]["amount_minor"], 199);
    assert_eq!(rejection.data["current_total"]["amount_minor"], 200);
    shop.when(expecting_total(eur(200)))
        .rejected(Reason::CurrencyMismatch);
}

#[test]
fn what_is_no_longer_sold_cannot_be_checked_out() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 1), quoted("B", 1, gbp(1))]);
    shop.prices.retire("B");
    let rejection = shop
        .when(Shop::check_out())
        .rejected(Reason::ProductRetired);
    assert_eq!(rejection.data["sku"], "B");
    // The request names nothing but the cart.
    assert_eq!(rejection.field.as_deref(), Some("cart_id"));
}

#[test]
fn business_time_needs_the_setting_and_lies_not_ahead() {
    let at = |occurred_at| CheckOut {
        occurred_at: Some(occurred_at),
        ..Shop::check_out()
    };
    let mut shop = Shop::with(CheckoutSettings::default());
    shop.cart(vec![item("A", 1)])
        .when(at(minute(0)))
        .rejected(Reason::OccurredAtNotAllowed);
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 1)]);
    let latest = minute(0).plus_millis(MAX_AHEAD_MS);
    shop.when(at(latest.plus_millis(1)))
        .rejected(Reason::OccurredAtInFuture);
    shop.when(at(latest)).accepted();
}
