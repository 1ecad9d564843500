//! Snapshots as earlier code wrote them, one of every kind of aggregate. They must restore for as
//! long as their format number is read: a shard's snapshots are older than the code that loads them.
//!
//! A field may be added with a default; these files stay as they are. After any other change of a
//! snapshot the format gets a new number (`command-api/shard/src/snapshots/format.rs`), and these
//! files are written anew.

use cartwright_events::messages::{ReserveStock, StockQuantity};
use serde_json::Value;

use super::*;
use crate::{
    BoundedContext, Catalog, ChangePrice, CreateProduct, Inventory, InventorySettings, ReceiveStock,
};

/// What is there is there: `now` may have more.
fn assert_holds(now: &Value, kept: &Value, at: &str) {
    match (now, kept) {
        (Value::Object(now), Value::Object(kept)) => {
            for (name, value) in kept {
                let at = format!("{at}.{name}");
                assert_holds(now.get(name).expect(&at), value, &at);
            }
        }
        (Value::Array(now), Value::Array(kept)) => {
            assert_eq!(now.len(), kept.len(), "{at}");
            for (now, kept) in now.iter().zip(kept) {
                assert_holds(now, kept, at);
            }
        }
        _ => assert_eq!(now, kept, "{at}"),
    }
}

/// The aggregate that `scene` has made, written as a snapshot and as `kept`, is the same; and what
/// is kept is restored to what the events make.
fn check<C>(scene: &Scene<C>, id: &str, kept: &str)
where
    C: BoundedContext,
    C::State: PartialEq + std::fmt::Debug,
{
    let context = &scene.context;
    let written = context.snapshot(&scene.state, id).expect("an aggregate");
    let written = serde_json::to_value(&written).expect("JSON");
    let kept: Value = serde_json::from_str(kept).expect("JSON");
    let snapshot = serde_json::from_value(kept.clone()).expect("it can be read");
    let mut restored = C::State::default();
    context.restore(&mut restored, id, snapshot);
    assert_eq!(restored, scene.state, "it is what the events make");
    assert_holds(&written, &kept, id);
}

#[test]
fn a_product_of_earlier_code_is_restored() {
    let mut scene = Scene::new(Catalog::default(), minute(0));
    let create = CreateProduct {
        sku: sku("mug"),
        name: "A mug".to_owned(),
        description: None,
        price: gbp(500),
    };
    scene.when(create).accepted();
    let change = ChangePrice {
        sku: sku("mug"),
        price: gbp(450),
    };
    scene.when(change).accepted();
    check(&scene, "mug", include_str!("golden/product.json"));
}

#[test]
fn a_stock_item_of_earlier_code_is_restored() {
    let settings = InventorySettings {
        inventory_partitions: 1,
        checkout_partitions: 1,
    };
    let mut scene = Scene::new(Inventory { settings }, minute(0));
    let receipt = ReceiveStock {
        sku: sku("A"),
        quantity: 10,
        reference: Some(reference("delivery-1")),
    };
    scene.when(receipt).accepted();
    scene.receive(ReserveStock {
        order_id: order_id("o"),
        items: vec![StockQuantity {
            sku: sku("A"),
            quantity: 3,
        }],
    });
    check(&scene, "A", include_str!("golden/stock_item.json"));
}

#[test]
fn an_open_cart_of_earlier_code_is_restored() {
    let mut shop = Shop::new();
    shop.cart(vec![item("A", 2), item("B", 1)]);
    check(&shop, "o", include_str!("golden/cart.json"));
}

#[test]
fn an_order_of_earlier_code_is_restored() {
    let mut shop = Shop::new();
    shop.shipped(vec![item("A", 2), item("B", 1)]);
    check(&shop, "o", include_str!("golden/order.json"));
}
