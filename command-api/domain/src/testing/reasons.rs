//! Every reason of the table can be met: the match below has a case for each.

use crate::catalog::Catalog;
use crate::inventory::Inventory;
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::testing::*;
use crate::{
    AddItem, AdjustStock, Cancel, ChangePrice, CheckOut, CheckoutCommand, CheckoutSettings,
    CreateCart, CreateProduct, NewItem, ReceiveStock, RemoveItem, RetireProduct, Return, Ship,
    at_version,
};

fn refused(shop: &mut Shop, command: impl Into<CheckoutCommand>) -> Rejection {
    shop.when(command).answer.expect_err("a rejection")
}

fn adding(item: NewItem) -> Rejection {
    let mut shop = Shop::new();
    refused(
        shop.cart(vec![]),
        AddItem {
            cart_id: cart_id("o"),
            item,
        },
    )
}

fn ship(units: Option<&[(u32, i64)]>) -> Ship {
    Ship {
        order_id: order_id("o"),
        shipment_id: reference("s"),
        lines: units.map(lines),
        occurred_at: None,
    }
}

fn cancel() -> Cancel {
    Cancel {
        order_id: order_id("o"),
        reference: None,
        note: None,
        occurred_at: None,
    }
}

fn shipping(units: Option<&[(u32, i64)]>) -> Rejection {
    let mut shop = Shop::new();
    refused(shop.paid(vec![item("A", 1)]), ship(units))
}

fn check_out_at(minutes: i64, settings: CheckoutSettings) -> Rejection {
    let mut shop = Shop::with(settings);
    let occurred_at = Some(minute(minutes));
    refused(
        &mut shop,
        CheckOut {
            occurred_at,
            ..Shop::check_out()
        },
    )
}

fn creating(name: &str, price_minor: i64, earlier: bool) -> Rejection {
    let mut scene = Scene::new(Catalog::default(), minute(0));
    let product = |name: &str, price| CreateProduct {
        sku: sku("A"),
        name: name.to_owned(),
        description: None,
        price: gbp(price),
    };
    if earlier {
        scene.when(product("first", 1)).accepted();
    }
    scene
        .when(product(name, price_minor))
        .answer
        .expect_err("a rejection")
}

fn pricing(retired: bool) -> Rejection {
    let mut scene = Scene::new(Catalog::default(), minute(0));
    scene
        .when(CreateProduct {
            sku: sku("A"),
            name: "a".to_owned(),
            description: None,
            price: gbp(1),
        })
        .accepted();
    if retired {
        scene.when(RetireProduct { sku: sku("A") }).accepted();
    }
    let price = if retired { gbp(2) } else { eur(1) };
    scene
        .when(ChangePrice {
            sku: sku("A"),
            price,
        })
        .answer
        .expect_err("a rejection")
}

fn stock(commands: &[(i64, &str)], below: bool) -> Rejection {
    let mut scene = Scene::new(Inventory::default(), minute(0));
    let mut last = None;
    for (quantity, name) in commands {
        let command = ReceiveStock {
            sku: sku("A"),
            quantity: *quantity,
            reference: Some(reference(name)),
        };
        last = Some(scene.when(command).answer);
    }
    if below {
        let command = AdjustStock {
            sku: sku("A"),
            delta: -1,
            reason: "counted".to_owned(),
            reference: None,
        };
        last = Some(scene.when(command).answer);
    }
    last.expect("a command").expect_err("a rejection")
}

