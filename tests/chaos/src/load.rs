//! Clients under load, and the history of what they asked and were told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::commons::Commons;
use crate::ground::{Ground, ORDERS_STAY, RESULTS_REMEMBERED};
use crate::history::{Answers, History, lock};
use crate::reads::Recent;
use crate::visit::{Wish, late, opening, visit};

/// How long a client goes on trying one command.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long a client waits for one answer; a node gives one within ten seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
/// A client's pause between two commands.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a client asks what became of a command that was queued.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// What was sent last may be decided that much later than what was sent first, and is a repeat for the nodes.
const _: () = assert!(
    PATIENCE.as_secs() + 2 * ANSWER_LIMIT.as_secs() + 30 < RESULTS_REMEMBERED.as_secs(),
    "a client may try for longer than nodes remember",
);
/// One in so many commands is sent once more when it is decided, if that did not take longer than this: by
/// then nobody may have forgotten it.
const REPEATED: u32 = 10;
const REPEATED_WITHIN: Duration = Duration::from_secs(30);
/// An answer that says that something broke. Nothing that strikes is a reason for one.
pub(crate) const BROKE: &str = "unknown: 5xx";
/// Orders that a client comes back to.
const REMEMBERED: usize = 50;
/// For how long it leaves them alone at least: until they have left the nodes' memory.
const LEFT_ALONE: Duration = Duration::from_secs(2 * ORDERS_STAY.as_secs());
pub(crate) const POSITION: &str = "Cartwright-Position";

/// The load and what became of it.
pub(crate) struct Load {
    pub(crate) http: reqwest::Client,
    nodes: Vec<String>,
    pub(crate) query: String,
    pub(crate) history: History,
    pub(crate) began: Instant,
    pub(crate) seed: u64,
    pub(crate) stopped: AtomicBool,
    operations: AtomicU64,
    /// Where the products stand in the log, for commands that need their prices.
    positions: Mutex<Vec<String>>,
    pub(crate) recent: Mutex<Recent>,
    pub(crate) commons: Commons,
    /// Where to ask for each command that was queued and whose client has not heard of its end.
    queued: Mutex<BTreeSet<String>>,
    /// Attempts by whether they were reads, and outcome.
    outcomes: Mutex<BTreeMap<(bool, &'static str), u64>>,
    pub(crate) commands: Answers,
    /// By store.
    pub(crate) reads: [Answers; 2],
    /// Commands, from when to when a client went on trying.
    waits: Mutex<Vec<(Instant, Instant)>>,
    /// When each client last had a success; those that buy come before those that read.
    pub(crate) successes: Mutex<BTreeMap<u64, Instant>>,
    /// Clients that buy.
    shoppers: u64,
}

impl Load {
    pub(crate) fn new(ground: &Ground, seed: u64, shoppers: u64) -> anyhow::Result<Self> {
        let began = Instant::now();
        let nodes = 0..ground.nodes.len();
        Ok(Self {
            http: reqwest::Client::builder().timeout(ANSWER_LIMIT).build()?,
            nodes: nodes.map(|node| ground.node_url(node)).collect(),
            query: ground.query_url()?,
            history: History::create(&ground.history(), began)?,
            began,
            seed,
            stopped: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            positions: Mutex::default(),
            recent: Mutex::default(),
            commons: Commons::default(),
            queued: Mutex::default(),
            outcomes: Mutex::default(),
            commands: Answers::default(),
            reads: Default::default(),
            waits: Mutex::default(),
            successes: Mutex::default(),
            shoppers,
        })
    }

    /// Products and stock.
    pub(crate) async fn open_the_shop(&self) -> anyhow::Result<()> {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        for wish in opening() {
            let done = self.ask("owner", &wish, &mut rng).await;
            let answer = done.with_context(|| format!("{} {}", wish.what, wish.aggregate))?;
            if wish.what == "product.create" {
                let position = answer["position"].as_str().unwrap_or_default();
                lock(&self.positions).push(position.to_owned());
            }
        }
        Ok(())
    }

