//! Says in the stores what this process feeds, and learns from them what every process does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::builds::Building;
use cartwright_read_model::control::Control;
use cartwright_read_model::feeders::{FEEDER_LIFE, FedPartition, Feeder, Feeds};
use cartwright_read_model::versions::State;
use cartwright_read_model::{ReadModelError, Store, projection};

use crate::board::{Board, ProjectionState};
use crate::overview::{Fed, Overview};

/// How long a round may take: nobody is fed by it, and versions are not looked at meanwhile.
const LIMIT: Duration = Duration::from_secs(2);
/// What a process said that has been silent for this many of its lives is removed.
const LIVES: u32 = 60;

/// What is told of this process, and when it was last. A clone is for another store.
#[derive(Clone)]
pub(crate) struct Telling {
    board: Board,
    instance: String,
    address: String,
    every: Duration,
    told: BTreeMap<Store, Told>,
}

#[derive(Clone, Default)]
struct Told {
    last: Option<Instant>,
    versions: BTreeSet<(&'static str, u32)>,
}

impl Telling {
    /// Tells what `board` shows, `every` so often; this process answers at `address`.
    pub(crate) fn new(board: Board, address: String, every: Duration) -> Self {
        Self {
            board,
            instance: uuid::Uuid::now_v7().to_string(),
            address,
            every: every.min(FEEDER_LIFE / 4),
            told: BTreeMap::new(),
        }
    }

    /// When it is time, says what this process feeds in `store`, and learns what is said there of any
    /// projection. Nothing depends on it: what fails is tried again the next time.
    pub(crate) async fn round(&mut self, store: Store, control: &Control) {
        let told = self.told.entry(store).or_default();
        if told.last.is_some_and(|last| last.elapsed() < self.every) {
            return;
        }
        told.last = Some(Instant::now());
        let round = async {
            self.say(store, control).await?;
            self.learn(control).await
        };
        match tokio::time::timeout(LIMIT, round).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "could not say what is fed"),
            Err(_) => tracing::debug!(store = store.name(), "could not say what is fed"),
        }
    }

    /// Removes what was said, since this process feeds nothing any more.
    pub(crate) async fn leave(&mut self, store: Store, control: &Control) {
        let Some(told) = self.told.remove(&store) else {
            return;
        };
        let leave = async {
            for (name, version) in told.versions {
                let gone = control.forget_feeder(name, version, &self.instance);
                gone.await?;
            }
            Ok::<_, ReadModelError>(())
        };
        match tokio::time::timeout(LIMIT, leave).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "could not say that nothing is fed"),
            Err(_) => tracing::debug!(store = store.name(), "could not say that nothing is fed"),
        }
    }

    async fn say(&mut self, store: Store, control: &Control) -> Result<(), ReadModelError> {
        let states = self.board.states();
        let states: Vec<_> = states
            .iter()
            .filter(|state| state.store == store.name())
            .collect();
        let told = self.told.entry(store).or_default();
        for state in &states {
            told.versions.insert((state.projection, state.version));
            let feeder = Feeder {
                instance: self.instance.clone(),
                address: self.address.clone(),
                seen_at: Timestamp::now(),
                feeds: feeds(state),
            };
            let said = control.say_what_is_fed(state.projection, state.version, &feeder);
            said.await?;
        }
        let fed: BTreeSet<_> = states
            .iter()
            .map(|state| (state.projection, state.version))
            .collect();
        for (name, version) in told.versions.difference(&fed) {
            let gone = control.forget_feeder(name, *version, &self.instance);
            gone.await?;
        }
        told.versions = fed;
        Ok(())
    }

    async fn learn(&self, control: &Control) -> Result<(), ReadModelError> {
        let now = Timestamp::now();
        for (name, versions) in control.all_versions().await? {
            let Some(of) = projection(&name) else {
                continue;
            };
            let mut fed = BTreeMap::new();
            for version in &versions.versions {
                if matches!(version.state, State::Retired) {
                    continue;
                }
                let number = version.number;
                let feeders = control.feeders(of.name, number).await?;
                let feeders = self.without_the_dead(control, of.name, number, feeders, now);
                let building = match version.state {
                    State::Building => control.building(of.name, number).await?,
                    _ => Building::default(),
                };
                let all = Fed {
                    positions: control.positions(of, number).await?,
                    feeders: feeders.await?,
                    building,
                };
                fed.insert(number, all);
            }
            let overview = Overview::of(of, &versions, &fed, now);
            self.board.learn(overview, &self.instance);
        }
        Ok(())
    }

    /// Removes what processes said that were killed, and so could not do it.
    async fn without_the_dead(
        &self,
        control: &Control,
        name: &str,
        version: u32,
        feeders: Vec<Feeder>,
        now: Timestamp,
    ) -> Result<Vec<Feeder>, ReadModelError> {
        let life_us = (FEEDER_LIFE * LIVES).as_micros() as i64;
        let mut left = Vec::with_capacity(feeders.len());
        for feeder in feeders {
            match now.as_micros() - feeder.seen_at.as_micros() > life_us {
                true => {
                    let gone = control.forget_feeder(name, version, &feeder.instance);
                    gone.await?;
                }
                false => left.push(feeder),
            }
        }
        Ok(left)
    }
}

fn feeds(state: &ProjectionState) -> Feeds {
    let partitions = state.partitions.iter().map(|each| FedPartition {
        topic: each.topic.clone(),
        partition: each.partition,
        behind: each.behind,
        lag_seconds: Some(each.lag_seconds),
        parked_keys: each.parked_keys as u64,
        parked_records: each.parked_records as u64,
        stuck: each.stuck.clone(),
    });
    Feeds {
        phase: state.phase.word().to_owned(),
        reason: state.reason.clone(),
        since: Some(state.since),
        partitions: partitions.collect(),
    }
}
