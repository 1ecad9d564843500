//! How far the views are, and waiting until they hold a position.
//!
//! Positions are captured before an answer's rows are read, so rows can only be newer than what the
//! answer says of itself. They are read when somebody asks and never otherwise; reads that ask at
//! the same time share one look at the store.

mod snapshot;

pub use snapshot::{Holding, Parked, Snapshot};

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use cartwright_events::{PositionToken, Stream, Timestamp};
use cartwright_read_model::{ParkedLook, ParkedSeq, Position, PositionKey};
use metrics::{gauge, histogram};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use crate::ask::Ask;
use crate::config::Query;
use crate::errors::{Error, StoreError};
use crate::metric_names as names;
use crate::pointers::View;

/// Where a projection's position can be read.
///
/// Contract: positions are read before the parked records. A projector parks a record before its
/// position passes it, so a position that has passed comes with everything parked below it. A look
/// may leave parked records out when there are very many, and says so; the other two never do.
pub trait PositionSource: Send + Sync {
    /// The positions of `view` in every partition that it has begun, and what it has parked.
    fn look(&self, view: View) -> impl Future<Output = Result<Look, StoreError>> + Send;

    /// Those of `places` whose records `view` has parked.
    fn parked_among(
        &self,
        view: View,
        places: Vec<ParkedSeq>,
    ) -> impl Future<Output = Result<Vec<ParkedSeq>, StoreError>> + Send;

    /// How many records `view` has parked under `keys` in `partitions`, which are all that it has
    /// begun.
    fn parked_under(
        &self,
        view: View,
        keys: &[String],
        partitions: &[(Stream, u32)],
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// What one look at a projection shows.
pub type Look = (Vec<(PositionKey, Position)>, ParkedLook);

/// What is known of an answer before its rows are read.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The views that the answer is made of.
    pub views: Vec<View>,
    /// The views show everything recorded up to then, and maybe more; `None` while nothing of a view's
    /// part of the log was read.
    pub as_of: Option<Timestamp>,
    /// The parts of the caller's token that none of the views consumes.
    pub uncovered: Option<PositionToken>,
    /// The wait that the client asked for and that was honoured.
    pub wait_applied: Option<Duration>,
    /// What each of the views showed of itself.
    pub snapshots: Vec<Snapshot>,
    /// What is put aside: keys, or records once it is known which keys the answer is about.
    pub parked: Parked,
}

/// The shared knowledge of how far each projection is.
pub struct Freshness<S> {
    source: S,
    settings: Query,
    /// By name and version; as many as there are versions that were read.
    latest: StdMutex<HashMap<(&'static str, u32), Shared>>,
    waiters: Semaphore,
}

/// The last look at a projection; locked while the next one is made.
type Shared = Arc<Mutex<Option<Latest>>>;

/// The outcome of the last look at a projection.
struct Latest {
    began: Instant,
    ended: Instant,
    outcome: Result<Snapshot, StoreError>,
}

impl<S: PositionSource> Freshness<S> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(source: S, settings: Query) -> Self {
        let waiters = Semaphore::new(settings.max_waiters.min(Semaphore::MAX_PERMITS));
        Self {
            source,
            settings,
            latest: StdMutex::default(),
            waiters,
        }
    }

    /// Where positions are read.
    #[must_use]
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Captures how far `views` are; with a position in `ask`, waits until all of them hold the
    /// parts that they consume.
    ///
    /// # Errors
    /// A position of another log, one that was not reached in time or that was put aside, too many
    /// reads that wait already, or a store that does not answer.
    pub async fn capture(&self, views: &[View], ask: &Ask) -> Result<Fresh, Error> {
        let mut fresh = Fresh {
            views: Vec::with_capacity(views.len()),
            as_of: None,
            uncovered: None,
            wait_applied: None,
            snapshots: Vec::with_capacity(views.len()),
            parked: Parked::default(),
        };
        self.check_log(ask)?;
        for &view in views {
            self.add(&mut fresh, view, ask).await?;
        }
        Ok(fresh)
    }