    /// Lets everybody buy and read.
    pub(crate) fn start(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let shoppers = 0..self.shoppers;
        lock(&self.successes).extend(shoppers.clone().map(|client| (client, self.began)));
        let shoppers = shoppers.map(|client| {
            let load = Arc::clone(self);
            tokio::spawn(async move { load.client(client).await })
        });
        shoppers.chain(self.start_readers(self.shoppers)).collect()
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Waits until every client has had a success after now.
    pub(crate) async fn everybody_is_served(&self, limit: Duration) -> anyhow::Result<()> {
        self.are_served(u64::MAX, limit).await
    }

    /// The same without those that only read.
    pub(crate) async fn shoppers_are_served(&self, limit: Duration) -> anyhow::Result<()> {
        self.are_served(self.shoppers, limit).await
    }

    async fn are_served(&self, clients: u64, limit: Duration) -> anyhow::Result<()> {
        let since = Instant::now();
        let waits = || {
            let successes = lock(&self.successes);
            let lasts = successes.range(..clients).map(|(_, last)| last);
            lasts.filter(|last| **last < since).count()
        };
        while waits() > 0 {
            ensure!(
                since.elapsed() < limit,
                "{} clients are without a success {limit:?} after everything was healed",
                waits()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn client(&self, client: u64) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (client + 1).wrapping_mul(0x9e37_79b9));
        let name = format!("client-{client}");
        let mut number = 0_u64;
        let mut orders: VecDeque<(String, Instant)> = VecDeque::new();
        while !self.stopped.load(Ordering::SeqCst) {
            number += 1;
            let cart = format!("cart-{}-{client}-{number}", self.seed);
            let mut is_ordered = false;
            for wish in visit(&cart, &mut rng) {
                if self.stopped.load(Ordering::SeqCst) {
                    return;
                }
                if self.ask(&name, &wish, &mut rng).await.is_none() {
                    break;
                }
                is_ordered |= wish.what == "cart.checkout";
                lock(&self.successes).insert(client, Instant::now());
                tokio::time::sleep(PAUSE).await;
            }
            self.share(&name, &mut rng).await;
            let old = orders.partition_point(|(_, since)| since.elapsed() >= LEFT_ALONE);
            if old > 0
                && let Some((order, _)) = orders.remove(rng.random_range(0..old))
            {
                let late = late(&order, number, &mut rng);
                self.ask(&name, &late, &mut rng).await;
                orders.push_back((order, Instant::now()));
            }
            if is_ordered {
                orders.push_back((cart, Instant::now()));
            }
            if orders.len() > REMEMBERED {
                orders.pop_front();
            }
        }
    }

    /// Sends a command under one key until it is decided. `None` when it was refused or nobody knows.
    pub(crate) async fn ask(&self, client: &str, wish: &Wish, rng: &mut SmallRng) -> Option<Value> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst);
        let key = format!("key-{}-{number}", self.seed);
        self.note(client, &key, wish, "invoke", &json!({}));
        let began = Instant::now();
        let mut answer = None;
        let mut node = 0;
        while began.elapsed() < PATIENCE {
            node = rng.random_range(0..self.nodes.len());
            match self.attempt(client, node, &key, wish).await {
                Attempt::Ok(status, body) => {
                    self.count("ok", false);
                    self.commands.note();
                    lock(&self.recent).take(wish, &body);
                    let told = json!({"status": status, "body": body});
                    self.note(client, &key, wish, "ok", &told);
                    answer = Some(Some(body));
                    break;
                }
                Attempt::Refused(status, body) => {
                    self.count("refused", false);
                    let told = json!({"status": status, "body": body});
                    self.note(client, &key, wish, "fail", &told);
                    answer = Some(None);
                    break;
                }
                Attempt::Again(why) => {
                    self.count(why, false);
                    tokio::time::sleep(Duration::from_millis(rng.random_range(50..300))).await;
                }
            }
        }
        lock(&self.waits).push((began, Instant::now()));
        if answer.is_none() {
            self.count("given up", false);
            self.note(client, &key, wish, "unknown", &json!({}));
        } else if rng.random_range(0..REPEATED) == 0 && began.elapsed() < REPEATED_WITHIN {
            self.repeat(client, node + 1, &key, wish).await;
        }
        answer.flatten()
    }

    /// Sends what was decided once more, to another node, and notes what is told then. A checkout waits, and
    /// tells where its order stands by now; what was queued is queued again.
    async fn repeat(&self, client: &str, node: usize, key: &str, wish: &Wish) {
        if wish.queued || wish.what == "cart.checkout" {
            return;
        }
        let told = self.attempt(client, node % self.nodes.len(), key, wish);
        if let Attempt::Ok(status, body) | Attempt::Refused(status, body) = told.await {
            let told = json!({"status": status, "body": body});
            self.note(client, key, wish, "again", &told);
        }
    }

