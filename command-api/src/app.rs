//! What the routes stand on: the shards of this process, its prices and its settings; and how all of
//! it starts and stops.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cartwright_domain::{
    BoundedContext, Catalog, CatalogCommand, CatalogSettings, Checkout, CheckoutCommand, Inventory,
    InventoryCommand, InventorySettings,
};
use cartwright_event_log::{EventLog, LogError};
use cartwright_events::codec::Codec;
use cartwright_events::{Context, NODES_TOPIC, OWNERS_TOPIC};
use cartwright_service::health::{Check, Readiness};
use cartwright_shard::nodes::{ClockCheck, ShardId};
use cartwright_shard::{InboxWriter, JumpCheck, SystemClock};

use crate::alone::AloneThread;
use crate::config::{Command, Config};
use crate::host::{ContextHost, Host};
use crate::nodes::{NodeThread, Peers};
use crate::prices::{PriceTable, PriceThread, TableState};
use crate::queue::Queue;
use crate::shards::Shards;

/// The service's state. A cheap handle; clones share it.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

/// See [`App`].
pub struct AppInner {
    /// The edge's settings.
    pub settings: Command,
    /// The catalog's shards.
    pub catalog: Shards<CatalogCommand>,
    /// The inventory's shards.
    pub inventory: Shards<InventoryCommand>,
    /// The checkout's shards.
    pub checkout: Shards<CheckoutCommand>,
    /// The other nodes; none while this process is alone and owns all.
    pub peers: Option<Peers>,
    /// Where commands go whose callers do not wait.
    pub queue: Queue,
    /// Prices for the checkout.
    pub prices: PriceTable,
}

impl Deref for App {
    type Target = AppInner;

    fn deref(&self) -> &AppInner {
        &self.0
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log did not tell a topic's partitions.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The topics of a context disagree: keys would live in different shards.
    #[error(
        "{topic} has {found} partitions, {first_topic} has {expected}: all topics of a context must have the same"
    )]
    Partitions {
        /// A topic.
        topic: &'static str,
        /// Its partitions.
        found: u32,
        /// Another topic of the context.
        first_topic: &'static str,
        /// The other's partitions.
        expected: u32,
    },
    /// The machine gives no more threads.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// The threads behind an [`App`].
pub struct Running {
    shards: RunningShards,
    prices: Option<PriceThread>,
}

enum RunningShards {
    /// This process is alone and owns all of its shards.
    Alone(AloneThread),
    /// The node's agent tells them.
    Node(NodeThread),
}

impl App {
    /// Starts the price table and the shards of the configured contexts: of every partition, or,
    /// among several nodes, of those that are assigned to this one. They take over, recover and load
    /// in the background; `readiness` tells how far they are. Blocks for a few short questions to
    /// the log; to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; what was started by then is stopped again.
    pub fn start<L: EventLog>(
        config: &Config,
        log: &L,
        codec: &Codec,
        readiness: &Readiness,
    ) -> Result<(App, Running), StartError> {
        let starter = Starter { config, log, codec };
        starter.start(readiness)
    }
}

impl Running {
    /// Among several nodes: has this node's shards taken over by others, serving them until they
    /// are, for `limit` at most. Alone: nothing.
    pub async fn leave(&self, limit: Duration) {
        if let RunningShards::Node(node) = &self.shards {
            node.leave(limit).await;
        }
    }

    /// Stops the shards, each deciding and committing what it has accepted, then the price table.
    /// Returns whether all ended within `limit`. Blocks.
    #[must_use]
    pub fn stop(self, limit: Duration) -> bool {
        let stopped = match self.shards {
            RunningShards::Alone(alone) => alone.finish(limit),
            RunningShards::Node(node) => node.finish(limit),
        };
        stopped & self.prices.is_none_or(|prices| prices.stop(limit))
    }
}

struct Starter<'a, L> {
    config: &'a Config,
    log: &'a L,
    codec: &'a Codec,
}

