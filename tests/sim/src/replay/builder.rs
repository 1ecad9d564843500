//! The process that builds a version: the replay tool's pipeline, a step at a time.

use std::sync::Arc;
use std::time::Duration;

use cartwright_events::codec::Codec;
use cartwright_projector::{Limits, Plan};
use cartwright_read_model::versions::State;
use cartwright_replay::build::{self, Board, Building, Next, Phase, Signal, Work};
use cartwright_sinks::Sink;

use super::Replay;
use crate::log::{SimLog, SimReader};
use crate::sim::{Sim, SimClock};
use crate::store::{SimSink, SimStore};

/// See the module.
pub(super) struct Builder {
    pub(super) number: u32,
    plan: Plan,
    limits: Limits,
    log: SimLog,
    store: SimStore,
    clock: Arc<SimClock>,
    board: Board,
    parts: Vec<Building<SimReader>>,
}

impl Builder {
    fn start(plan: Plan, log: &SimLog, store: &SimStore) -> Result<Self, String> {
        let limits = Limits {
            max_records: 1 + log.sim.below(12),
            max_rows: 1 + log.sim.below(12),
            linger: Duration::ZERO,
            poll: Duration::ZERO,
            retry_min: Duration::ZERO,
            retry_max: Duration::ZERO,
            heartbeat: None,
            // However long a step takes on the machine, it ends where the seed says.
            unpark_slice: Duration::from_secs(3_600),
            ..Limits::default()
        };
        let board = Board::default();
        let partitions = build::partitions(log, &plan, |_| None);
        let partitions = partitions.map_err(|error| error.to_string())?;
        board.begin(&partitions);
        let parts = partitions.into_iter();
        Ok(Self {
            number: plan.version,
            plan,
            limits,
            log: log.clone(),
            store: store.clone(),
            clock: log.sim.clock(),
            parts: parts.map(|(at, end)| Building::new(at, end)).collect(),
            board,
        })
    }

    /// A step of one partition; `None` when the process did not survive it.
    fn step(&mut self) -> Option<Next> {
        let Self {
            plan,
            limits,
            log,
            store,
            clock,
            board,
            parts,
            ..
        } = self;
        let index = log.sim.below(parts.len());
        let part = parts.get_mut(index)?;
        let sim = log.sim.clone();
        let sink = || -> Box<dyn Sink> { Box::new(SimSink::of_a_build(store, plan, &sim, clock)) };
        let work = Work {
            log: log.clone(),
            codec: Codec::fixed(),
            plan: *plan,
            limits: *limits,
            sink: &sink,
            partitions: Vec::new(),
            parallel: 1,
            rate: None,
        };
        Sim::alive(|| part.step(&work, board))
    }
}

impl Replay {
    /// A step of whoever builds the version that is to be built. Returns whether there was anything to
    /// do.
    ///
    /// # Errors
    /// When the build cannot go on.
    pub(super) fn build(&mut self) -> Result<bool, String> {
        if self.builder.is_none() {
            let versions = self.versions.versions.iter();
            let mut building = versions.filter(|each| each.state == State::Building);
            let Some(version) = building.next() else {
                return Ok(false);
            };
            let plan = Plan::of(self.declared(version), version.number, 1);
            let plan = plan.map_err(|error| error.to_string())?;
            let Some(started) = Sim::alive(|| Builder::start(plan, &self.log, &self.store)) else {
                return Ok(true);
            };
            self.builder = Some(started?);
        }
        // It looks at what is kept of its version now and then, not before every step.
        if self.sim().below(3) == 0 {
            self.hear();
        }
        let Some(builder) = &mut self.builder else {
            return Ok(true);
        };
        let (number, label) = (builder.number, builder.plan.label());
        let Some(next) = builder.step() else {
            self.builder = None;
            return Ok(true);
        };
        let stopped = builder.board.partitions().into_iter();
        let mut stopped = stopped.filter(|(_, each)| each.phase == Phase::Stopped);
        if let Some((at, progress)) = stopped.next() {
            let error = progress.error.unwrap_or_default();
            return Err(format!("the build of {label} stops: {at}: {error}"));
        }
        let done = next == Next::Over && builder.board.is_done();
        self.sim().trace(&format!("{label}: {next:?}"));
        if done && self.is_building(number) {
            self.goes_live(number)?;
        }
        Ok(true)
    }

    /// What the versions say is to be done.
    pub(super) fn hear(&mut self) {
        let Some(builder) = &self.builder else {
            return;
        };
        let version = self.versions.get(builder.number);
        let version = version.filter(|version| version.state == State::Building);
        let signal = match version.map(|version| version.build.as_ref()) {
            None => Signal::Stop,
            Some(Some(build)) if build.paused => Signal::Hold,
            Some(_) => Signal::Go,
        };
        builder.board.tell(signal);
        if signal == Signal::Stop {
            self.builder = None;
        }
    }

    fn is_building(&self, number: u32) -> bool {
        let version = self.versions.get(number);
        version.is_some_and(|version| version.state == State::Building)
    }

    fn goes_live(&mut self, number: u32) -> Result<(), String> {
        self.builder = None;
        if self
            .sim()
            .fault("builder killed before its version went live", 300)
        {
            return Ok(());
        }
        let built = self.versions.built(number);
        self.versions = built.map_err(|refused| refused.to_string())?;
        self.note("version built");
        Ok(())
    }
}
