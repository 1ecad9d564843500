//! The rules of a product.

use cartwright_events::catalog::{ProductCreated, ProductPriceChanged, ProductRetired};

use super::Catalog;
use crate::reason::Reason;
use crate::testing::*;
use crate::{ChangePrice, CreateProduct, RetireProduct};

fn scene() -> Scene<Catalog> {
    Scene::new(Catalog::default(), minute(0))
}

fn mug(amount_minor: i64) -> CreateProduct {
    CreateProduct {
        sku: sku("mug"),
        name: "A mug".to_owned(),
        description: None,
        price: gbp(amount_minor),
    }
}

fn created(price_minor: i64) -> ProductCreated {
    ProductCreated {
        name: "A mug".to_owned(),
        description: None,
        price_minor,
        currency: currency("GBP"),
    }
}

fn price(amount_minor: i64) -> ChangePrice {
    ChangePrice {
        sku: sku("mug"),
        price: gbp(amount_minor),
    }
}

fn retire() -> RetireProduct {
    RetireProduct { sku: sku("mug") }
}

#[test]
fn a_product_is_created_once() {
    let mut scene = scene();
    scene.given("other", [product_event(created(1))]);
    let accepted = scene.when(mug(500)).then([product_event(created(500))]);
    assert_eq!(
        (accepted.version, accepted.data["price_minor"].as_i64()),
        (1, Some(500))
    );
    scene.when(mug(500)).repeats(1, &[2]);
}

#[test]
fn a_repeated_creation_answers_with_what_happened_then() {
    let mut scene = scene();
    scene.when(mug(500)).accepted();
    scene.when(price(700)).accepted();
    scene.when(retire()).accepted();
    let accepted = scene.when(mug(500)).repeats(1, &[1]);
    assert_eq!(accepted.data["price_minor"], 500);
    assert_eq!(accepted.data["retired"], false);
}

#[test]
fn a_creation_with_other_content_is_refused() {
    let mut scene = scene();
    scene.when(mug(500)).accepted();
    scene.when(price(501)).accepted();
    let others = [
        mug(501),
        CreateProduct {
            name: "Another mug".to_owned(),
            ..mug(500)
        },
        CreateProduct {
            description: Some("Blue".to_owned()),
            ..mug(500)
        },
        CreateProduct {
            price: eur(500),
            ..mug(500)
        },
    ];
    for other in others {
        scene.when(other).rejected(Reason::ProductExists);
    }
}

#[test]
fn names_and_prices_have_limits() {
    let mut scene = scene();
    for name in ["", "  ", "Mug\0", &"x".repeat(501)] {
        let command = CreateProduct {
            name: name.to_owned(),
            ..mug(1)
        };
        let rejection = scene.when(command).rejected(Reason::TextOutOfRange);
        assert_eq!(rejection.field.as_deref(), Some("name"));
    }
    for description in ["x".repeat(5_001), "\0".to_owned()] {
        let command = CreateProduct {
            description: Some(description),
            ..mug(1)
        };
        scene.when(command).rejected(Reason::TextOutOfRange);
    }
    scene.when(mug(0)).rejected(Reason::PriceNotPositive);
    scene.when(mug(-1)).rejected(Reason::PriceNotPositive);
    scene
        .when(CreateProduct {
            name: "ü".repeat(500),
            ..mug(1)
        })
        .accepted();
    scene.when(price(0)).rejected(Reason::PriceNotPositive);
}

#[test]
fn a_price_changes_and_the_same_price_is_a_repeat() {
    let mut scene = scene();
    scene.given("mug", [product_event(created(500))]);
    scene.when(price(500)).repeats(1, &[1]);
    let changed = ProductPriceChanged {
        old_price_minor: 500,
        price_minor: 700,
        currency: currency("GBP"),
    };
    scene.when(price(700)).then([product_event(changed)]);
    scene.when(price(700)).repeats(2, &[2]);
}

#[test]
fn the_currency_is_fixed_for_life() {
    let mut scene = scene();
    scene.given("mug", [product_event(created(500))]);
    scene
        .when(ChangePrice {
            price: eur(700),
            ..price(0)
        })
        .rejected(Reason::CurrencyMismatch);
}

#[test]
fn a_retired_product_takes_no_price_and_retiring_again_is_a_repeat() {
    let mut scene = scene();
    scene.given("mug", [product_event(created(500))]);
    let retired = ProductRetired {
        price_minor: 500,
        currency: currency("GBP"),
    };
    scene.when(retire()).then([product_event(retired)]);
    scene.when(price(700)).rejected(Reason::ProductRetired);
    scene.when(retire()).repeats(2, &[2]);
}

#[test]
fn a_product_that_does_not_exist_is_named() {
    let mut scene = scene();
    assert_eq!(
        scene.when(price(1)).rejected(Reason::UnknownProduct).data["sku"],
        "mug"
    );
    scene.when(retire()).rejected(Reason::UnknownProduct);
}

#[test]
fn an_event_that_does_not_fit_stops_the_fold() {
    use crate::context::BoundedContext;
    let mut scene = scene();
    scene.given("mug", [product_event(created(500))]);
    let fits = cartwright_events::Event {
        aggregate_id: "mug".to_owned(),
        version: 2,
        occurred_at: minute(0),
        body: product_event(ProductRetired {
            price_minor: 500,
            currency: currency("GBP"),
        }),
    };
    let mut events = vec![fits.clone(); 4];
    events[0].version = 3;
    events[1].aggregate_id = "cup".to_owned();
    events[2].body = product_event(created(500));
    events[3].body = product_event(ProductPriceChanged {
        old_price_minor: 1,
        price_minor: 2,
        currency: currency("GBP"),
    });
    for event in events {
        let mut state = scene.refolded();
        assert!(
            scene.context.evolve(&mut state, &event, 2).is_err(),
            "{event:?}"
        );
    }
    let mut state = scene.refolded();
    assert_eq!(scene.context.evolve(&mut state, &fits, 2), Ok(()));
}
