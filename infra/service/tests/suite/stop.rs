use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cartwright_service::config::Http;
use cartwright_service::health::Readiness;
use cartwright_service::shutdown::{Drained, Shutdown, bind, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::http_client::{LOOPBACK, assembled};

/// Far longer than anything here takes: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    shutdown: Shutdown,
    entered: Arc<Notify>,
    leave: Arc<Notify>,
    served: JoinHandle<Drained>,
}

/// Serves `/slow`, which says when it was entered and answers when it is let go, `/fast`, and `/large`,
/// which no socket holds.
async fn start(http: Http) -> Running {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&entered), Arc::clone(&leave));
    let slow = async move || {
        gate.0.notify_one();
        gate.1.notified().await;
        "finished"
    };
    let routes = Router::new()
        .route("/slow", get(slow))
        .route("/fast", get(async || "fast"))
        .route("/large", get(async || "x".repeat(64 << 20)));
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let router = assembled(routes, &http, &readiness);
    let listener = bind(http.listen).unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn({
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move { serve(listener, router, &http, &readiness, &shutdown).await }
    });
    Running {
        address,
        readiness,
        shutdown,
        entered,
        leave,
        served,
    }
}

async fn request(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server closes the connection.
async fn read_to_end(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that is cut off may end in a reset.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text))
        .await
        .unwrap();
    String::from_utf8(text).unwrap()
}

async fn drained(served: JoinHandle<Drained>) -> Drained {
    tokio::time::timeout(PATIENCE, served)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_service_stops() {
    let running = start(Http::at(LOOPBACK)).await;
    let idle = TcpStream::connect(running.address).await.unwrap();
    let slow = request(running.address, "/slow").await;
    running.entered.notified().await;

    running.shutdown.trigger();
    // The idle connection ends although the slow request goes on; the listener is closed by then.
    assert_eq!(read_to_end(idle).await, "");
    assert!(!running.served.is_finished());
    assert!(!running.readiness.is_ready());
    assert!(TcpStream::connect(running.address).await.is_err());

    running.leave.notify_one();
    let answer = read_to_end(slow).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("finished"),
        "{answer}"
    );
    assert_eq!(drained(running.served).await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_limit_is_cut_off() {
    let http = Http {
        drain_limit_ms: 1,
        ..Http::at(LOOPBACK)
    };
    let running = start(http).await;
    let slow = request(running.address, "/slow").await;
    running.entered.notified().await;
    running.shutdown.trigger();
    assert_eq!(drained(running.served).await, Drained { cut_off: 1 });
    assert_eq!(read_to_end(slow).await, "");
}

#[tokio::test]
async fn during_the_drain_delay_requests_are_still_answered_but_readiness_is_withdrawn() {
    let http = Http {
        drain_delay_ms: PATIENCE.as_millis() as u64 * 10,
        ..Http::at(LOOPBACK)
    };
    let running = start(http).await;
    running.shutdown.trigger();
    let withdrawn = async {
        while running.readiness.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, withdrawn).await.unwrap();
    let mut stream = request(running.address, "/readyz").await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 503");
    running.served.abort();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_one_to_end() {
    let http = Http {
        max_connections: 1,
        ..Http::at(LOOPBACK)
    };
    let running = start(http).await;
    let first = request(running.address, "/slow").await;
    running.entered.notified().await;
    let mut second = request(running.address, "/fast").await;
    let mut start = [0; 12];
    // Nothing can announce that an answer will not come; without the limit it comes far sooner.
    let waited = Duration::from_millis(50);
    let early = tokio::time::timeout(waited, second.read_exact(&mut start)).await;
    assert!(early.is_err(), "answered beyond the limit");
    drop(first);
    tokio::time::timeout(PATIENCE, second.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    running.served.abort();
}

#[tokio::test]
async fn a_connection_that_sends_no_request_is_closed() {
    let http = Http {
        idle_timeout_ms: 1,
        ..Http::at(LOOPBACK)
    };
    let running = start(http).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /fast HTTP/1.1\r\n").await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(!answer.contains("200"), "{answer}");
    running.served.abort();
}

#[tokio::test]
async fn a_client_that_takes_none_of_its_answer_does_not_keep_its_connection() {
    let http = Http {
        max_connections: 1,
        write_timeout_ms: 50,
        ..Http::at(LOOPBACK)
    };
    let running = start(http).await;
    let unread = request(running.address, "/large").await;
    let mut second = request(running.address, "/fast").await;
    let mut start = [0; 12];
    tokio::time::timeout(PATIENCE, second.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    drop(unread);
    running.served.abort();
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = bind(LOOPBACK).unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(address).unwrap_err().to_string();
    assert!(
        error.contains(&format!("port {} on 127.0.0.1 is in use", address.port())),
        "{error}"
    );
    assert!(error.contains("http.listen"), "{error}");
}

#[tokio::test]
async fn a_sigterm_asks_everyone_to_stop() {
    let shutdown = Shutdown::on_signals().unwrap();
    assert!(!shutdown.is_requested());
    let kill = std::process::Command::new("kill")
        .args(["-TERM", &std::process::id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    tokio::time::timeout(PATIENCE, shutdown.requested())
        .await
        .unwrap();
}

#[tokio::test]
async fn everyone_who_waits_hears_of_the_shutdown() {
    let shutdown = Shutdown::new();
    let waiting = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { shutdown.requested().await }
    });
    assert!(!shutdown.is_requested());
    shutdown.trigger();
    shutdown.trigger();
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap()
        .unwrap();
    assert!(shutdown.is_requested() && shutdown.token().is_cancelled());
}
