//! A projector's process: one member of one projection's group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cartwright_event_log::{EventLog, ReaderPurpose};
use cartwright_events::Stream;
use cartwright_events::codec::Codec;
use cartwright_projector::{Limits, Plan, Step, Worker};
use cartwright_read_model::{ParkAction, ParkRequest};

use crate::log::{SimGroupReader, SimLog};
use crate::sim::{Sim, SimClock};
use crate::store::{SimSink, SimStore};

pub(crate) struct Projector {
    pub(crate) plan: Plan,
    log: SimLog,
    store: SimStore,
    clock: Arc<SimClock>,
    worker: Option<Worker<SimGroupReader>>,
    /// Steps for which the process stands still.
    frozen: u32,
    pub(crate) restarts: u64,
}

impl Projector {
    pub(crate) fn new(plan: Plan, log: &SimLog, store: &SimStore) -> Self {
        Self {
            plan,
            log: log.clone(),
            store: store.clone(),
            clock: log.sim.clock(),
            worker: None,
            frozen: 0,
            restarts: 0,
        }
    }

    pub(crate) fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// SIGSTOP, for so many of its turns.
    pub(crate) fn freeze(&mut self, turns: u32) {
        self.frozen = turns;
    }

    pub(crate) fn thaw(&mut self) {
        self.frozen = 0;
    }

    /// Whether it reads some records wrongly, and so parks them.
    pub(crate) fn misreads(&self) -> bool {
        self.log.misreads
    }

    /// Another process in its place, of code that reads every record.
    pub(crate) fn mend(&mut self) {
        if self.log.misreads {
            self.log.misreads = false;
            self.kill();
        }
    }

    /// Asks for every parked record of its projection to be tried again; `number` grows.
    pub(crate) fn ask_for_what_is_parked(&self, number: u64) {
        let Plan {
            projection,
            version,
            ..
        } = self.plan;
        let parked = self.store.parked(projection, version);
        let partitions: BTreeSet<(Stream, u32)> = parked.into_iter().collect();
        for (stream, partition) in partitions {
            let request = ParkRequest {
                id: format!("{number:08}"),
                stream,
                partition,
                action: ParkAction::Retry,
                key: None,
                offset: None,
                reason_part: None,
                note: None,
                asked_by: "operator".to_owned(),
                asked_at: self.log.sim.now(),
            };
            self.store.memory.ask(projection.name, version, &request);
        }
    }

    /// kill -9, and another process in its place.
    pub(crate) fn kill(&mut self) {
        self.worker = None;
        self.restarts += 1;
    }

    /// One step. Returns whether there was anything to do.
    ///
    /// # Errors
    /// When the projection stops: the log holds what it must not go on after.
    pub(crate) fn act(&mut self) -> Result<bool, String> {
        if self.frozen > 0 {
            self.frozen -= 1;
            return Ok(false);
        }
        let Some(step) = Sim::alive(|| self.step()) else {
            self.kill();
            return Ok(true);
        };
        match step? {
            Step::Idle => Ok(false),
            Step::Stopped { reason } => Err(format!("{} stops: {reason}", self.plan.label())),
            Step::Failed { .. } => {
                self.kill();
                Ok(true)
            }
            step => {
                let name = self.plan.label();
                // How long a step took is the machine's time, not the run's.
                if let Step::Applied(applied) = step {
                    let (records, rows) = (applied.records, applied.rows);
                    let what = format!("{name}: {records} records, {rows} rows");
                    self.log.sim.trace(&what);
                }
                Ok(true)
            }
        }
    }

    fn step(&mut self) -> Result<Step, String> {
        if self.worker.is_none() {
            self.worker = Some(self.start()?);
        }
        Ok(match &mut self.worker {
            Some(worker) => worker.step(),
            None => Step::Idle,
        })
    }

    fn start(&self) -> Result<Worker<SimGroupReader>, String> {
        let sim = &self.log.sim;
        let limits = Limits {
            max_records: 1 + sim.below(12),
            max_rows: 1 + sim.below(12),
            linger: Duration::ZERO,
            poll: Duration::ZERO,
            retry_min: Duration::ZERO,
            retry_max: Duration::ZERO,
            heartbeat: None,
            // However long a step takes on the machine, it ends where the seed says.
            unpark_slice: Duration::from_secs(3_600),
            requests_every: Duration::ZERO,
            ..Limits::default()
        };
        let reader = self
            .log
            .group_reader(&self.plan.group(), &self.plan.topics())
            .map_err(|error| error.to_string())?;
        let sink = SimSink::new(&self.store, &self.plan, sim, &self.clock);
        let log = self.log.clone();
        let worker = Worker::new(self.plan, limits, reader, Codec::fixed(), Box::new(sink));
        Ok(worker.with_lookup(move || Ok(Box::new(log.reader(ReaderPurpose::Recovery)?) as _)))
    }
}
