//! Versions beside the live ones: an operator who has one built, compares it, switches to it and back,
//! cancels and retires, by the rules that are kept of versions and with the replay tool's own pipeline.

mod builder;
mod operator;
mod side;

use std::collections::BTreeMap;

use cartwright_event_log::memory::MemoryLog;
use cartwright_projector::Plan;
use cartwright_read_model::tables::{OLDER, PROJECTIONS};
use cartwright_read_model::versions::{Run, State, Version, Versions};
use cartwright_read_model::{Position, PositionKey, Projection, Store, declaration};

use crate::log::SimLog;
use crate::sim::Sim;
use crate::store::SimStore;
use crate::world::PARTITIONS;
use builder::Builder;

/// Versions that are begun in one run, at most.
const MOST_BUILDS: u32 = 2;

/// What becomes of the versions of one projection in one run.
pub(crate) struct Replay {
    log: SimLog,
    model: MemoryLog,
    store: SimStore,
    /// The projection, as its newest version is declared.
    pub(crate) projection: &'static Projection,
    pub(crate) versions: Versions,
    builder: Option<Builder>,
    /// A version that was cancelled and whose traces are not removed yet.
    leaving: Option<(&'static Projection, u32)>,
    /// Versions of which nothing may be left.
    pub(crate) gone: Vec<(&'static Projection, u32)>,
    /// The revision that projectors have seen.
    seen: u64,
    /// How many more versions are begun.
    builds: u32,
    /// What the operator has done, and what came of it.
    pub(crate) done: BTreeMap<&'static str, u64>,
}

impl Replay {
    /// In some runs no version is built at all.
    pub(crate) fn new(log: &SimLog, stores: &BTreeMap<Store, SimStore>) -> Self {
        let sim = &log.sim;
        // The one that has two declarations more often than the others.
        let projection = match sim.below(4) {
            0 => OLDER[0].name,
            _ => PROJECTIONS[sim.below(PROJECTIONS.len())].name,
        };
        let newest = PROJECTIONS.into_iter().find(|each| each.name == projection);
        let projection = newest.unwrap_or(PROJECTIONS[0]);
        Self {
            model: log.model.clone(),
            store: stores[&projection.store].clone(),
            versions: Versions::begin(projection, projection.version, sim.now()),
            projection,
            builder: None,
            leaving: None,
            gone: Vec::new(),
            seen: 0,
            builds: u32::try_from(sim.below(MOST_BUILDS as usize + 1)).unwrap_or_default(),
            done: BTreeMap::new(),
            log: SimLog {
                builds: true,
                ..log.clone()
            },
        }
    }

    fn sim(&self) -> &Sim {
        &self.log.sim
    }

    /// What the operator, or whoever builds, does next.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn act(&mut self) -> Result<(), String> {
        // Whoever cancels waits for the end of the build, and then removes at once.
        let waits = self.leaving.is_some() && self.builder.is_none();
        match self.sim().below(5) {
            0 => self.operate(),
            _ if waits => self.operate(),
            _ => self.build().map(drop),
        }
    }

    /// The versions that projectors have to feed from now on.
    ///
    /// # Errors
    /// When they must not run.
    pub(crate) fn plans_to_feed(&mut self) -> Result<Vec<Plan>, String> {
        self.seen = self.versions.revision;
        let name = self.projection.name;
        let declared = PROJECTIONS.into_iter().chain(OLDER);
        let declared: Vec<_> = declared.filter(|each| each.name == name).collect();
        let runs = self.versions.runs(name, &declared);
        let runs = runs.map_err(|refused| refused.to_string())?.into_iter();
        let plans = runs.filter_map(|(number, run)| match run {
            Run::Feed(declared) => Some(Plan::of(declared, number, 1)),
            Run::Newer | Run::Rest => None,
        });
        plans
            .map(|plan| plan.map_err(|error| error.to_string()))
            .collect()
    }

    /// The declarations and numbers of versions that are live.
    pub(crate) fn live(&self) -> Vec<(&'static Projection, u32)> {
        let live = self.versions.versions.iter();
        let live = live.filter(|version| version.state == State::Live);
        live.map(|version| (self.declared(version), version.number))
            .collect()
    }

    fn declared(&self, version: &Version) -> &'static Projection {
        declaration(self.projection.name, version.declared).unwrap_or(self.projection)
    }

    /// The version that is neither current nor gone.
    fn other(&self) -> Option<Version> {
        let versions = self.versions.versions.iter();
        let mut others = versions
            .filter(|each| each.number != self.versions.current && each.state != State::Retired);
        others.next().cloned()
    }

    /// How far a version is.
    fn positions(&self, number: u32) -> Vec<(PositionKey, Position)> {
        let mut positions = Vec::new();
        for stream in self.projection.streams {
            for partition in 0..PARTITIONS {
                let key = PositionKey {
                    projection: self.projection.name,
                    version: number,
                    stream: *stream,
                    partition,
                };
                let position = self.store.memory.position(&key);
                positions.extend(position.map(|position| (key, position)));
            }
        }
        positions
    }

    fn note(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
        let current = self.versions.current;
        let name = self.projection.name;
        self.sim()
            .trace(&format!("{name}@{current} is current: {what}"));
    }
}