fn provoke(reason: Reason) -> Rejection {
    let mut shop = Shop::new();
    let one = || vec![item("A", 1)];
    match reason {
        Reason::TextOutOfRange => creating("", 1, false),
        Reason::PriceNotPositive => creating("a", 0, false),
        Reason::ProductExists => creating("second", 1, true),
        Reason::CurrencyMismatch => pricing(false),
        Reason::ProductRetired => pricing(true),
        Reason::QuantityOutOfRange => stock(&[(0, "r")], false),
        Reason::AmountOverflow => stock(&[(i64::MAX, "r"), (1, "s")], false),
        Reason::ReferenceReused => stock(&[(1, "r"), (2, "r")], false),
        Reason::StockBelowZero => stock(&[], true),
        Reason::PriceGivenTwice => adding(NewItem {
            expected_price: Some(gbp(1)),
            ..quoted("A", 1, gbp(1))
        }),
        Reason::UnknownProduct => adding(item("X", 1)),
        Reason::PriceChanged => adding(expecting("A", 1, gbp(1))),
        Reason::QuotedPriceNotAllowed => {
            let mut shop = Shop::with(CheckoutSettings::default());
            refused(&mut shop, Shop::opening(vec![quoted("A", 1, gbp(1))]))
        }
        Reason::OccurredAtNotAllowed => check_out_at(0, CheckoutSettings::default()),
        Reason::OccurredAtInFuture => check_out_at(6, shop.context.settings.clone()),
        Reason::UnknownCart => refused(&mut shop, Shop::check_out()),
        Reason::UnknownOrder => refused(&mut shop, cancel()),
        Reason::UnknownLine => {
            let command = RemoveItem {
                cart_id: cart_id("o"),
                line: 2,
            };
            refused(shop.cart(one()), command)
        }
        Reason::CartExists => refused(shop.cart(one()), Shop::opening(vec![])),
        Reason::CartCheckedOut => {
            let command = AddItem {
                cart_id: cart_id("o"),
                item: item("A", 1),
            };
            refused(shop.placed(one()), command)
        }
        Reason::CartAbandoned => {
            shop.cart(one()).at(minute(24 * 60));
            refused(&mut shop, Shop::check_out())
        }
        Reason::CartEmpty => refused(shop.cart(vec![]), Shop::check_out()),
        Reason::TooManyLines => {
            shop.context.settings.max_lines = 0;
            refused(
                &mut shop,
                CreateCart {
                    customer_id: None,
                    ..Shop::opening(one())
                },
            )
        }
        Reason::TotalChanged => {
            let expected_total = Some(gbp(1));
            refused(
                shop.cart(one()),
                CheckOut {
                    expected_total,
                    ..Shop::check_out()
                },
            )
        }
        Reason::AmountNotPositive => refused(&mut shop, captured("p/1", gbp(0))),
        Reason::OperationReused => {
            shop.pay(captured("p/1", gbp(1))).accepted();
            refused(&mut shop, captured("p/1", gbp(2)))
        }
        Reason::OrderNotPaid => refused(shop.confirmed(one()), ship(None)),
        Reason::OrderEnded => {
            shop.placed(one()).at(minute(30));
            refused(&mut shop, cancel())
        }
        Reason::OrderAlreadyShipped => refused(shop.shipped(one()), cancel()),
        Reason::NothingLeftToShip => {
            let shipment_id = reference("again");
            refused(
                shop.shipped(one()),
                Ship {
                    shipment_id,
                    ..ship(None)
                },
            )
        }
        Reason::LinesMissing => shipping(Some(&[])),
        Reason::LineRepeated => shipping(Some(&[(1, 1), (1, 1)])),
        Reason::QuantityExceedsOrder => shipping(Some(&[(1, 2)])),
        Reason::ReturnExceedsShipped => refused(
            shop.paid(one()),
            Return {
                order_id: order_id("o"),
                return_id: reference("r"),
                lines: lines(&[(1, 1)]),
                restock: true,
                occurred_at: None,
            },
        ),
        // Given by the shard, which knows of keys, of records and of decisions that broke.
        Reason::IdempotencyKeyReused | Reason::TooLarge | Reason::NotDecided => {
            Rejection::new(reason, reason.title())
        }
        Reason::VersionMismatch => at_version(2, 3).expect_err("a rejection"),
    }
}

#[test]
fn every_reason_of_the_table_can_be_met() {
    for reason in Reason::ALL {
        let rejection = provoke(*reason);
        assert_eq!(
            (rejection.reason.as_str(), rejection.kind),
            (reason.code(), reason.kind())
        );
        assert!(!rejection.detail.is_empty());
        // In a problem document such a name would be the document's own (RFC 9457, 3.1).
        let own = [
            "type", "title", "status", "detail", "instance", "code", "errors",
        ];
        let taken = own.iter().find(|name| rejection.data.contains_key(**name));
        assert_eq!(taken, None, "{reason:?}");
    }
}
