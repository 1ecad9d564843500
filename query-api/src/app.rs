//! What the routes stand on, and what keeps its readiness up to date.

use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cartwright_read_model::{PROJECTIONS, Projection, ReadModelError, Store};
use cartwright_service::health::{Check, Readiness};
use cartwright_service::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::ask::Ask;
use crate::config::{Config, Query};
use crate::cursor::List;
use crate::errors::Error;
use crate::freshness::{Fresh, Freshness};
use crate::pointers::{self, Pointers, View, Wanted};
use crate::stores::Stores;

/// How soon a store that does not answer is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// How long a store may take to hear that this reader is gone; who retires a version finds out anyway.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// The service's state. A cheap handle; clones share it.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

/// See [`App`].
pub struct AppInner {
    /// A name of this process's own.
    pub instance: String,
    /// How far the views are; holds the stores.
    pub freshness: Freshness<Stores>,
    /// Which versions the views are read from.
    pub pointers: Pointers,
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
            instance: uuid::Uuid::now_v7().to_string(),
            freshness: Freshness::new(Stores::new(config)?, config.query.clone()),
            pointers: Pointers::new(config.query.pointer_max_age()),
            settings: config.query.clone(),
        })))
    }

    /// The stores.
    #[must_use]
    pub fn stores(&self) -> &Stores {
        self.freshness.source()
    }

    /// The version of `projection` that `ask` is to be answered from. A request chooses each of its
    /// views once, before anything is read.
    ///
    /// # Errors
    /// As [`Pointers::view`].
    pub fn choose(&self, projection: &'static Projection, ask: &Ask) -> Result<View, Error> {
        let wanted = ask.as_of.as_deref().map_or(Wanted::Current, Wanted::Named);
        self.pointers.view(projection, wanted)
    }

    /// Chooses a version of `projection` for a request about `key`, and captures how far it is and
    /// what it has put aside of that key.
    ///
    /// # Errors
    /// As [`App::choose`], [`Freshness::capture`] and [`Freshness::about`].
    pub async fn capture(
        &self,
        projection: &'static Projection,
        key: &str,
        ask: &Ask,
    ) -> Result<Fresh, Error> {
        self.freshness.check_log(ask)?;
        let view = self.choose(projection, ask)?;
        let fresh = self.freshness.capture(&[view], ask).await?;
        Ok(self.freshness.about(fresh, &[key.to_owned()]).await?)
    }

    /// The same for a list, whose cursor goes on in the version that gave it.
    ///
    /// # Errors
    /// As [`App::capture`]; [`Error::CursorOutdated`] when that version is no more.
    pub async fn capture_list(&self, list: &mut List, ask: &Ask) -> Result<Fresh, Error> {
        self.freshness.check_log(ask)?;
        let wanted = match (ask.as_of.as_deref(), list.version()) {
            (Some(name), _) => Wanted::Named(name),
            (None, Some(number)) => Wanted::Number(number),
            (None, None) => Wanted::Current,
        };
        let view = self.pointers.view(list.projection(), wanted)?;
        if list.version().is_some_and(|number| number != view.version) {
            return Err(Error::CursorOutdated);
        }
        list.choose(view.version);
        self.freshness.capture(&[view], ask).await
    }

    /// The current views in `store`, as far as they are known.
    fn current(&self, store: Store) -> Result<Vec<View>, Error> {
        let views = PROJECTIONS.iter().filter(|each| each.store == store);
        views
            .map(|each| self.pointers.view(each, Wanted::Current))
            .collect()
    }

    /// Connects to the stores and goes on looking whether they answer and have their tables, and which
    /// versions are current, until the watchers are dropped; keeps one check per store until
    /// `shutdown`. A store that is not there is no reason to end: what the other answers goes on, and
    /// it is found again when it is back.
    #[must_use]
    pub fn watch_stores(&self, readiness: &Readiness, shutdown: &Shutdown) -> JoinSet<()> {
        let mut watchers = JoinSet::new();
        for store in Store::ALL {
            let (app, check) = (self.clone(), readiness.check(store.name()));
            let stop = shutdown.clone();
            watchers.spawn(async move {
                while !stop.is_requested() {
                    let result = app.probe(store).await;
                    app.report(&check, result, &stop).await;
                }
            });
            // Not until `shutdown`: reads that are under way then are still answered.
            watchers.spawn(pointers::follow(self.clone(), store));
        }
        watchers
    }

    /// Says in every store that this reader is gone, so that nobody waits for it; for when it has
    /// answered for the last time and looks at the stores no more.
    pub async fn leave(&self) {
        for store in Store::ALL {
            let left = pointers::leave(self, store);
            match tokio::time::timeout(LEAVE_LIMIT, left).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "could not say that this reader is gone"),
                Err(_) => tracing::info!(
                    store = store.name(),
                    "could not say that this reader is gone"
                ),
            }
        }
    }

    /// Whether a store answers, the versions in it are known and their tables there.
    async fn probe(&self, store: Store) -> Result<(), String> {
        let views = self.current(store);
        let known = views.as_deref().unwrap_or_default();
        match store {
            Store::Cassandra => {
                let probe = self.stores().by_key.probe(known).await;
                probe.map_err(|error| error.to_string())?;
            }
            Store::Postgres => {
                let probe = self.stores().relational.probe(known).await;
                let missing = probe.map_err(|error| error.to_string())?;
                if !missing.is_empty() {
                    return Err(format!("waits for tables: {}", missing.join(", ")));
                }
            }
        }
        views.map(drop).map_err(|error| error.to_string())
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
