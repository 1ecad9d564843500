// The waits here are those of the settings below, scaled down; where a test has to see that something
// goes on, it waits for the look at the store that shows it.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse as _;
use cartwright_events::Stream;
use cartwright_read_model::tables::projections::{ORDERS, PRODUCTS, STOCK, TIMELINE};
use cartwright_read_model::{ParkedRecord, Projection, Store};
use cartwright_service::problem::Problem;
use http::header::RETRY_AFTER;

use super::*;

mod parked;

/// A store whose answers the test sets, and that counts how often it is asked.
#[derive(Clone, Default)]
struct Fake {
    state: Arc<StdMutex<State>>,
    looks: Arc<AtomicUsize>,
    takes: Duration,
}

#[derive(Default)]
struct State {
    seqs: HashMap<(&'static str, Stream, u32), (u32, u64, i64)>,
    parked: Vec<ParkedRecord>,
    /// How many of these a look shows.
    shown: Option<usize>,
    failure: Option<StoreError>,
}

impl Fake {
    fn at(self, view: &'static Projection, stream: Stream, seq: u64) -> Self {
        self.set(view, stream, (1, seq, 1_000));
        self
    }

    fn set(&self, view: &'static Projection, stream: Stream, value: (u32, u64, i64)) {
        let mut state = self.state.lock().unwrap();
        state.seqs.insert((view.name, stream, 0), value);
    }

    fn park(&self, stream: Stream, seq: u64) {
        self.park_under("key", stream, seq);
    }

    fn park_under(&self, key: &str, stream: Stream, seq: u64) {
        let place = ParkedSeq {
            stream,
            partition: 0,
            generation: 1,
            seq,
        };
        let key = key.to_owned();
        let mut state = self.state.lock().unwrap();
        state.parked.push(ParkedRecord { place, key });
    }

    fn fail(&self, failure: Option<StoreError>) {
        self.state.lock().unwrap().failure = failure;
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl PositionSource for Fake {
    async fn look(&self, view: View) -> Result<Look, StoreError> {
        let projection = view.projection;
        self.looks.fetch_add(1, Ordering::SeqCst);
        sleep(self.takes).await;
        let state = self.state.lock().unwrap();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let of_view = |(view, ..): &&(&'static str, Stream, u32)| *view == projection.name;
        let positions = state.seqs.keys().filter(of_view).map(|key| {
            let (generation, seq, recorded_at) = state.seqs[key];
            let position = Position {
                generation,
                next_offset: seq,
                seq,
                recorded_at: Timestamp::from_micros(recorded_at),
            };
            let key = PositionKey {
                projection: projection.name,
                version: projection.version,
                stream: key.1,
                partition: key.2,
            };
            (key, position)
        });
        let shown = state.shown.unwrap_or(usize::MAX);
        let parked = ParkedLook {
            records: state.parked.iter().take(shown).cloned().collect(),
            more: state.parked.len() > shown,
        };
        Ok((positions.collect(), parked))
    }

    async fn parked_among(
        &self,
        _: View,
        places: Vec<ParkedSeq>,
    ) -> Result<Vec<ParkedSeq>, StoreError> {
        let state = self.state.lock().unwrap();
        let is_parked = |place: &ParkedSeq| state.parked.iter().any(|each| each.place == *place);
        Ok(places.into_iter().filter(is_parked).collect())
    }

    async fn parked_under(
        &self,
        _: View,
        keys: &[String],
        partitions: &[(Stream, u32)],
    ) -> Result<u64, StoreError> {
        let state = self.state.lock().unwrap();
        let parked = state.parked.iter().filter(|each| {
            keys.contains(&each.key)
                && partitions.contains(&(each.place.stream, each.place.partition))
        });
        Ok(parked.count() as u64)
    }
}

fn ask(token: &str) -> Ask {
    Ask {
        position: Some(token.parse().unwrap()),
        ..Ask::default()
    }
}

/// A wait long enough to see others end, short enough to be sat through.
fn settings() -> Query {
    Query {
        position_wait_ms: 200,
        poll_min_ms: 1,
        poll_max_ms: 5,
        as_of_max_age_ms: 20,
        ..Query::default()
    }
}

fn freshness(fake: &Fake) -> Arc<Freshness<Fake>> {
    Arc::new(Freshness::new(fake.clone(), settings()))
}

/// Patient enough for a busy machine.
fn patient(fake: &Fake) -> Arc<Freshness<Fake>> {
    let settings = Query {
        position_wait_ms: 60_000,
        ..settings()
    };
    Arc::new(Freshness::new(fake.clone(), settings))
}

fn reached(result: Result<Fresh, Error>) -> String {
    match result {
        Err(Error::PositionNotReached { reached, .. }) => reached.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_read_waits_until_its_view_holds_the_position() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 6);
    let views = patient(&fake);
    let waiting = {
        let views = Arc::clone(&views);
        tokio::spawn(async move { views.capture(&[View::from(&ORDERS)], &ask("g1:o0=7")).await })
    };
    while fake.looks() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!waiting.is_finished());
    fake.set(&ORDERS, Stream::Order, (1, 7, 2_000));
    let fresh = waiting.await.unwrap().unwrap();
    assert_eq!(fresh.as_of, Some(Timestamp::from_micros(2_000)));
    assert_eq!(fresh.uncovered, None);
}

#[tokio::test]
async fn a_wait_ends_with_what_was_reached_and_no_later_than_asked() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 6);
    for (limit_ms, wait_s, at_least_ms) in
        [(150, None, 150), (150, Some(60), 150), (60_000, Some(0), 0)]
    {
        let settings = Query {
            position_wait_ms: limit_ms,
            ..settings()
        };
        let views = Freshness::new(fake.clone(), settings);
        let began = Instant::now();
        let ask = Ask {
            wait: wait_s.map(Duration::from_secs),
            ..ask("g1:o0=7,o3=1")
        };
        let result = views.capture(&[View::from(&ORDERS)], &ask).await;
        assert_eq!(reached(result), "g1:o0=6,o3=0");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(at_least_ms), "{waited:?}");
        assert!(waited < Duration::from_secs(30), "{waited:?}");
    }
}