    /// Sends it once; where it was queued, asks what became of it.
    async fn attempt(&self, client: &str, node: usize, key: &str, wish: &Wish) -> Attempt {
        let node = &self.nodes[node];
        let url = format!("{node}{}", wish.path);
        let mut request = self.http.request(wish.method.clone(), url);
        if wish.what.starts_with("cart.") {
            for position in lock(&self.positions).iter() {
                request = request.header(POSITION, position);
            }
        }
        if let Some(version) = wish.at_version {
            request = request.header("If-Match", format!("\"{version}\""));
        }
        let prefer = if wish.queued {
            "respond-async"
        } else {
            "wait=2"
        };
        let sent = request
            .header("Idempotency-Key", format!("\"{key}\""))
            .header("Prefer", prefer)
            .json(&wish.body)
            .send()
            .await;
        let (status, body) = match told(sent).await {
            Ok(told) => told,
            Err(why) => return Attempt::Again(why),
        };
        match status {
            202 if wish.queued => {
                self.note(client, key, wish, "queued", &body);
                self.await_decision(node, &body).await
            }
            200..300 => Attempt::Ok(status, body),
            503 => Attempt::Again("503"),
            504 => Attempt::Again("504"),
            429 => Attempt::Again("429"),
            500..600 => Attempt::Again(BROKE),
            _ => Attempt::Refused(status, body),
        }
    }

    /// Asks what became of a command that was queued, until it is decided.
    async fn await_decision(&self, node: &str, queued: &Value) -> Attempt {
        let Some(url) = queued["status_url"].as_str() else {
            return Attempt::Again("queued, nobody says where to ask");
        };
        lock(&self.queued).insert(url.to_owned());
        let began = Instant::now();
        while began.elapsed() < ANSWER_LIMIT {
            let sent = self.http.get(format!("{node}{url}")).send().await;
            let (status, body) = match told(sent).await {
                Ok(told) => told,
                Err(why) => return Attempt::Again(why),
            };
            let attempt = match (status, body["status"].as_str()) {
                (200, Some("accepted")) => Attempt::Ok(status, body["answer"].clone()),
                (200, Some("rejected")) => Attempt::Refused(status, body["problem"].clone()),
                (200, _) => {
                    tokio::time::sleep(ASK_EVERY).await;
                    continue;
                }
                (500..503 | 505..600, _) => return Attempt::Again(BROKE),
                _ => return Attempt::Again("queued, its status is not known"),
            };
            lock(&self.queued).remove(url);
            return attempt;
        }
        Attempt::Again("queued, not decided yet")
    }

    /// Waits, `limit` at most, until every command that was queued is decided, also those whose clients
    /// have given up. What is not by then is the checker's to find.
    pub(crate) async fn queue_is_empty(&self, limit: Duration) {
        let began = Instant::now();
        let queued: Vec<String> = lock(&self.queued).iter().cloned().collect();
        for (url, node) in queued.iter().zip(self.nodes.iter().cycle()) {
            while began.elapsed() < limit {
                let sent = self.http.get(format!("{node}{url}")).send().await;
                let waits = match told(sent).await {
                    // 404: it was decided so long ago that it is forgotten.
                    Ok((status, body)) => status >= 500 || body["status"] == "pending",
                    Err(_) => true,
                };
                if !waits {
                    break;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }

    fn note(&self, client: &str, key: &str, wish: &Wish, event: &str, told: &Value) {
        self.history.note(json!({
            "client": client, "event": event, "op": wish.what, "key": key,
            "aggregate": wish.aggregate, "request": wish.body, "at_version": wish.at_version, "told": told,
        }));
    }

    pub(crate) fn count(&self, outcome: &'static str, is_read: bool) {
        *lock(&self.outcomes).entry((is_read, outcome)).or_default() += 1;
    }

    /// Attempts by outcome: of reads, or of commands.
    pub(crate) fn outcomes(&self, reads: bool) -> BTreeMap<&'static str, u64> {
        let outcomes = lock(&self.outcomes);
        let of = outcomes
            .iter()
            .filter(|((is_read, _), _)| *is_read == reads);
        of.map(|((_, outcome), count)| (*outcome, *count)).collect()
    }

    /// The longest that a client went on trying one command that was under way between the two times.
    pub(crate) fn longest_wait(&self, from: Instant, to: Instant) -> Duration {
        let waits = lock(&self.waits);
        let touched = waits
            .iter()
            .filter(|(began, ended)| *began < to && *ended > from);
        let waits = touched.map(|(began, ended)| ended.saturating_duration_since(*began));
        waits.max().unwrap_or_default()
    }
}

enum Attempt {
    Ok(u16, Value),
    Refused(u16, Value),
    Again(&'static str),
}

/// Status and body, or why there is none.
pub(crate) async fn told(
    sent: Result<reqwest::Response, reqwest::Error>,
) -> Result<(u16, Value), &'static str> {
    let response = match sent {
        Ok(response) => response,
        Err(error) if error.is_timeout() => return Err("unknown: timed out"),
        Err(error) if error.is_connect() => return Err("no connection"),
        Err(_) => return Err("unknown: connection broke"),
    };
    let status = response.status().as_u16();
    let body = response.json::<Value>().await;
    Ok((status, body.map_err(|_| "unknown: answer broke off")?))
}
