//! The positions that the demo sends, where partitions are as many as in production.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use cartwright_events::{PositionToken, Stream};
use cartwright_shop::client::{Api, RetryPolicy};
use cartwright_shop::demo::catalog::Product;
use cartwright_shop::demo::floor::Floor;
use cartwright_shop::demo::reads;
use cartwright_shop::demo::shopper::Shopper;

const PARTITIONS: u32 = 64;

type Asked = Arc<Mutex<Vec<(String, PositionToken)>>>;

/// Answers as both services would to somebody whose position they can read.
async fn answer(
    State(asked): State<Asked>,
    uri: Uri,
    headers: HeaderMap,
) -> (StatusCode, &'static str) {
    let position = headers["cartwright-position"].to_str().unwrap();
    let Ok(position) = position.parse() else {
        return (StatusCode::BAD_REQUEST, "{\"code\":\"position_malformed\"}");
    };
    asked
        .lock()
        .unwrap()
        .push((uri.path().to_owned(), position));
    (StatusCode::OK, "{\"rows\":[]}")
}

#[tokio::test]
async fn every_request_of_the_demo_names_the_stream_that_it_needs_and_no_other() {
    let asked = Asked::default();
    let app = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let api = Api::new(&url, RetryPolicy::default()).unwrap();
    let cup = Product {
        sku: "CUP".to_owned(),
        name: "Cup".to_owned(),
        description: String::new(),
        price_minor: 250,
    };
    let products = vec![cup.clone()];
    let floor = Floor::new(api.clone(), api, "run".to_owned(), products, 1);
    let floor = Arc::new(floor);
    let mut everything = PositionToken::new(1);
    for stream in Stream::ALL {
        (0..PARTITIONS).for_each(|partition| everything.raise(stream, partition, 9));
    }
    floor.reached(&everything);

    let mut shopper = Shopper::new(&floor, 7, 0);
    shopper.add(&cup, 1).await.unwrap();
    reads::order(&floor, "o").await.unwrap();
    reads::availability(&floor, "CUP").await.unwrap();
    reads::sales(&floor).await.unwrap();
    let needs = [
        ("/v1/carts/demo-run-0/items", Stream::Product),
        ("/v1/orders/o", Stream::Order),
        ("/v1/products/CUP/availability", Stream::Stock),
        ("/v1/reports/sales", Stream::Order),
    ];
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), needs.len());
    for ((path, position), (needed_at, stream)) in asked.iter().zip(needs) {
        assert_eq!(path, needed_at);
        let parts: Vec<_> = position.seqs.keys().copied().collect();
        let all: Vec<_> = (0..PARTITIONS)
            .map(|partition| (stream, partition))
            .collect();
        assert_eq!(parts, all, "{path}");
    }
}