#[tokio::test]
async fn even_without_patience_a_read_looks_afresh_once() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 6);
    let settings = Query {
        as_of_max_age_ms: 60_000,
        ..settings()
    };
    let views = Freshness::new(fake.clone(), settings);
    views
        .capture(&[View::from(&ORDERS)], &Ask::default())
        .await
        .unwrap();
    fake.set(&ORDERS, Stream::Order, (1, 7, 2_000));
    // Older than the first poll's pause, or the first look would do for the second.
    sleep(Duration::from_millis(2)).await;
    let ask = Ask {
        wait: Some(Duration::ZERO),
        ..ask("g1:o0=7")
    };
    views.capture(&[View::from(&ORDERS)], &ask).await.unwrap();
}

#[tokio::test]
async fn what_a_point_in_time_does_not_hold_is_not_waited_for() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 6);
    let settings = Query {
        position_wait_ms: 60_000,
        ..settings()
    };
    let views = Freshness::new(fake.clone(), settings);
    let began = Instant::now();
    let ask = Ask {
        as_of: Some("inventory-day".to_owned()),
        ..ask("g1:o0=7")
    };
    let refused = views.capture(&[View::from(&ORDERS)], &ask).await;
    let problem = Problem::from(refused.map(drop).unwrap_err());
    assert_eq!(problem.code(), "position_not_reached");
    let response = problem.into_response();
    assert!(!response.headers().contains_key(RETRY_AFTER), "it is final");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn parts_that_no_view_consumes_are_named_and_not_waited_for() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 7);
    let views = freshness(&fake);
    let fresh = views
        .capture(&[View::from(&ORDERS)], &ask("g1:c0=99,o0=7,p1=3"))
        .await
        .unwrap();
    assert_eq!(fresh.uncovered.unwrap().to_string(), "g1:p1=3,c0=99");
    let fresh = views
        .capture(&[View::from(&ORDERS)], &ask("g1:p1=3"))
        .await
        .unwrap();
    assert_eq!(fresh.uncovered.unwrap().to_string(), "g1:p1=3");
}

#[tokio::test]
async fn every_view_of_an_answer_has_to_hold_its_part() {
    let fake = Fake::default()
        .at(&STOCK, Stream::Stock, 5)
        .at(&PRODUCTS, Stream::Product, 2);
    fake.set(&PRODUCTS, Stream::Product, (1, 2, 500));
    let views = freshness(&fake);
    let both = [&STOCK, &PRODUCTS].map(View::from);
    let fresh = views.capture(&both, &ask("g1:p0=2,s0=5")).await.unwrap();
    assert_eq!(fresh.as_of, Some(Timestamp::from_micros(500)));
    assert_eq!(
        reached(views.capture(&both, &ask("g1:p0=3,s0=5")).await),
        "g1:p0=2"
    );
    let fresh = views
        .capture(
            &[View::from(&STOCK), View::from(&TIMELINE)],
            &Ask::default(),
        )
        .await;
    assert_eq!(
        fresh.unwrap().as_of,
        None,
        "a view that has not begun shows nothing"
    );
}

