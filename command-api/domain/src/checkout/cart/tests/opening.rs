//! Opening and abandoning a cart.

use cartwright_events::cart::{CartAbandoned, CartCreated, CartItemAdded, PriceSource};
use cartwright_events::{EventBody, Reference};

use crate::context::BoundedContext;
use crate::reason::Reason;
use crate::testing::*;
use crate::{AddItem, CheckoutSettings, CreateCart, RemoveItem};

fn created() -> EventBody {
    cart_event(CartCreated {
        customer_id: Some(customer("c1")),
        currency: currency("GBP"),
        ship_to_country: Some(country("France")),
        external_reference: None,
    })
}

fn added(
    line: u32,
    name: &str,
    quantity: i64,
    price: (i64, PriceSource),
    cart_total_minor: i64,
) -> EventBody {
    cart_event(CartItemAdded {
        line,
        sku: sku(name),
        name: format!("product {name}"),
        quantity,
        unit_price_minor: price.0,
        price_source: price.1,
        catalog_seq: (price.1 == PriceSource::Catalog).then_some(1),
        line_total_minor: quantity * price.0,
        cart_total_minor,
    })
}

#[test]
fn items_of_the_same_sku_and_price_become_one_line() {
    let mut shop = Shop::new();
    let items = vec![
        item("A", 1),
        item("B", 2),
        quoted("A", 3, gbp(90)),
        expecting("A", 4, gbp(100)),
        quoted("A", 5, gbp(90)),
        quoted("A", 6, gbp(100)),
    ];
    let (catalog, quote) = (PriceSource::Catalog, PriceSource::Quoted);
    let accepted = shop.when(Shop::opening(items)).then([
        created(),
        added(1, "A", 5, (100, catalog), 500),
        added(2, "B", 2, (250, catalog), 1_000),
        added(3, "A", 8, (90, quote), 1_720),
        added(4, "A", 6, (100, quote), 2_320),
    ]);
    assert_eq!(
        (accepted.version, accepted.data["cart_total_minor"].as_i64()),
        (5, Some(2_320))
    );
}

#[test]
fn opening_a_cart_again_is_a_repeat_whatever_became_of_it() {
    let mut shop = Shop::new();
    let opening = Shop::opening(vec![item("A", 1), item("B", 2)]);
    shop.when(opening.clone()).accepted();
    shop.when(opening.clone()).repeats(3, &[1, 2, 3]);
    // Changed at the same moment: still told apart from what it was opened with.
    shop.when(AddItem {
        cart_id: cart_id("o"),
        item: item("C", 1),
    })
    .accepted();
    shop.when(RemoveItem {
        cart_id: cart_id("o"),
        line: 1,
    })
    .accepted();
    shop.prices.set("A", 999);
    shop.prices.retire("B");
    shop.when(opening.clone()).repeats(3, &[1, 2, 3]);
    shop.prices.set("B", 250);
    shop.when(Shop::check_out()).accepted();
    shop.when(opening).repeats(3, &[1, 2, 3]);
}

#[test]
fn opening_a_cart_with_other_content_is_refused() {
    let mut shop = Shop::new();
    let opening = || Shop::opening(vec![item("A", 1), item("B", 2)]);
    shop.when(opening()).accepted();
    let others = [
        CreateCart {
            customer_id: None,
            ..opening()
        },
        CreateCart {
            currency: currency("EUR"),
            ..opening()
        },
        CreateCart {
            ship_to_country: None,
            ..opening()
        },
        CreateCart {
            external_reference: Some(reference("1")),
            ..opening()
        },
        Shop::opening(vec![item("A", 1)]),
        Shop::opening(vec![item("A", 1), item("B", 3)]),
        Shop::opening(vec![item("A", 1), item("B", 2), item("C", 1)]),
        Shop::opening(vec![item("A", 1), quoted("B", 2, gbp(250))]),
    ];
    for other in others {
        shop.when(other).rejected(Reason::CartExists);
    }
    // An item that was added later is no part of what it was opened with.
    shop.when(AddItem {
        cart_id: cart_id("o"),
        item: item("C", 1),
    })
    .accepted();
    let all = vec![item("A", 1), item("B", 2), item("C", 1)];
    shop.when(Shop::opening(all)).rejected(Reason::CartExists);
}