impl<L: EventLog> Starter<'_, L> {
    fn start(&self, readiness: &Readiness) -> Result<(App, Running), StartError> {
        let catalog_partitions = self.partitions(Context::Catalog)?;
        let inventory_partitions = self.partitions(Context::Inventory)?;
        let checkout_partitions = self.partitions(Context::Checkout)?;
        let log_generation = self.config.shard.log_generation;
        let prices = PriceTable::new(catalog_partitions, log_generation);

        let mut host = Host::new();
        let catalog = self.host(&mut host, readiness, catalog_partitions, || Catalog {
            settings: CatalogSettings::default(),
        });
        let settings = InventorySettings {
            inventory_partitions,
            checkout_partitions,
        };
        let inventory = self.host(&mut host, readiness, inventory_partitions, move || {
            Inventory {
                settings: settings.clone(),
            }
        });
        let settings = self.config.checkout_settings(inventory_partitions);
        let table = prices.clone();
        let checkout = self.host(&mut host, readiness, checkout_partitions, move || {
            Checkout::new(settings.clone(), Arc::new(table.clone()))
        });
        let counts = [
            catalog_partitions,
            inventory_partitions,
            checkout_partitions,
        ];
        let shards = Context::ALL
            .into_iter()
            .zip(counts)
            .flat_map(|(context, count)| {
                (0..count).map(move |partition| ShardId { context, partition })
            })
            .collect();
        // The same at every start, which ends what the one before has left open.
        let writer = match &self.config.nodes {
            Some(nodes) => nodes.id.clone(),
            None => {
                let served = &self.config.command.contexts;
                let served = Context::ALL.into_iter().filter(|one| served.contains(one));
                served.map(Context::name).collect::<Vec<_>>().join("-")
            }
        };
        let writer = format!("cartwright-queue-{writer}");
        let inboxes = InboxWriter::new(self.log.clone(), self.codec.clone(), writer);
        // It ends by itself with the last handle.
        let (queue, _) = Queue::start(inboxes, self.config.command.queue_limits())?;
        let price_thread = self.follow_prices(&prices, readiness)?;
        let (running, peers) = match self.run(host, shards, readiness) {
            Ok(started) => started,
            Err(error) => {
                let _ = price_thread.map(|prices| prices.stop(self.config.command.stop_limit()));
                return Err(error);
            }
        };
        let running = Running {
            shards: running,
            prices: price_thread,
        };
        let app = App(Arc::new(AppInner {
            settings: self.config.command.clone(),
            catalog,
            inventory,
            checkout,
            peers,
            queue,
            prices,
        }));
        Ok((app, running))
    }

    /// Prices are the checkout's business.
    fn follow_prices(
        &self,
        prices: &PriceTable,
        readiness: &Readiness,
    ) -> Result<Option<PriceThread>, StartError> {
        if !self.config.command.contexts.contains(&Context::Checkout) {
            return Ok(None);
        }
        let thread = prices.follow(self.log.clone(), self.codec.clone())?;
        report_prices(prices, readiness.check("prices"));
        Ok(Some(thread))
    }

    /// Starts all shards, or the agent that will.
    fn run(
        &self,
        host: Host,
        shards: BTreeSet<ShardId>,
        readiness: &Readiness,
    ) -> Result<(RunningShards, Option<Peers>), StartError> {
        let (clock, max_skew_ms) = (Arc::new(SystemClock), self.config.shard.max_clock_skew_ms);
        let Some(nodes) = &self.config.nodes else {
            let limit = self.config.command.stop_limit();
            let clock = JumpCheck::new(clock, max_skew_ms);
            let alone = AloneThread::start(host, shards, clock, limit)?;
            return Ok((RunningShards::Alone(alone), None));
        };
        for topic in [NODES_TOPIC, OWNERS_TOPIC] {
            self.log.partition_count(topic)?;
        }
        let (thread, peers) = NodeThread::start(
            nodes,
            self.config.command.contexts.clone(),
            shards,
            self.log.clone(),
            host,
            readiness.check("nodes"),
            ClockCheck::new(clock, max_skew_ms),
        )?;
        Ok((RunningShards::Node(thread), Some(peers)))
    }

    /// The partitions of a context, which all of its topics share.
    fn partitions(&self, context: Context) -> Result<u32, StartError> {
        let first_topic = context.inbox_topic();
        let expected = self.log.partition_count(first_topic)?;
        let events = context.streams().iter().map(|stream| stream.topic());
        for topic in events.chain([context.journal_topic(), context.snapshots_topic()]) {
            let found = self.log.partition_count(topic)?;
            if found != expected {
                return Err(StartError::Partitions {
                    topic,
                    found,
                    first_topic,
                    expected,
                });
            }
        }
        Ok(expected)
    }

    /// The shards of a context; those that are configured here can be run by `host`.
    fn host<B: BoundedContext>(
        &self,
        host: &mut Host,
        readiness: &Readiness,
        partitions: u32,
        build: impl Fn() -> B + Send + 'static,
    ) -> Shards<B::Command> {
        let shards = Shards::new(B::CONTEXT, partitions);
        if self.config.command.contexts.contains(&B::CONTEXT) {
            let alone = self.config.nodes.is_none();
            host.add(ContextHost {
                build: Box::new(build),
                log: self.log.clone(),
                codec: self.codec.clone(),
                options: self.config.shard.clone(),
                shards: shards.clone(),
                readiness: alone.then(|| readiness.clone()),
                runtime: tokio::runtime::Handle::current(),
                threads: BTreeMap::new(),
                ending: Vec::new(),
            });
        }
        shards
    }
}

/// Keeps the price table's check up to date, until the table has stopped.
fn report_prices(prices: &PriceTable, check: Check) {
    let mut progress = prices.progress();
    tokio::spawn(async move {
        loop {
            let now = progress.borrow_and_update().clone();
            let held_up = now.held_up.map(|why| format!(": {why}"));
            let held_up = held_up.unwrap_or_default();
            match now.state {
                TableState::Loading => check.not_ok(format!("being loaded{held_up}")),
                TableState::Following => check.ok(format!("loaded{held_up}")),
                TableState::Stopped { reason } => return check.not_ok(reason),
            }
            if progress.changed().await.is_err() {
                return;
            }
        }
    });
}
