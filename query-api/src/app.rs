//! What the routes stand on, and what keeps its readiness up to date.

use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cartwright_read_model::{ReadModelError, Store};
use cartwright_service::health::{Check, Readiness};
use cartwright_service::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::config::{Config, Query};
use crate::freshness::Freshness;
use crate::stores::Stores;

/// How soon a store that does not answer is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// The service's state. A cheap handle; clones share it.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

/// See [`App`].
pub struct AppInner {
    /// How far the views are; holds the stores.
    pub freshness: Freshness<Stores>,
    /// Waits and limits.
    pub settings: Query,
}

impl Deref for App {
    type Target = AppInner;

    fn deref(&self) -> &AppInner {
        &self.0
    }
}

impl App {
    /// Puts the parts together; connects to nothing yet.
    ///
    /// # Errors
    /// A database URL that cannot be read.
    pub fn new(config: &Config) -> Result<Self, ReadModelError> {
        Ok(Self(Arc::new(AppInner {
            freshness: Freshness::new(Stores::new(config)?, config.query.clone()),
            settings: config.query.clone(),
        })))
    }

    /// The stores.
    #[must_use]
    pub fn stores(&self) -> &Stores {
        self.freshness.source()
    }

    /// Connects to the stores and goes on looking whether they answer and have their tables, until
    /// `shutdown`; keeps one check per store. A store that is not there is no reason to end: what
    /// the other answers goes on, and it is found again when it is back.
    #[must_use]
    pub fn watch_stores(&self, readiness: &Readiness, shutdown: &Shutdown) -> JoinSet<()> {
        let mut watchers = JoinSet::new();
        let (app, check) = (self.clone(), readiness.check(Store::Cassandra.name()));
        let stop = shutdown.clone();
        watchers.spawn(async move {
            while !stop.is_requested() {
                let result = app.stores().by_key.probe().await;
                app.report(&check, result, &stop).await;
            }
        });
        let (app, check) = (self.clone(), readiness.check(Store::Postgres.name()));
        let stop = shutdown.clone();
        watchers.spawn(async move {
            while !stop.is_requested() {
                let missing = app.stores().relational.probe().await;
                let result =
                    missing
                        .map_err(|error| error.to_string())
                        .and_then(|names| match names.is_empty() {
                            true => Ok(()),
                            false => Err(format!("waits for tables: {}", names.join(", "))),
                        });
                app.report(&check, result, &stop).await;
            }
        });
        watchers
    }

    /// Tells the check, and waits until the store is to be looked at again.
    async fn report<E: Display>(&self, check: &Check, result: Result<(), E>, stop: &Shutdown) {
        let pause = match result {
            Ok(()) => {
                check.ok("answers, tables are there");
                self.settings.probe_interval()
            }
            Err(error) => {
                check.not_ok(error.to_string());
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.requested() => {}
        }
    }
}
