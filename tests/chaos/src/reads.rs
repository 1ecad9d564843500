//! Clients that read, each time what somebody was told to be written, with the position of that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cartwright_local::Part;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::ground::STORES;
use crate::history::lock;
use crate::load::{BROKE, Load, POSITION, told};
use crate::visit::Wish;

/// A reader's pause between two reads.
const PAUSE: Duration = Duration::from_millis(100);
/// Writes that are remembered for readers.
const REMEMBERED: usize = 64;

/// What an answer by key says that the checker holds against the version in it.
const AMOUNTS: [&str; 7] = [
    "status",
    "total_minor",
    "captured_minor",
    "refunded_minor",
    "refund_due_minor",
    "shipped_units",
    "returned_units",
];

/// What somebody was told to be written.
#[derive(Clone)]
pub(crate) struct Written {
    /// `cart` or `order`.
    kind: &'static str,
    aggregate: String,
    version: u64,
    position: String,
}

/// The last writes that were acknowledged.
#[derive(Default)]
pub(crate) struct Recent(VecDeque<Written>);

impl Recent {
    /// Takes an acknowledged write of a cart or an order.
    pub(crate) fn take(&mut self, wish: &Wish, answer: &Value) {
        let kind = match wish.what {
            // It is told its order's version.
            "cart.checkout" => "order",
            what if what.starts_with("cart.") => "cart",
            what if what.starts_with("order.") => "order",
            _ => return,
        };
        let (Some(version), Some(position)) =
            (answer["version"].as_u64(), answer["position"].as_str())
        else {
            return;
        };
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Written {
            kind,
            aggregate: wish.aggregate.clone(),
            version,
            position: position.to_owned(),
        });
    }
}

impl Load {
    /// One reader for each store, numbered after the other clients.
    pub(crate) fn start_readers(self: &Arc<Self>, first: u64) -> Vec<JoinHandle<()>> {
        let start = |(reader, store)| {
            lock(&self.successes).insert(reader, self.began);
            let load = Arc::clone(self);
            tokio::spawn(async move { load.reader(reader, store).await })
        };
        (first..).zip(STORES).map(start).collect()
    }

    /// The longest time without an answer from one of the stores.
    pub(crate) fn longest_unread(&self, from: Instant, to: Instant) -> Duration {
        let gaps = self.reads.iter().map(|reads| reads.longest_gap(from, to));
        gaps.max().unwrap_or_default()
    }

    async fn reader(&self, reader: u64, store: Part) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (reader + 1).wrapping_mul(0x51f1_5e5b));
        while !self.stopped.load(Ordering::SeqCst) {
            tokio::time::sleep(PAUSE).await;
            let written = lock(&self.recent).0.iter().choose(&mut rng).cloned();
            if let Some(written) = written
                && self.read(store, &written).await
            {
                self.reads[usize::from(store == Part::Cassandra)].note();
                lock(&self.successes).insert(reader, Instant::now());
            }
        }
    }

    /// Reads what was written from a store. Whether it was answered.
    async fn read(&self, store: Part, written: &Written) -> bool {
        let by_key = store == Part::Cassandra;
        let path = match (by_key, written.kind) {
            (true, kind) => format!("/v1/{kind}s/{}", written.aggregate),
            (false, _) => format!("/v1/orders/{}/timeline?limit=500", written.aggregate),
        };
        let url = format!("{}{path}", self.query);
        let request = self.http.get(url).header(POSITION, &written.position);
        let (status, body) = match told(request.send().await).await {
            Ok((status, body)) => (Some(status), body),
            Err(why) => {
                self.count(why, true);
                return false;
            }
        };
        let version = match by_key {
            true => body["version"].as_u64(),
            false => body["items"].as_array().and_then(|items| {
                let of_kind = items.iter().filter(|item| item["stream"] == written.kind);
                of_kind.filter_map(|item| item["version"].as_u64()).max()
            }),
        };
        let outcome = match status {
            Some(200) => "ok",
            Some(503) => "503",
            Some(504) => "504",
            Some(500..) => BROKE,
            _ => "other",
        };
        self.count(outcome, true);
        let amounts = (by_key && status == Some(200)).then(|| {
            let given = AMOUNTS
                .iter()
                .filter_map(|name| Some((*name, body.get(name)?)));
            given.collect::<BTreeMap<_, _>>()
        });
        self.history.note(json!({
            "client": format!("reader of {store}"), "event": "read", "path": path,
            "kind": written.kind, "aggregate": written.aggregate,
            "asked": {"position": written.position, "version": written.version},
            "told": {
                "status": status, "version": version, "code": body["code"], "amounts": amounts,
            },
        }));
        status == Some(200)
    }
}