    /// Makes `view` one more of those that an answer is made of: captures how far it is, as
    /// [`Freshness::capture`] does. What is known of the others stays as it is, since their rows may
    /// have been read by now.
    ///
    /// # Errors
    /// As [`Freshness::capture`].
    pub async fn extend(&self, mut fresh: Fresh, view: View, ask: &Ask) -> Result<Fresh, Error> {
        self.add(&mut fresh, view, ask).await?;
        Ok(fresh)
    }

    async fn add(&self, fresh: &mut Fresh, view: View, ask: &Ask) -> Result<(), Error> {
        let snapshot = match &ask.position {
            Some(token) => {
                let most = self.settings.position_wait();
                let wait = ask.wait.map_or(most, |wait| wait.min(most));
                fresh.wait_applied = ask.wait.map(|_| wait);
                // What a point in time does not hold it never will.
                let deadline = ask.as_of.is_none().then(|| ask.arrived + wait);
                self.wait(view, token, deadline).await?
            }
            None => self.latest(view, self.settings.as_of_max_age()).await?,
        };
        fresh.parked += snapshot.parked_keys();
        fresh.snapshots.push(snapshot);
        fresh.views.push(view);
        let token = ask.position.as_ref();
        fresh.uncovered = token.and_then(|token| uncovered(&fresh.views, token));
        // The answer is as fresh as the view that is furthest behind.
        let as_of = fresh.snapshots.iter().map(Snapshot::as_of);
        fresh.as_of = as_of.min().flatten();
        Ok(())
    }

    /// Says that the answer is about `keys` and no others, and counts what is put aside under them.
    /// Before its rows are read: what leaves the list later is in them.
    ///
    /// # Errors
    /// A store that does not answer; it is asked only where very much is put aside.
    pub async fn about(&self, mut fresh: Fresh, keys: &[String]) -> Result<Fresh, StoreError> {
        let mut count = 0;
        for (view, snapshot) in fresh.views.iter().zip(&fresh.snapshots) {
            let known: Option<u64> = keys.iter().map(|key| snapshot.parked_under(key)).sum();
            count += match known {
                Some(known) => known,
                None => {
                    let partitions: Vec<_> = snapshot.partitions().collect();
                    self.source.parked_under(*view, keys, &partitions).await?
                }
            };
        }
        fresh.parked = Parked { count, more: false };
        Ok(fresh)
    }

    /// Whether the position in `ask` is one of this log.
    ///
    /// # Errors
    /// [`Error::PositionOfAnotherLog`].
    pub fn check_log(&self, ask: &Ask) -> Result<(), Error> {
        let log_generation = self.settings.log_generation;
        match &ask.position {
            Some(token) if token.generation != log_generation => {
                Err(Error::PositionOfAnotherLog { log_generation })
            }
            _ => Ok(()),
        }
    }

    /// Waits until `view` holds what it consumes of `token`; without a deadline it has to hold it now.
    async fn wait(
        &self,
        view: View,
        token: &PositionToken,
        deadline: Option<Instant>,
    ) -> Result<Snapshot, Error> {
        // Positions only grow: what was seen a moment ago may do.
        let seen = self.latest(view, self.settings.as_of_max_age()).await?;
        if let Holding::All = self.holding(view, &seen, token).await? {
            return Ok(seen);
        }
        let _waiter = self.waiter()?;
        let began = Instant::now();
        let mut pause = self.settings.poll_min();
        loop {
            let snapshot = self.latest(view, self.settings.poll_min()).await?;
            let (outcome, error) = match self.holding(view, &snapshot, token).await? {
                Holding::All | Holding::Unsure(_) => ("held", None),
                Holding::Parked(parked) => ("parked", Some(parked_error(view, token, parked))),
                Holding::Behind(reached) => {
                    let left =
                        deadline.map(|until| until.saturating_duration_since(Instant::now()));
                    if let Some(left) = left.filter(|left| !left.is_zero()) {
                        sleep(pause.min(left)).await;
                        pause = (pause * 3 / 2).min(self.settings.poll_max());
                        continue;
                    }
                    let waited = deadline.map(|_| began.elapsed());
                    let error = not_reached(view, token, reached, waited);
                    ("not_reached", Some(error))
                }
            };
            let labels = [("projection", view.projection.name), ("outcome", outcome)];
            histogram!(names::POSITION_WAIT_SECONDS, &labels).record(began.elapsed());
            return error.map_or(Ok(snapshot), Err);
        }
    }

