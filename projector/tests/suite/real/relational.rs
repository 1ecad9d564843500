//! PostgreSQL: rows as in memory, and search, timelines and reports.

use std::collections::BTreeMap;

use cartwright_events::order::OrderEvent;
use cartwright_events::{Event, EventBody, Timestamp};
use cartwright_read_model::postgres::{
    ReportBy, SalesQuery, SalesRow, SearchCursor, currencies, list_products, sales_report,
    search_products, timeline,
};
use cartwright_read_model::tables::projections::SALES;
use cartwright_sinks::Semantics;
use serde_json::json;

use super::stores::{self, in_order};
use crate::history::{History, event, price_changed, product_created};
use crate::setup::{TestLog, plan, rows};

#[test]
fn rows_are_those_of_the_store_in_memory() {
    let Some(store) = stores::postgres() else {
        return;
    };
    let log = TestLog::with(&History::new(21, 40).events);
    for name in ["catalog", "sales", "timeline"] {
        let plan = plan(name);
        store.project(&log, &plan);
        let expected = rows(&log.project(name, Semantics::Transactional), name);
        assert_eq!(store.rows(&plan), in_order(expected), "{name}");
    }
}

/// The order that nothing tells the making of: that event was given up. It is paid, and paid back.
const NEVER_MADE: u64 = 8;

/// Orders of several days and countries, some unpaid, some with refunds days later.
fn sales() -> Vec<Event> {
    let mut events = Vec::new();
    for number in 0..60_u64 {
        let id = format!("order-{number}");
        let minute = number * 31;
        let country = ["Norway", "Ghana", ""][number as usize % 3];
        let lines: Vec<_> = (0..=number % 3)
            .map(|line| {
                let (quantity, price) = (line + 1, 100 + number);
                json!({
                    "line": line + 1, "sku": format!("sku-{}", (number + line) % 5),
                    "name": "Thing", "quantity": quantity, "unit_price_minor": price,
                    "line_total_minor": quantity * price,
                })
            })
            .collect();
        let sum = |field: &str| {
            lines
                .iter()
                .filter_map(|line| line[field].as_u64())
                .sum::<u64>()
        };
        let total = sum("line_total_minor");
        let to = (!country.is_empty()).then_some(country);
        let created = event(
            &id,
            1,
            minute,
            "OrderCreated",
            json!({
                "cart_id": id, "currency": "EUR", "ship_to_country": to, "lines": lines,
                "units": sum("quantity"), "total_minor": total,
                "payment_deadline": "2026-03-09T00:00:00Z",
            }),
        );
        events.extend((number != NEVER_MADE).then_some(created));
        if number % 7 != 0 {
            events.push(event(
                &id,
                2,
                minute + 1,
                "OrderPaid",
                json!({
                    "total_minor": total, "captured_minor": total, "currency": "EUR",
                }),
            ));
        }
        if number % 3 != 1 {
            let units = sum("quantity");
            let shipped = if number % 3 == 0 { units } else { 1 };
            events.push(event(
                &id,
                2,
                minute + 2,
                "OrderShipped",
                json!({
                    "shipment_id": "s", "shipped_units": shipped,
                    "fully_shipped": shipped == units,
                    "lines": [{"line": 1, "sku": lines[0]["sku"], "quantity": shipped}],
                }),
            ));
        }
        if number % 4 == 0 {
            let line = &lines[0];
            events.push(event(
                &id,
                3,
                minute + 300,
                "OrderReturned",
                json!({
                    "return_id": "r", "charge_minor": 100 + number, "currency": "EUR",
                    "lines": [{"line": 1, "sku": line["sku"], "quantity": 1,
                               "charge_minor": 100 + number}],
                    "ship_to_country": to, "restock": true, "returned_units": 1,
                    "refund_due_minor": 100 + number,
                }),
            ));
            events.push(event(
                &id,
                4,
                minute + 400,
                "OrderPaymentRefunded",
                json!({
                    "payment_id": "p", "operation_id": "o", "amount_minor": 100 + number,
                    "currency": "EUR", "refunded_minor": 100 + number,
                    "shares": [{"line": 1, "sku": line["sku"], "amount_minor": 100 + number}],
                    "ship_to_country": to, "refund_due_minor": 0,
                }),
            ));
        }
    }
    events
}

