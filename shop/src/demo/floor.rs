//! The shop floor: what all shoppers of a run share.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cartwright_events::{PositionToken, Stream};

use super::catalog::Product;
use super::stats::Stats;
use crate::client::{Answer, Api, CallError, Request, part_of};

/// A line about something worth telling, with the time since the start of the run.
#[derive(Debug, Clone)]
pub struct Told {
    /// Since the start.
    pub at: Duration,
    /// What.
    pub text: String,
}

#[derive(Debug, Default)]
struct State {
    orders: BTreeMap<String, &'static str>,
    keys: HashSet<String>,
    surprises: Vec<String>,
    told: Vec<Told>,
    first_order: Option<Duration>,
    position: PositionToken,
}

/// A run of the demo.
#[derive(Debug)]
pub struct Floor {
    /// The command-api.
    pub commands: Api,
    /// The query-api.
    pub queries: Api,
    /// What tells this run's ids from those of other runs.
    pub run: String,
    /// The catalog.
    pub products: Vec<Product>,
    /// The item that sells out.
    pub hot: Product,
    /// Units of it that there are.
    pub hot_units: i64,
    /// The item whose price changes.
    pub repriced: Product,
    /// What was measured.
    pub stats: Stats,
    /// When it started.
    pub started: Instant,
    state: Mutex<State>,
}

impl Floor {
    /// An empty shop floor.
    #[must_use]
    pub fn new(
        commands: Api,
        queries: Api,
        run: String,
        products: Vec<Product>,
        hot_units: i64,
    ) -> Self {
        let special = |prefix: &str, name: &str, price_minor| Product {
            sku: format!("{prefix}-{run}"),
            name: name.to_owned(),
            description: "For this run of the demo alone.".to_owned(),
            price_minor,
        };
        Self {
            hot_units,
            hot: special("HOT", "Limited brass lantern", 3999),
            repriced: special("TAG", "Reprinted wall calendar", 1200),
            commands,
            queries,
            run,
            products,
            stats: Stats::default(),
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Sends a command and measures it. A refusal is an answer too.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn command(
        &self,
        kind: &'static str,
        request: &Request,
    ) -> Result<Answer, CallError> {
        if let Some(key) = &request.key {
            self.state().keys.insert(key.clone());
        }
        let started = Instant::now();
        let result = self.commands.call(request).await;
        match &result {
            Ok(answer) => {
                self.stats.command(kind, started.elapsed());
                if let Some(position) = &answer.position {
                    self.reached(position);
                }
            }
            Err(CallError::Refused(problem)) => {
                self.stats.command(kind, started.elapsed());
                self.stats.refusal(&problem.code);
            }
            Err(CallError::GaveUp { .. }) => {}
        }
        result
    }

    /// Notes that the log reaches this far.
    pub fn reached(&self, position: &PositionToken) {
        let mut state = self.state();
        if state.position.seqs.is_empty() {
            state.position.generation = position.generation;
        }
        state.position.merge(position);
    }

    /// Everything that this run has written so far, as one position.
    #[must_use]
    pub fn position(&self) -> PositionToken {
        self.state().position.clone()
    }

    /// The part of the position that a reader of `stream` needs.
    #[must_use]
    pub fn position_of(&self, stream: Stream) -> PositionToken {
        part_of(self.position(), stream)
    }

    /// An idempotency key of this run.
    #[must_use]
    pub fn key(&self, what: &str) -> String {
        format!("demo-{}-{what}", self.run)
    }

    /// Where this order stands, as far as its shopper knows.
    pub fn order(&self, order_id: &str, status: &'static str) {
        let at = self.started.elapsed();
        let mut state = self.state();
        if state.first_order.is_none() {
            state.first_order = Some(at);
            state.told.push(Told {
                at,
                text: format!("the first order, {order_id}, is {status}"),
            });
        }
        state.orders.insert(order_id.to_owned(), status);
    }

    /// When the first order's outcome was known, since the start.
    #[must_use]
    pub fn first_order(&self) -> Option<Duration> {
        self.state().first_order
    }

    /// The orders of this run, with the status that their shoppers expect.
    #[must_use]
    pub fn orders(&self) -> BTreeMap<String, &'static str> {
        self.state().orders.clone()
    }

    /// Orders by status.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        let mut outcomes = BTreeMap::new();
        for status in self.state().orders.values() {
            *outcomes.entry(*status).or_default() += 1;
        }
        outcomes
    }

    /// Keys that were sent.
    #[must_use]
    pub fn keys(&self) -> HashSet<String> {
        self.state().keys.clone()
    }

    /// Notes that something went otherwise than a story has it.
    pub fn surprise(&self, what: String) {
        self.tell(format!("unexpected: {what}"));
        self.state().surprises.push(what);
    }

    /// What went otherwise.
    #[must_use]
    pub fn surprises(&self) -> Vec<String> {
        self.state().surprises.clone()
    }

    /// Tells whoever watches.
    pub fn tell(&self, text: String) {
        let at = self.started.elapsed();
        self.state().told.push(Told { at, text });
    }

    /// What was told after the first `skip` lines.
    #[must_use]
    pub fn told(&self, skip: usize) -> Vec<Told> {
        self.state().told.iter().skip(skip).cloned().collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