    /// Whether `view` holds what it consumes of `token`; asks the store where the snapshot cannot say.
    async fn holding(
        &self,
        view: View,
        snapshot: &Snapshot,
        token: &PositionToken,
    ) -> Result<Holding, StoreError> {
        let places = match snapshot.holding(token) {
            Holding::Unsure(places) => places,
            known => return Ok(known),
        };
        let found = self.source.parked_among(view, places).await?;
        let mut parked = PositionToken::new(token.generation);
        for at in &found {
            parked.raise(at.stream, at.partition, at.seq);
        }
        Ok(match found.is_empty() {
            true => Holding::All,
            false => Holding::Parked(parked),
        })
    }

    fn waiter(&self) -> Result<Waiter<'_>, Error> {
        let permit = self.waiters.try_acquire();
        let permit = permit.map_err(|_| Error::TooManyWaiters)?;
        gauge!(names::POSITION_WAITERS).increment(1.0);
        Ok(Waiter { _permit: permit })
    }

    /// A look at `view` that began at most `max_age` before now. Whoever asks while a look is
    /// under way waits for it, and takes it if it is young enough; a failure is shared too, so that
    /// a store that is down is not asked by each of them in turn.
    async fn latest(&self, view: View, max_age: Duration) -> Result<Snapshot, StoreError> {
        let asked = Instant::now();
        let latest = {
            let mut all = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (view.projection.name, view.version);
            Arc::clone(all.entry(key).or_default())
        };
        let mut latest = latest.lock().await;
        if let Some(known) = &*latest {
            let usable = match known.outcome {
                Ok(_) => known.began + max_age >= asked,
                Err(_) => known.ended >= asked,
            };
            if usable {
                return known.outcome.clone();
            }
        }
        let new = self.look(view).await;
        let outcome = new.outcome.clone();
        *latest = Some(new);
        outcome
    }

    async fn look(&self, view: View) -> Latest {
        let began = Instant::now();
        let projection = view.projection;
        let found = self.source.look(view).await;
        let outcome = found.map(|(positions, parked)| Snapshot::new(projection, positions, parked));
        if let Ok(Some(as_of)) = outcome.as_ref().map(Snapshot::as_of) {
            let behind_us = Timestamp::now().as_micros() - as_of.as_micros();
            gauge!(names::STALENESS_SECONDS, "projection" => projection.name)
                .set(behind_us.max(0) as f64 / 1e6);
        }
        Latest {
            began,
            ended: Instant::now(),
            outcome,
        }
    }
}

/// One of the reads that wait.
struct Waiter<'a> {
    _permit: SemaphorePermit<'a>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        gauge!(names::POSITION_WAITERS).decrement(1.0);
    }
}

/// The parts of `token` that none of `views` consumes, if there are any.
fn uncovered(views: &[View], token: &PositionToken) -> Option<PositionToken> {
    let mut rest = PositionToken::new(token.generation);
    for (&(stream, partition), &seq) in &token.seqs {
        if !views
            .iter()
            .any(|view| view.projection.streams.contains(&stream))
        {
            rest.raise(stream, partition, seq);
        }
    }
    (!rest.seqs.is_empty()).then_some(rest)
}

fn parked_error(view: View, token: &PositionToken, parked: PositionToken) -> Error {
    Error::PositionParked {
        projection: view.label(),
        asked: token.clone(),
        parked,
    }
}

fn not_reached(
    view: View,
    token: &PositionToken,
    reached: PositionToken,
    waited: Option<Duration>,
) -> Error {
    Error::PositionNotReached {
        projection: view.label(),
        asked: token.clone(),
        reached,
        waited,
    }
}

#[cfg(test)]
mod tests;