/// The report, worked out from the events one by one.
fn expected(events: &[Event], by: ReportBy, from: Timestamp, to: Timestamp) -> Vec<SalesRow> {
    let order = |event: &Event| match &event.body {
        EventBody::Order(order) => order.clone(),
        other => panic!("{other:?}"),
    };
    let is_sale = |id: &str| {
        let of = |event: &&Event| event.aggregate_id == id;
        let is =
            |is: fn(&OrderEvent) -> bool| events.iter().filter(of).any(|event| is(&order(event)));
        is(|event| matches!(event, OrderEvent::Created(_)))
            && is(|event| matches!(event, OrderEvent::Paid(_)))
    };
    let has_left = |id: &str| {
        let mut events = events.iter().filter(|event| event.aggregate_id == id);
        events.any(|event| matches!(order(event), OrderEvent::Shipped(of) if of.fully_shipped))
    };
    let day = |time: Timestamp| time.to_string()[..10].to_owned();
    let mut rows: BTreeMap<String, SalesRow> = BTreeMap::new();
    let in_time = |event: &&Event| (from..to).contains(&event.occurred_at);
    for event in events
        .iter()
        .filter(in_time)
        .filter(|event| is_sale(&event.aggregate_id))
    {
        let key = |country: Option<&cartwright_events::Country>, sku: &str| match by {
            ReportBy::Day => day(event.occurred_at),
            ReportBy::Country => country.map_or("", |country| country.as_str()).to_owned(),
            ReportBy::Product => sku.to_owned(),
        };
        let left = i64::from(has_left(&event.aggregate_id));
        let mut add = |key: String, [orders, units, back, gross, refunded]: [i64; 5]| {
            let row = rows.entry(key.clone()).or_insert(SalesRow {
                key,
                orders: 0,
                units: 0,
                returned_units: 0,
                gross_minor: 0,
                refunded_minor: 0,
                net_minor: 0,
                orders_shipped: Some(0),
            });
            row.orders += orders;
            row.orders_shipped = row.orders_shipped.map(|shipped| shipped + orders * left);
            row.units += units;
            row.returned_units += back;
            row.gross_minor += gross;
            row.refunded_minor += refunded;
            row.net_minor += gross - refunded;
        };
        match order(event) {
            OrderEvent::Created(created) => {
                let country = created.ship_to_country.as_ref();
                for (index, line) in created.lines.iter().enumerate() {
                    // An order counts once a day or country, and once for each of its products.
                    let first = index == 0 || by == ReportBy::Product;
                    let numbers = [i64::from(first), line.quantity, 0, line.line_total_minor, 0];
                    add(key(country, line.sku.as_str()), numbers);
                }
            }
            OrderEvent::Returned(returned) => {
                for line in &returned.lines {
                    let country = returned.ship_to_country.as_ref();
                    add(key(country, line.sku.as_str()), [0, 0, line.quantity, 0, 0]);
                }
            }
            OrderEvent::PaymentRefunded(refunded) => {
                for share in &refunded.shares {
                    let country = refunded.ship_to_country.as_ref();
                    add(
                        key(country, share.sku.as_str()),
                        [0, 0, 0, 0, share.amount_minor],
                    );
                }
            }
            _ => {}
        }
    }
    rows.into_values().collect()
}

#[test]
fn reports_add_up_to_the_events() {
    let Some(store) = stores::postgres() else {
        return;
    };
    let events = sales();
    store.project(&TestLog::with(&events), &plan("sales"));
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let spans = [
        (None, None),
        (
            Some(time("2026-03-01T00:00:00Z")),
            Some(time("2026-03-02T00:00:00Z")),
        ),
        (
            Some(time("2026-03-01T08:00:00Z")),
            Some(time("2026-03-01T20:00:00Z")),
        ),
    ];
    for by in [ReportBy::Day, ReportBy::Country, ReportBy::Product] {
        for (from, to) in spans {
            let mut pages = Vec::new();
            loop {
                let last: Option<&SalesRow> = pages.last();
                let query = SalesQuery {
                    by,
                    currency: "EUR".to_owned(),
                    from,
                    to,
                    after_key: last.map(|row| row.key.clone()),
                    limit: 2,
                };
                let page = store
                    .with_postgres(async |client| sales_report(client, &SALES, 1, &query).await);
                if page.is_empty() {
                    break;
                }
                pages.extend(page);
            }
            let (start, end) = (
                from.unwrap_or(Timestamp::EPOCH),
                time("2027-01-01T00:00:00Z"),
            );
            assert_eq!(
                pages,
                expected(&events, by, start, to.unwrap_or(end)),
                "{by:?}"
            );
            assert!(!pages.is_empty());
        }
    }
    assert_eq!(
        store.with_postgres(async |client| currencies(client, 1).await),
        ["EUR"]
    );
}

