//! The price table, and commands that wait for it.

use std::sync::Arc;
use std::time::Duration;

use cartwright_command_api::prices::{PriceTable, PricesError, TableState};
use cartwright_domain::Prices;
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::catalog::{
    ProductCreated, ProductEvent, ProductPriceChanged, ProductRetired,
};
use cartwright_events::codec::Codec;
use cartwright_events::wire::Wire;
use cartwright_events::{Currency, Event, PositionToken, Sku, Stream, Timestamp};
use serde_json::json;

use crate::harness::{Call, Service, log, settings, until};

const LONG: Duration = Duration::from_secs(20);

fn gbp() -> Currency {
    Currency::new("GBP").unwrap()
}

fn created(price_minor: i64) -> ProductEvent {
    let name = "Mug".to_owned();
    ProductEvent::Created(ProductCreated {
        name,
        description: None,
        price_minor,
        currency: gbp(),
    })
}

fn changed(price_minor: i64) -> ProductEvent {
    let old_price_minor = 0;
    ProductEvent::PriceChanged(ProductPriceChanged {
        old_price_minor,
        price_minor,
        currency: gbp(),
    })
}

fn write(log: &MemoryLog, partition: u32, seq: u64, value: Vec<u8>) {
    let mut writer = log.writer("catalog").unwrap();
    writer.take_over().unwrap();
    let headers = vec![
        ("seq", seq.to_string().into_bytes()),
        ("writer_epoch", b"1".to_vec()),
    ];
    let topic = Arc::from(Stream::Product.topic());
    let record = NewRecord {
        topic,
        partition,
        key: b"mug".to_vec(),
        value: Some(value),
        headers,
    };
    writer.commit(vec![record]).unwrap();
}

/// Writes a record of a product that nobody can read, as the `seq`-th of its partition.
pub fn stop_prices(log: &MemoryLog, partition: u32, seq: u64) {
    write(log, partition, seq, b"junk".to_vec());
}

fn write_event(log: &MemoryLog, partition: u32, seq: u64, sku: &str, body: ProductEvent) {
    let event = Event {
        aggregate_id: sku.to_owned(),
        version: seq,
        occurred_at: Timestamp::EPOCH,
        body: body.into(),
    };
    write(log, partition, seq, Codec::fixed().encode_event(&event));
}

fn at(partition: u32, seq: u64) -> PositionToken {
    let mut token = PositionToken::new(1);
    token.raise(Stream::Product, partition, seq);
    token
}

fn price(table: &PriceTable, sku: &str) -> Option<(i64, u64, bool)> {
    let product = table.product(&Sku::new(sku).unwrap())?;
    Some((product.price_minor, product.catalog_seq, product.retired))
}

#[tokio::test]
async fn the_table_is_loaded_to_the_end_and_then_follows() {
    let log = log();
    write_event(&log, 0, 1, "mug", created(500));
    write_event(&log, 1, 1, "cup", created(200));
    write_event(&log, 0, 2, "mug", changed(600));
    let table = PriceTable::new(2, 1);
    let thread = table.follow(log.clone(), Codec::fixed()).unwrap();
    table.loaded(LONG).await.unwrap();
    assert_eq!(price(&table, "mug"), Some((600, 2, false)));
    assert_eq!(price(&table, "cup"), Some((200, 1, false)));
    assert_eq!(price(&table, "pan"), None);

    write_event(&log, 1, 2, "cup", changed(250));
    let retired = ProductRetired {
        price_minor: 250,
        currency: gbp(),
    };
    write_event(&log, 1, 3, "cup", ProductEvent::Retired(retired));
    table.holds(&at(1, 3), LONG).await.unwrap();
    assert_eq!(price(&table, "cup"), Some((250, 2, true)));
    assert!(thread.stop(LONG));
}

#[tokio::test]
async fn a_position_that_does_not_come_is_answered_with_what_was_reached() {
    let log = log();
    write_event(&log, 0, 1, "mug", created(500));
    let table = PriceTable::new(2, 1);
    let thread = table.follow(log, Codec::fixed()).unwrap();
    table.loaded(LONG).await.unwrap();
    let behind = table.holds(&at(0, 2), Duration::from_millis(10)).await;
    let reached = "g1:p0=1,p1=0".parse().unwrap();
    assert_eq!(behind, Err(PricesError::Behind { reached }));
    let other = PricesError::OtherLog { log_generation: 1 };
    assert_eq!(table.holds(&at(9, 1), LONG).await, Err(other.clone()));
    assert_eq!(table.holds(&PositionToken::new(2), LONG).await, Err(other));
    assert!(thread.stop(LONG));
}

