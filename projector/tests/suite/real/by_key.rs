//! Cassandra: rows as in memory, and the reads by key.

use cartwright_events::Stream;
use cartwright_read_model::cassandra::Views;
use cartwright_read_model::rows::OrderStatus;
use cartwright_read_model::tables::projections::ORDERS;
use cartwright_sinks::Semantics;

use super::stores::{self, in_order};
use crate::history::{History, price_changed, product_created};
use crate::setup::{TestLog, plan, rows};

const NAMES: [&str; 4] = ["products", "stock", "carts", "orders"];

#[test]
fn rows_are_those_of_the_store_in_memory() {
    let Some(store) = stores::cassandra() else {
        return;
    };
    let log = TestLog::with(&History::new(11, 25).events);
    for name in NAMES {
        let plan = plan(name);
        store.project(&log, &plan);
        let expected = rows(&log.project(name, Semantics::CellTimes), name);
        assert_eq!(store.rows(&plan), in_order(expected), "{name}");
    }
}

#[test]
fn views_answer_what_the_events_say() {
    let Some(store) = stores::cassandra() else {
        return;
    };
    let mut events = History::new(12, 40).events;
    events.extend([product_created("cup", 5), price_changed("cup", 2, 6)]);
    let log = TestLog::with(&events);
    NAMES
        .iter()
        .for_each(|name| store.project(&log, &plan(name)));
    let session = store.session();
    let views = Views::new(session, store.keyspace());
    store.runtime.block_on(async {
        let product = views
            .product(1, "cup")
            .await
            .expect("a read")
            .expect("a product");
        assert_eq!((product.price_minor, product.version), (6, 2));
        assert!(!product.retired);
        assert_eq!(views.product(1, "nothing").await.expect("a read"), None);
        assert_eq!(views.stock(1, "cup").await.expect("a read"), None);
        let mut paid = 0;
        for number in 0..40 {
            let id = format!("cart-{number}");
            let cart = views.cart(1, &id).await.expect("a read").expect("a cart");
            let order = views.order(&ORDERS, 1, &id).await.expect("a read");
            assert_eq!(cart.cart.order_id.is_some(), order.is_some());
            let of_cart = |event: &&cartwright_events::Event| event.aggregate_id == id;
            let versions = events
                .iter()
                .filter(of_cart)
                .filter(|event| event.body.stream() == Stream::Order);
            if let Some(order) = order {
                assert_eq!(order.order.version, versions.count() as u64);
                assert_eq!(
                    order.order.total_minor,
                    100 * order.order.lines.len() as i64
                );
                let is_paid = matches!(
                    order.status,
                    OrderStatus::Paid | OrderStatus::Shipped | OrderStatus::PartiallyShipped
                );
                assert_eq!(is_paid, order.order.paid_at.is_some());
                paid += u32::from(is_paid);
            }
        }
        assert!(paid > 0);
        // Pages put together are the whole list, newest first.
        let whole = views
            .customer_orders(1, "customer-1", None, 1_000)
            .await
            .expect("a read");
        let mut paged = Vec::new();
        loop {
            let last: Option<&cartwright_read_model::rows::CustomerOrderRow> = paged.last();
            let after = last.map(|row| (row.occurred_at, row.order_id.clone()));
            let after = after.as_ref().map(|(time, id)| (*time, id.as_str()));
            let page = views
                .customer_orders(1, "customer-1", after, 3)
                .await
                .expect("a read");
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert!(whole.len() > 3);
        assert_eq!(paged, whole);
        assert!(whole.is_sorted_by(|a, b| a.occurred_at >= b.occurred_at));
    });
}