#[test]
fn search_finds_words_halves_of_words_and_near_words() {
    let Some(store) = stores::postgres() else {
        return;
    };
    let product = |sku: &str, name: &str, description: &str| {
        let data = json!({
            "name": name, "description": description, "price_minor": 5, "currency": "EUR",
        });
        event(sku, 1, 0, "ProductCreated", data)
    };
    let retired = event(
        "OLD",
        2,
        3,
        "ProductRetired",
        json!({"price_minor": 5, "currency": "EUR"}),
    );
    let mut events = vec![
        product("22423", "REGENCY CAKESTAND 3 TIER", "for tea"),
        product(
            "85123A",
            "WHITE HANGING HEART T-LIGHT HOLDER",
            "holds a candle",
        ),
        product("OLD", "WHITE HANGING THING", ""),
        product("50%", "HALF PRICE_TAG", ""),
        retired,
        price_changed("22423", 2, 1_295),
        // What made it was given up.
        price_changed("85123B", 2, 1_295),
    ];
    events.extend((0..7).map(|number| product_created(&format!("mug-{number}"), 3)));
    store.project(&TestLog::with(&events), &plan("catalog"));
    let find = |text: &str, after: Option<&SearchCursor>, limit: u32| {
        store.with_postgres(async |client| search_products(client, 1, text, after, limit).await)
    };
    let skus = |text: &str| -> Vec<String> {
        find(text, None, 50)
            .into_iter()
            .map(|hit| hit.product.sku)
            .collect()
    };
    assert_eq!(skus("hanging heart"), ["85123A"]);
    assert_eq!(skus("candle"), ["85123A"], "in the description");
    assert_eq!(skus("cakest"), ["22423"], "half a word");
    assert_eq!(skus("cakstand"), ["22423"], "a typing error");
    assert_eq!(skus("85123a"), ["85123A"], "a SKU in any case");
    assert_eq!(skus("white"), ["85123A"], "nothing retired");
    assert_eq!(skus("%"), ["50%"], "the pattern's own signs");
    assert_eq!(skus("zzzzqq"), Vec::<String>::new());
    let whole = find("thing", None, 50);
    assert_eq!(whole.len(), 7);
    let mut paged = find("thing", None, 3);
    while let Some(last) = paged.last() {
        let cursor = SearchCursor {
            score: last.score,
            sku: last.product.sku.clone(),
        };
        let page = find("thing", Some(&cursor), 3);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, whole);
    let all = store.with_postgres(async |client| list_products(client, 1, None, false, 100).await);
    assert_eq!(all.len(), 10);
    let after = store
        .with_postgres(async |client| list_products(client, 1, Some("85123A"), true, 100).await);
    assert_eq!(after.len(), 8, "the mugs and the retired thing");
    let after =
        store.with_postgres(async |client| list_products(client, 1, Some("85123A"), true, 1).await);
    assert_eq!(after.len(), 1, "what is no product takes no place");
}

#[test]
fn a_timeline_tells_the_cart_and_then_its_order() {
    let Some(store) = stores::postgres() else {
        return;
    };
    let history = History::new(22, 20);
    store.project(&TestLog::with(&history.events), &plan("timeline"));
    for number in 0..20 {
        let id = format!("cart-{number}");
        let of = |event: &&Event| event.aggregate_id == id;
        let told: Vec<&str> = history
            .events
            .iter()
            .filter(of)
            .map(|event| event.body.type_name())
            .collect();
        let mut read: Vec<String> = Vec::new();
        let mut after: Option<(String, u64)> = None;
        loop {
            let from = after.as_ref().map(|(stream, seq)| (stream.as_str(), *seq));
            let page = store.with_postgres(async |client| timeline(client, 1, &id, from, 4).await);
            let Some(last) = page.last() else { break };
            after = Some((last.stream.clone(), last.seq));
            read.extend(page.into_iter().map(|row| row.r#type));
        }
        assert_eq!(read, told, "{id}");
    }
}
