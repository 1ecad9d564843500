//! What the routes stand on: the shards of this process, its prices and its settings; and how all of
//! it starts and stops.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cartwright_domain::{
    BoundedContext, Catalog, CatalogCommand, CatalogSettings, Checkout, CheckoutCommand, Inventory,
    InventoryCommand, InventorySettings,
};
use cartwright_event_log::{EventLog, LogError};
use cartwright_events::Context;
use cartwright_events::codec::Codec;
use cartwright_service::health::{Check, Readiness};
use cartwright_shard::{Begin, SystemClock, spawn};

use crate::config::{Command, Config};
use crate::prices::{PriceTable, PriceThread, TableState};
use crate::shards::Shards;

/// The service's state. A cheap handle; clones share it.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

/// See [`App`].
pub struct AppInner {
    /// The edge's settings.
    pub settings: Command,
    /// The catalog, if it is served here.
    pub catalog: Option<Shards<CatalogCommand>>,
    /// The inventory, if it is served here.
    pub inventory: Option<Shards<InventoryCommand>>,
    /// The checkout, if it is served here.
    pub checkout: Option<Shards<CheckoutCommand>>,
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
    shards: Vec<StopShard>,
    prices: Option<PriceThread>,
}

type StopShard = Box<dyn FnOnce(Duration) -> bool + Send>;

impl App {
    /// Starts the price table and the shards of every partition of the configured contexts. They
    /// take over, recover and load in the background; `readiness` tells how far they are. Blocks for
    /// a few short questions to the log; to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; what was started by then is stopped again.
    pub fn start<L: EventLog>(
        config: &Config,
        log: &L,
        codec: &Codec,
        readiness: &Readiness,
    ) -> Result<(App, Running), StartError> {
        let mut starter = Starter {
            config,
            log,
            codec,
            running: Running {
                shards: Vec::new(),
                prices: None,
            },
        };
        match starter.start(readiness) {
            Ok(app) => Ok((app, starter.running)),
            Err(error) => {
                // Nothing was accepted yet, so there is nothing to wait for beyond the threads.
                let _ = starter.running.stop(config.command.stop_limit());
                Err(error)
            }
        }
    }
}

impl Running {
    /// Stops the shards, each deciding and committing what it has accepted, then the price table.
    /// Returns whether all ended within `limit`. Blocks.
    #[must_use]
    pub fn stop(self, limit: Duration) -> bool {
        let stopped = std::thread::scope(|scope| {
            let stopping: Vec<_> = self
                .shards
                .into_iter()
                .map(|stop| scope.spawn(move || stop(limit)))
                .collect();
            stopping
                .into_iter()
                .all(|thread| thread.join().unwrap_or(false))
        });
        stopped & self.prices.is_none_or(|prices| prices.stop(limit))
    }
}

struct Starter<'a, L> {
    config: &'a Config,
    log: &'a L,
    codec: &'a Codec,
    running: Running,
}

impl<L: EventLog> Starter<'_, L> {
    fn start(&mut self, readiness: &Readiness) -> Result<App, StartError> {
        let catalog_partitions = self.partitions(Context::Catalog)?;
        let inventory_partitions = self.partitions(Context::Inventory)?;
        let checkout_partitions = self.partitions(Context::Checkout)?;
        let log_generation = self.config.shard.log_generation;
        let prices = PriceTable::new(catalog_partitions, log_generation);

        let catalog = self.serve(readiness, catalog_partitions, || Catalog {
            settings: CatalogSettings::default(),
        })?;
        let settings = InventorySettings {
            inventory_partitions,
            checkout_partitions,
        };
        let inventory = self.serve(readiness, inventory_partitions, || Inventory {
            settings: settings.clone(),
        })?;
        let settings = self.config.checkout_settings(inventory_partitions);
        let checkout = self.serve(readiness, checkout_partitions, || {
            Checkout::new(settings.clone(), Arc::new(prices.clone()))
        })?;
        if checkout.is_some() {
            self.running.prices = Some(prices.follow(self.log.clone(), self.codec.clone())?);
            report_prices(&prices, readiness.check("prices"));
        }
        let settings = self.config.command.clone();
        Ok(App(Arc::new(AppInner {
            settings,
            catalog,
            inventory,
            checkout,
            prices,
        })))
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

    /// Starts the shards of a context, if it is configured here.
    fn serve<B: BoundedContext>(
        &mut self,
        readiness: &Readiness,
        partitions: u32,
        context: impl Fn() -> B,
    ) -> Result<Option<Shards<B::Command>>, StartError> {
        if !self.config.command.contexts.contains(&B::CONTEXT) {
            return Ok(None);
        }
        let mut mailboxes = Vec::new();
        for partition in 0..partitions {
            let shard = spawn(
                context(),
                partition,
                self.log.clone(),
                self.codec.clone(),
                self.config.shard.clone(),
                Arc::new(SystemClock),
                Begin::TakeOver,
            )?;
            mailboxes.push(shard.mailbox.clone());
            let stop = move |limit| shard.stop(limit);
            self.running.shards.push(Box::new(stop));
        }
        let shards = Shards::new(B::CONTEXT, mailboxes);
        shards.report_to(readiness);
        Ok(Some(shards))
    }
}

/// Keeps the price table's check up to date, until the table has stopped.
fn report_prices(prices: &PriceTable, check: Check) {
    let mut progress = prices.progress();
    tokio::spawn(async move {
        loop {
            match &progress.borrow_and_update().state {
                TableState::Loading => check.not_ok("being loaded"),
                TableState::Following => check.ok("loaded"),
                TableState::Stopped { reason } => return check.not_ok(reason.clone()),
            }
            if progress.changed().await.is_err() {
                return;
            }
        }
    });
}
