//! Putting items in, changing and removing lines.

use cartwright_events::EventBody;
use cartwright_events::cart::{
    CartItemAdded, CartItemQuantityChanged, CartItemRemoved, PriceSource,
};

use crate::reason::Reason;
use crate::testing::*;
use crate::{AddItem, ChangeItem, CheckoutSettings, CreateCart, NewItem, RemoveItem};

fn add(item: NewItem) -> AddItem {
    AddItem {
        cart_id: cart_id("o"),
        item,
    }
}

fn change(line: u32, quantity: i64) -> ChangeItem {
    ChangeItem {
        cart_id: cart_id("o"),
        line,
        quantity,
    }
}

fn remove(line: u32) -> RemoveItem {
    RemoveItem {
        cart_id: cart_id("o"),
        line,
    }
}

fn changed(quantities: (i64, i64), unit_price_minor: i64, cart_total_minor: i64) -> EventBody {
    cart_event(CartItemQuantityChanged {
        line: 1,
        sku: sku("A"),
        old_quantity: quantities.0,
        quantity: quantities.1,
        unit_price_minor,
        line_total_minor: quantities.1 * unit_price_minor,
        cart_total_minor,
    })
}

#[test]
fn an_item_is_priced_by_the_catalog() {
    let mut shop = Shop::new();
    shop.prices.set("A", 120);
    let added = CartItemAdded {
        line: 1,
        sku: sku("A"),
        name: "product A".to_owned(),
        quantity: 3,
        unit_price_minor: 120,
        price_source: PriceSource::Catalog,
        catalog_seq: Some(2),
        line_total_minor: 360,
        cart_total_minor: 360,
    };
    let accepted = shop
        .cart(vec![])
        .when(add(expecting("A", 3, gbp(120))))
        .then([cart_event(added)]);
    assert_eq!(
        (accepted.version, accepted.data["line"].as_i64()),
        (2, Some(1))
    );
    assert_eq!(accepted.data["unit_price_minor"], 120);
    assert_eq!(accepted.data["cart_total_minor"], 360);
}

#[test]
fn an_item_joins_the_line_of_its_sku_price_and_source() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 1)]);
    let accepted = shop
        .when(add(item("A", 2)))
        .then([changed((1, 3), 100, 300)]);
    assert_eq!(
        (
            accepted.data["line"].as_i64(),
            accepted.data["quantity"].as_i64()
        ),
        (Some(1), Some(3))
    );
    // The same price from another source, and another price, are lines of their own.
    assert_eq!(
        shop.when(add(quoted("A", 1, gbp(100)))).accepted().data["line"],
        2
    );
    shop.prices.set("A", 101);
    assert_eq!(shop.when(add(item("A", 1))).accepted().data["line"], 3);
    assert_eq!(shop.when(add(item("A", 1))).accepted().data["line"], 3);
}

#[test]
fn what_the_catalog_does_not_know_or_sell_cannot_be_added_at_any_price() {
    let mut shop = Shop::new();
    shop.prices.retire("B");
    shop.cart(vec![]);
    for item in [item("X", 1), quoted("X", 1, gbp(1))] {
        assert_eq!(
            shop.when(add(item))
                .rejected(Reason::UnknownProduct)
                .field
                .as_deref(),
            Some("sku")
        );
    }
    for item in [item("B", 1), quoted("B", 1, gbp(1))] {
        shop.when(add(item)).rejected(Reason::ProductRetired);
    }
}

#[test]
fn a_price_that_changed_is_refused_with_both() {
    let mut shop = Shop::new();
    shop.cart(vec![]);
    let rejection = shop
        .when(add(expecting("A", 1, gbp(99))))
        .rejected(Reason::PriceChanged);
    assert_eq!(rejection.data["expected_price"]["amount_minor"], 99);
    assert_eq!(rejection.data["current_price"]["amount_minor"], 100);
    assert_eq!(rejection.data["current_price"]["currency"], "GBP");
}

#[test]
fn currencies_do_not_mix() {
    let mut shop = Shop::new();
    shop.when(CreateCart {
        currency: currency("EUR"),
        ..Shop::opening(vec![])
    })
    .accepted();
    shop.when(add(item("A", 1)))
        .rejected(Reason::CurrencyMismatch);
    shop.when(add(quoted("A", 1, gbp(1))))
        .rejected(Reason::CurrencyMismatch);
    shop.when(add(expecting("A", 1, gbp(100))))
        .rejected(Reason::CurrencyMismatch);
    // A quote in the cart's own currency stands in for a price that the catalog has not.
    shop.when(add(quoted("A", 1, eur(90)))).accepted();
}

