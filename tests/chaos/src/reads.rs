//! Clients that read, each time what somebody was told to be written, with the position of that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::history::lock;
use crate::load::{Load, POSITION, told};
use crate::visit::Wish;

/// A reader's pause between two reads.
const PAUSE: Duration = Duration::from_millis(100);
/// Writes that are remembered for readers.
const REMEMBERED: usize = 64;

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
    /// Readers, numbered after the other clients.
    pub(crate) fn start_readers(self: &Arc<Self>, first: u64, count: u64) -> Vec<JoinHandle<()>> {
        let readers = first..first + count;
        let start = |reader| {
            lock(&self.successes).insert(reader, self.began);
            let load = Arc::clone(self);
            tokio::spawn(async move { load.reader(reader).await })
        };
        readers.map(start).collect()
    }

    async fn reader(&self, reader: u64) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (reader + 1).wrapping_mul(0x51f1_5e5b));
        while !self.stopped.load(Ordering::SeqCst) {
            tokio::time::sleep(PAUSE).await;
            let written = lock(&self.recent).0.iter().choose(&mut rng).cloned();
            if let Some(written) = written
                && self.read(reader, &written, &mut rng).await
            {
                self.reads.note();
                lock(&self.successes).insert(reader, tokio::time::Instant::now().into_std());
            }
        }
    }

    /// Reads what was written, from the store of views by key or from that of lists. Whether it was
    /// answered.
    async fn read(&self, reader: u64, written: &Written, rng: &mut SmallRng) -> bool {
        let by_key = rng.random_range(0..3) > 0;
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
            _ => "other",
        };
        self.count(outcome, true);
        self.history.note(json!({
            "client": format!("reader-{reader}"), "event": "read", "path": path,
            "kind": written.kind, "aggregate": written.aggregate,
            "asked": {"position": written.position, "version": written.version},
            "told": {"status": status, "version": version, "code": body["code"]},
        }));
        status == Some(200)
    }
}
