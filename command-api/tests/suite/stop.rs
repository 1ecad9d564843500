//! Stopping.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use cartwright_event_log::memory::Fault;
use cartwright_events::{Context, Stream};
use cartwright_service::config::Http;
use cartwright_service::shutdown::{self, Shutdown};

use crate::harness::{Service, log, settings, until};

const LIMIT: Duration = Duration::from_secs(20);

/// One request over a connection of its own; returns the status.
fn post(address: SocketAddr, key: usize) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = r#"{"quantity":1}"#;
    write!(
        stream,
        "POST /v1/stock/sku-{key}/receipts HTTP/1.1\r\nhost: x\r\nidempotency-key: \"k{key}\"\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_answered_before_the_end() {
    const REQUESTS: usize = 20;
    let log = log();
    // Both shards are held, so that every request is still in flight when the stop is asked for.
    for partition in 0..2 {
        let id = Context::Inventory.transactional_id(partition);
        for _ in 0..10_000 {
            log.inject_for(&id, Fault::TakeOverError);
        }
    }
    let mut settings = settings("");
    settings.shard.take_over_backoff_ms = 1;
    settings.shard.take_over_backoff_max_ms = 5;
    let mut service = Service::starting(log, &settings);
    let running = service.take_running();

    let shutdown = Shutdown::new();
    let http = Http::at("127.0.0.1:0".parse().unwrap());
    let listener = shutdown::bind(http.listen).unwrap();
    let address = listener.local_addr().unwrap();
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let router = service
        .router
        .clone()
        .layer(from_fn(move |request: Request, next: Next| {
            count.fetch_add(1, Ordering::SeqCst);
            next.run(request)
        }));
    let (readiness, stop) = (service.readiness.clone(), shutdown.clone());
    let serving =
        tokio::spawn(
            async move { shutdown::serve(listener, router, &http, &readiness, &stop).await },
        );
    let clients: Vec<_> = (0..REQUESTS)
        .map(|key| std::thread::spawn(move || post(address, key)))
        .collect();
    until(|| arrived.load(Ordering::SeqCst) == REQUESTS).await;

    shutdown.trigger();
    until(|| service.readiness.report().draining).await;
    service.log.clear_faults();
    assert_eq!(serving.await.unwrap().cut_off, 0);
    let stopped = tokio::task::spawn_blocking(move || running.stop(LIMIT))
        .await
        .unwrap();
    assert!(stopped);
    for client in clients {
        assert_eq!(client.join().unwrap(), 201);
    }
    assert_eq!(service.events(Stream::Stock).len(), REQUESTS);
}