#[tokio::test]
async fn seqs_of_another_log_are_never_compared() {
    let fake = Fake::default().at(&ORDERS, Stream::Order, 9);
    let views = freshness(&fake);
    let result = views.capture(&[View::from(&ORDERS)], &ask("g2:o0=1")).await;
    assert!(matches!(
        result,
        Err(Error::PositionOfAnotherLog { log_generation: 1 })
    ));
    fake.set(&ORDERS, Stream::Order, (2, 9, 1_000));
    assert_eq!(
        reached(views.capture(&[View::from(&ORDERS)], &ask("g1:o0=1")).await),
        "g1:o0=0"
    );
}

#[tokio::test]
async fn reads_at_the_same_time_share_a_look() {
    let fake = Fake {
        takes: Duration::from_millis(20),
        ..Fake::default()
    };
    let views = patient(&fake);
    let reads: Vec<_> = (0..200)
        .map(|_| {
            let views = Arc::clone(&views);
            tokio::spawn(
                async move { views.capture(&[View::from(&ORDERS)], &ask("g1:o0=7")).await },
            )
        })
        .collect();
    while fake.looks() < 4 {
        sleep(Duration::from_millis(1)).await;
    }
    fake.set(&ORDERS, Stream::Order, (1, 7, 2_000));
    for read in reads {
        read.await.unwrap().unwrap();
    }
    // Each read looked three times or more.
    assert!(fake.looks() < 200, "{} looks for 200 reads", fake.looks());
    assert_eq!(views.waiters.available_permits(), settings().max_waiters);
}

#[tokio::test]
async fn a_failed_look_is_shared_by_those_who_waited_for_it() {
    let down = StoreError::TimedOut(Store::Cassandra);
    let fake = Fake {
        takes: Duration::from_millis(300),
        ..Fake::default()
    };
    fake.fail(Some(down.clone()));
    let views = freshness(&fake);
    let nobody = Ask::default();
    let orders = [View::from(&ORDERS)];
    // All of them ask before the first look has ended.
    let reads = (0..50).map(|_| views.capture(&orders, &nobody));
    for result in futures_all(reads).await {
        assert!(matches!(result, Err(Error::Store(error)) if error == down));
    }
    assert_eq!(fake.looks(), 1);
    fake.fail(None);
    views
        .capture(&[View::from(&ORDERS)], &Ask::default())
        .await
        .unwrap();
}

/// Runs all of them at once, on this task.
async fn futures_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut waiting {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => {}
                }
            }
        }
        match waiting.iter().all(|(_, output)| output.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    waiting
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

#[tokio::test]
async fn more_than_so_many_do_not_wait() {
    let fake = Fake::default();
    let settings = Query {
        max_waiters: 1,
        ..settings()
    };
    let views = Arc::new(Freshness::new(fake.clone(), settings));
    let first = {
        let views = Arc::clone(&views);
        tokio::spawn(async move { views.capture(&[View::from(&ORDERS)], &ask("g1:o0=7")).await })
    };
    while views.waiters.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let second = views.capture(&[View::from(&ORDERS)], &ask("g1:o0=7")).await;
    assert!(matches!(second, Err(Error::TooManyWaiters)));
    assert_eq!(reached(first.await.unwrap()), "g1:o0=0");
    let third = views.capture(&[View::from(&ORDERS)], &ask("g1:o0=7")).await;
    assert_eq!(reached(third), "g1:o0=0", "a wait that ended makes room");
}

#[tokio::test]
async fn a_view_that_is_asked_later_leaves_what_is_known_of_the_first_as_it_was() {
    let fake = Fake::default()
        .at(&STOCK, Stream::Stock, 5)
        .at(&PRODUCTS, Stream::Product, 2);
    let settings = Query {
        as_of_max_age_ms: 0,
        ..settings()
    };
    let views = Freshness::new(fake.clone(), settings);
    let ask = ask("g1:p0=2,s0=5,c0=1");
    let first = views.capture(&[View::from(&STOCK)], &ask).await.unwrap();
    assert_eq!(
        first.uncovered.as_ref().unwrap().to_string(),
        "g1:p0=2,c0=1"
    );
    // Its rows are read here; what happens to it afterwards is not in the answer.
    fake.set(&STOCK, Stream::Stock, (1, 6, 3_000));
    fake.set(&PRODUCTS, Stream::Product, (1, 3, 2_000));
    let both = views.extend(first, View::from(&PRODUCTS), &ask).await;
    let both = both.unwrap();
    assert_eq!(both.as_of, Some(Timestamp::from_micros(1_000)));
    assert_eq!(both.uncovered.unwrap().to_string(), "g1:c0=1");
    assert_eq!(both.views, [&STOCK, &PRODUCTS].map(View::from));
}