/// What a table says after it read `value` as the record after the first.
async fn stopped_by(seq: u64, value: Vec<u8>) -> String {
    let log = log();
    write_event(&log, 0, 1, "mug", created(500));
    let table = PriceTable::new(2, 1);
    let thread = table.follow(log.clone(), Codec::fixed()).unwrap();
    table.loaded(LONG).await.unwrap();
    write(&log, 0, seq, value);
    let stopped = table.holds(&at(0, 9), LONG).await;
    assert!(thread.stop(LONG));
    match stopped {
        Err(PricesError::Stopped { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Bytes of a record's branches: a null for each that is not set, and the one that is.
fn branches(body: &ProductEvent) -> usize {
    let mut out = Vec::new();
    body.encode(&mut out);
    out.len()
}

#[tokio::test]
async fn a_record_that_cannot_be_folded_stops_the_table() {
    let event = |sku: &str, body: ProductEvent| {
        let aggregate_id = sku.to_owned();
        let event = Event {
            aggregate_id,
            version: 2,
            occurred_at: Timestamp::EPOCH,
            body: body.into(),
        };
        Codec::fixed().encode_event(&event)
    };
    // No branch is set that this version knows: the last three are the record's branches.
    let head = event("mug", changed(600)).len() - branches(&changed(600));
    let mut newer = event("mug", changed(600));
    newer.truncate(head);
    newer.extend([0; 3]);
    assert!(stopped_by(2, newer).await.contains("newer version"));
    assert!(
        stopped_by(3, event("mug", changed(600)))
            .await
            .contains("seq 3 where 2 was due")
    );
    assert!(
        stopped_by(2, event("cup", changed(600)))
            .await
            .contains("never created")
    );
    assert!(stopped_by(2, b"junk".to_vec()).await.contains("offset"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_table_prices_nothing_and_readiness_says_so() {
    let service = Service::start().await;
    service.product("mug", 500, 0).await;
    let cart = service.cart("mug", 1).await;
    let partition = cartwright_events::partition::partition_of("mug", 2);
    stop_prices(&service.log, partition, 2);
    until(|| !service.readiness.is_ready()).await;
    let stopped = matches!(
        service.app.prices.progress().borrow().state,
        TableState::Stopped { .. }
    );
    assert!(stopped);

    let item = json!({"sku": "mug", "quantity": 1});
    let add = Call::post(&format!("/v1/carts/{cart}/items")).json(&item);
    let refused = service.send(add).await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(503, "prices_unavailable");
    // What needs no price goes on.
    let change = Call::put(&format!("/v1/carts/{cart}/items/1")).json(&json!({"quantity": 3}));
    service.accepted(change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_command_waits_for_the_position_that_it_gives() {
    let service = Service::start_with("[command]\nposition_wait_ms = 20").await;
    let position = service.product("mug", 500, 0).await;
    let body = json!({"currency": "GBP", "items": [{"sku": "mug", "quantity": 1}]});
    let open = |position: &str| {
        Call::post("/v1/carts")
            .header("cartwright-position", position)
            .json(&body)
    };
    service.accepted(open(&position)).await;
    let ahead = service
        .send(open("g1:p0=999"))
        .await
        .problem(504, "position_not_reached");
    assert!(
        ahead["reached"].as_str().unwrap().starts_with("g1:p0="),
        "{ahead}"
    );
    service
        .send(open("g2:p0=1"))
        .await
        .problem(409, "position_of_another_log");
    // Together longer than a token may be, which a queued command takes along.
    let mut many = open(&position);
    for first in [0, 40] {
        let parts: Vec<_> = (first..first + 40).map(|at| format!("o{at}=1")).collect();
        many = many.header("cartwright-position", &format!("g1:{}", parts.join(",")));
    }
    service.send(many).await.problem(400, "position_malformed");
    service
        .send(open("yesterday"))
        .await
        .problem(400, "position_malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_priced_before_the_table_is_loaded() {
    use cartwright_event_log::memory::Fault;
    let log = log();
    write_event(&log, 0, 1, "mug", created(500));
    for _ in 0..10_000 {
        log.inject(Fault::ReaderError);
    }
    let service = Service::starting(log, &settings("[command]\nposition_wait_ms = 20"));
    let body = json!({"currency": "GBP", "items": [{"sku": "mug", "quantity": 1}]});
    let early = service.send(Call::post("/v1/carts").json(&body)).await;
    assert!(early.header("retry-after").is_some());
    early.problem(503, "prices_loading");
}