#[test]
fn quoting_a_price_needs_the_setting() {
    let mut shop = Shop::with(CheckoutSettings::default());
    shop.cart(vec![]);
    shop.when(add(quoted("A", 1, gbp(1))))
        .rejected(Reason::QuotedPriceNotAllowed);
    let mut shop = Shop::new();
    shop.cart(vec![]);
    shop.when(add(quoted("A", 1, gbp(0))))
        .rejected(Reason::PriceNotPositive);
    let both = NewItem {
        expected_price: Some(gbp(100)),
        ..quoted("A", 1, gbp(90))
    };
    shop.when(add(both)).rejected(Reason::PriceGivenTwice);
    let accepted = shop.when(add(quoted("A", 1, gbp(1)))).accepted();
    assert_eq!(accepted.data["unit_price_minor"], 1);
}

#[test]
fn quantities_and_sums_have_limits() {
    let mut shop = Shop::new();
    shop.cart(vec![]);
    for quantity in [0, -1, 1_000_001] {
        shop.when(add(item("A", quantity)))
            .rejected(Reason::QuantityOutOfRange);
    }
    shop.when(add(item("A", 1_000_000))).accepted();
    shop.when(add(item("A", 1)))
        .rejected(Reason::QuantityOutOfRange);
    for quantity in [0, 1_000_001] {
        shop.when(change(1, quantity))
            .rejected(Reason::QuantityOutOfRange);
    }
    // 1,000,000 units at 1.00 are in the cart: the most that fits beside them fits, one more does not.
    let beside = i64::MAX - 100_000_000;
    shop.when(add(quoted("B", 1, gbp(beside + 1))))
        .rejected(Reason::AmountOverflow);
    shop.when(add(quoted("B", 1, gbp(beside)))).accepted();
    shop.when(add(quoted("B", 1, gbp(beside))))
        .rejected(Reason::AmountOverflow);
    shop.when(change(2, 2)).rejected(Reason::AmountOverflow);
    assert_eq!(
        shop.when(remove(2)).accepted().data["cart_total_minor"],
        100_000_000
    );
}

#[test]
fn a_line_changes_and_the_same_quantity_is_a_repeat() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 1), item("B", 1)]);
    let accepted = shop.when(change(1, 4)).then([changed((1, 4), 100, 650)]);
    assert_eq!(accepted.version, 4);
    shop.when(change(1, 4)).repeats(4, &[4]);
    let rejection = shop.when(change(9, 1)).rejected(Reason::UnknownLine);
    assert_eq!(rejection.data["line"], 9);
}

#[test]
fn a_line_number_is_never_used_again() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 2), item("B", 1)]);
    let removed = CartItemRemoved {
        line: 1,
        sku: sku("A"),
        quantity: 2,
        cart_total_minor: 250,
    };
    shop.when(remove(1)).then([cart_event(removed)]);
    shop.when(remove(1)).rejected(Reason::UnknownLine);
    shop.when(remove(2)).accepted();
    let accepted = shop.when(add(item("A", 1))).accepted();
    assert_eq!(
        (
            accepted.data["line"].as_i64(),
            accepted.data["cart_total_minor"].as_i64()
        ),
        (Some(3), Some(100))
    );
}

#[test]
fn a_cart_that_became_an_order_takes_no_change_and_names_it() {
    let mut shop = Shop::new();
    shop.placed(vec![item("A", 1)]);
    let rejection = shop
        .when(add(item("A", 1)))
        .rejected(Reason::CartCheckedOut);
    assert_eq!(rejection.data["order_id"], "o");
    shop.when(change(1, 2)).rejected(Reason::CartCheckedOut);
    shop.when(remove(1)).rejected(Reason::CartCheckedOut);
}

#[test]
fn a_cart_that_does_not_exist_is_named() {
    let mut shop = Shop::new();
    assert_eq!(
        shop.when(add(item("A", 1)))
            .rejected(Reason::UnknownCart)
            .data["cart_id"],
        "o"
    );
    shop.when(change(1, 2)).rejected(Reason::UnknownCart);
    shop.when(remove(1)).rejected(Reason::UnknownCart);
    shop.when(Shop::check_out()).rejected(Reason::UnknownCart);
}