#[test]
fn an_item_at_fault_is_named_and_nothing_is_opened() {
    let mut shop = Shop::new();
    let refused = |shop: &mut Shop, bad, reason, field: &str| {
        let rejection = shop
            .when(Shop::opening(vec![item("A", 1), bad]))
            .rejected(reason);
        assert_eq!(rejection.field.as_deref(), Some(field));
    };
    refused(
        &mut shop,
        item("X", 1),
        Reason::UnknownProduct,
        "items[1].sku",
    );
    refused(
        &mut shop,
        item("B", 0),
        Reason::QuantityOutOfRange,
        "items[1].quantity",
    );
    refused(
        &mut shop,
        item("A", -1),
        Reason::QuantityOutOfRange,
        "items[1].quantity",
    );
    refused(
        &mut shop,
        item("A", 1_000_000),
        Reason::QuantityOutOfRange,
        "items[0].quantity",
    );
    refused(
        &mut shop,
        quoted("B", 1, eur(1)),
        Reason::CurrencyMismatch,
        "items[1].quoted_price",
    );
    let dear = quoted("B", 1_000_000, gbp(i64::MAX / 1_000));
    refused(&mut shop, dear, Reason::AmountOverflow, "items[1].quantity");
    assert!(shop.log.is_empty());
}

#[test]
fn a_cart_has_a_limit_of_lines() {
    let mut shop = Shop::with(CheckoutSettings {
        max_lines: 2,
        ..CheckoutSettings::default()
    });
    let three = vec![item("A", 1), item("B", 1), item("C", 1)];
    let rejection = shop
        .when(Shop::opening(three))
        .rejected(Reason::TooManyLines);
    assert_eq!(rejection.field.as_deref(), Some("items"));
    shop.cart(vec![item("A", 1), item("B", 1), item("A", 1)]);
    let add = |name| AddItem {
        cart_id: cart_id("o"),
        item: item(name, 1),
    };
    let rejection = shop.when(add("C")).rejected(Reason::TooManyLines);
    assert_eq!(rejection.field.as_deref(), Some("sku"));
    shop.when(add("A")).then_types(&["CartItemQuantityChanged"]);
}

#[test]
fn an_idle_cart_is_abandoned_and_each_change_gives_it_more_time() {
    let settings = CheckoutSettings {
        cart_idle_ms: 60_000,
        ..CheckoutSettings::default()
    };
    let mut shop = Shop::with(settings);
    shop.cart(vec![item("A", 1)]);
    assert_eq!(shop.context.next_due(&shop.state), Some(minute(1)));
    assert!(shop.at(minute(0).plus_millis(59_999)).is_empty());
    shop.when(AddItem {
        cart_id: cart_id("o"),
        item: item("A", 1),
    })
    .accepted();
    assert!(shop.at(minute(1)).is_empty(), "it was touched");
    let decisions = shop.at(minute(2));
    let abandoned = CartAbandoned {
        idle_since: minute(0).plus_millis(59_999),
    };
    assert_eq!(decisions[0].events[0].body, cart_event(abandoned));
    assert_eq!(shop.context.next_due(&shop.state), None);
    let add = AddItem {
        cart_id: cart_id("o"),
        item: item("A", 1),
    };
    shop.when(add).rejected(Reason::CartAbandoned);
    shop.when(Shop::check_out()).rejected(Reason::CartAbandoned);
}

#[test]
fn a_given_business_time_moves_no_timer() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 1)]);
    let long_ago = minute(-1_000_000);
    let check_out = crate::CheckOut {
        occurred_at: Some(long_ago),
        ..Shop::check_out()
    };
    let outcome = shop.when(check_out);
    assert!(
        outcome
            .decision
            .events
            .iter()
            .all(|event| event.occurred_at == long_ago)
    );
    outcome.accepted();
    assert_eq!(shop.context.next_due(&shop.state), Some(minute(30)));
}

#[test]
fn an_order_number_of_the_shop_travels_to_the_order() {
    let mut shop = Shop::new();
    let number: Option<Reference> = Some(reference("536365"));
    shop.when(CreateCart {
        external_reference: number.clone(),
        ..Shop::opening(vec![item("A", 1)])
    })
    .accepted();
    let outcome = shop.when(Shop::check_out());
    let EventBody::Order(cartwright_events::order::OrderEvent::Created(created)) =
        &outcome.decision.events[1].body
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(created.external_reference, number);
    assert_eq!(created.customer_id, Some(customer("c1")));
    assert_eq!(created.ship_to_country, Some(country("France")));
}
