//! The pipeline of one projection, one step at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cartwright_event_log::{GroupEvent, GroupReader, LogError, Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_read_model::Position;
use cartwright_sinks::{Sink, SinkError};

use crate::partition::{Cut, Halt, Partition};
use crate::plan::{Limits, Plan};

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to do for the time of a poll.
    Idle,
    /// Partitions came or went.
    Rebalanced,
    /// Records were applied, with their position.
    Applied(Applied),
    /// Something outside does not answer. Nothing is lost or skipped; the next step tries again.
    Waiting {
        /// What it waits for.
        reason: String,
    },
    /// The projection must not go on: drop the worker. It would stop at the same place again until
    /// somebody has acted.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The log's client is of no more use: drop the worker and make another.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What was applied in a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records, whatever became of them.
    pub records: usize,
    /// Records that the projection has no use for.
    pub dropped: usize,
    /// Row operations.
    pub rows: usize,
    /// Records that were put aside.
    pub parked: usize,
    /// Batches.
    pub batches: usize,
    /// Time spent in the sink.
    pub took: Duration,
}

/// How a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReport {
    /// The partition.
    pub at: TopicPartition,
    /// What has been applied; `None` before the first batch.
    pub position: Option<Position>,
    /// Keys that are parked.
    pub parked_keys: usize,
    /// Offsets between the reader's position and the end of the partition, control records
    /// included; `None` when the log could not be asked.
    pub behind: Option<u64>,
}

/// The pipeline of one projection: group reader, codec, fold, sink.
pub struct Worker<G> {
    plan: Plan,
    limits: Limits,
    reader: G,
    codec: Codec,
    sink: Box<dyn Sink>,
    prepared: bool,
    partitions: BTreeMap<TopicPartition, Partition>,
    totals: Applied,
    /// Set while something outside does not answer: how long to wait before the next try.
    backoff: Option<Duration>,
    paused: bool,
}

impl<G: GroupReader> Worker<G> {
    /// A worker that reads from `reader`, a member of the plan's group over the plan's topics.
    #[must_use]
    pub fn new(plan: Plan, limits: Limits, reader: G, codec: Codec, sink: Box<dyn Sink>) -> Self {
        Self {
            plan,
            limits,
            reader,
            codec,
            sink,
            prepared: false,
            partitions: BTreeMap::new(),
            totals: Applied::default(),
            backoff: None,
            paused: false,
        }
    }

    /// One round: waits for records up to the poll's time, applies them with their position.
    ///
    /// After every step the store holds a state that the log had, and a worker that is dropped
    /// between or within steps loses nothing.
    pub fn step(&mut self) -> Step {
        match self.try_step() {
            Ok(step) => {
                self.backoff = None;
                step
            }
            Err(Halt::Wait(reason)) => {
                let longer = |waited: Duration| (waited * 2).min(self.limits.retry_max);
                self.backoff = Some(self.backoff.map_or(self.limits.retry_min, longer));
                Step::Waiting { reason }
            }
            Err(Halt::Stop(reason)) => Step::Stopped { reason },
            Err(Halt::Fail(reason)) => Step::Failed { reason },
        }
    }

    /// Everything applied since the worker was made.
    #[must_use]
    pub fn totals(&self) -> &Applied {
        &self.totals
    }

    /// How each partition stands. Asks the log for its ends.
    pub fn report(&self) -> Vec<PartitionReport> {
        let partitions = self.partitions.values();
        partitions
            .map(|partition| PartitionReport {
                at: partition.at.clone(),
                position: partition.position(),
                parked_keys: partition.parked_keys(),
                behind: self.behind(partition),
            })
            .collect()
    }

    fn behind(&self, partition: &Partition) -> Option<u64> {
        if !partition.started {
            return None;
        }
        let (_, end) = self.reader.watermarks(&partition.at).ok()?;
        let read = self.reader.position(&partition.at).ok()?;
        Some(end.saturating_sub(read))
    }

    fn try_step(&mut self) -> Result<Step, Halt> {
        if let Some(backoff) = self.backoff {
            self.hold(backoff)?;
        }
        if !self.prepared {
            self.sink.prepare().map_err(halt_of)?;
            self.prepared = true;
        }
        self.start_partitions()?;
        let before = self.totals.clone();
        // What is left over from a step that could not be finished comes first.
        self.process()?;
        self.resume()?;
        let rebalanced = self.gather()?;
        self.process()?;
        let applied = self.totals.since(&before);
        Ok(match (applied.records, rebalanced) {
            (0, true) => Step::Rebalanced,
            (0, false) => Step::Idle,
            _ => Step::Applied(applied),
        })
    }

    /// Waits without taking records, but stays a member of the group and hears of rebalances.
    fn hold(&mut self, backoff: Duration) -> Result<(), Halt> {
        if !self.paused {
            let started: Vec<_> = self.started().cloned().collect();
            self.reader.pause(&started).map_err(halt_of_log)?;
            self.paused = true;
        }
        let event = self.reader.poll(1, backoff).map_err(halt_of_log)?;
        self.hear(event).map(drop)
    }

    fn resume(&mut self) -> Result<(), Halt> {
        if self.paused {
            let started: Vec<_> = self.started().cloned().collect();
            self.reader.resume(&started).map_err(halt_of_log)?;
            self.paused = false;
        }
        Ok(())
    }

    fn started(&self) -> impl Iterator<Item = &TopicPartition> {
        let started = self.partitions.values().filter(|each| each.started);
        started.map(|partition| &partition.at)
    }

    /// Loads what is stored of partitions that are new here, and tells the reader where to start.
    fn start_partitions(&mut self) -> Result<(), Halt> {
        let mut starts: Vec<(TopicPartition, Start)> = Vec::new();
        for partition in self.partitions.values_mut().filter(|each| !each.started) {
            let loaded = self.sink.load(partition.key(), self.plan.generation);
            let start = partition.start(&self.plan, loaded.map_err(halt_of)?)?;
            starts.push((partition.at.clone(), start));
        }
        if starts.is_empty() {
            return Ok(());
        }
        self.reader.seek_all(&starts).map_err(halt_of_log)?;
        for (at, _) in &starts {
            if let Some(partition) = self.partitions.get_mut(at) {
                partition.started = true;
            }
        }
        Ok(())
    }

    /// Reads until there is enough or the time is up. Answers whether partitions came or went.
    fn gather(&mut self) -> Result<bool, Halt> {
        let mut rebalanced = self.poll(self.limits.poll)?;
        let first = Instant::now();
        while !rebalanced && self.read() > 0 && self.read() < self.limits.max_records {
            let left = self.limits.linger.saturating_sub(first.elapsed());
            if left.is_zero() {
                break;
            }
            rebalanced = self.poll(left)?;
        }
        Ok(rebalanced)
    }

    fn poll(&mut self, timeout: Duration) -> Result<bool, Halt> {
        let room = self.limits.max_records.saturating_sub(self.read()).max(1);
        let event = self.reader.poll(room, timeout).map_err(halt_of_log)?;
        self.hear(event)
    }

    /// Records read and not yet taken in.
    fn read(&self) -> usize {
        let partitions = self.partitions.values();
        partitions.map(|partition| partition.backlog.len()).sum()
    }

    fn hear(&mut self, event: GroupEvent) -> Result<bool, Halt> {
        match event {
            GroupEvent::Assigned(assigned) => {
                // Whatever was owned before was revoked first; nothing is kept from then.
                self.partitions.clear();
                self.paused = false;
                for at in assigned {
                    let partition = Partition::new(&self.plan, at.clone())?;
                    self.partitions.insert(at, partition);
                }
                Ok(true)
            }
            GroupEvent::Revoked(revoked) => {
                for at in revoked {
                    self.partitions.remove(&at);
                }
                Ok(true)
            }
            GroupEvent::Records(records) => {
                for record in records {
                    self.keep(record);
                }
                Ok(false)
            }
        }
    }

    fn keep(&mut self, record: Record) {
        let at = record.topic_partition();
        if let Some(partition) = self.partitions.get_mut(&at)
            && partition.started
        {
            partition.backlog.push_back(record);
        }
    }

    /// Takes in and applies everything that was read. A partition that must stop does so after
    /// what came before has been applied, and does not keep the others from being applied.
    fn process(&mut self) -> Result<(), Halt> {
        let mut outcome = Ok(());
        for partition in self.partitions.values_mut() {
            let work = Work {
                plan: &self.plan,
                limits: &self.limits,
                codec: &self.codec,
                sink: self.sink.as_mut(),
                totals: &mut self.totals,
            };
            outcome = outcome.and(work.drain(partition));
        }
        outcome
    }
}

struct Work<'a> {
    plan: &'a Plan,
    limits: &'a Limits,
    codec: &'a Codec,
    sink: &'a mut dyn Sink,
    totals: &'a mut Applied,
}

impl Work<'_> {
    fn drain(mut self, partition: &mut Partition) -> Result<(), Halt> {
        if let Some(cut) = partition.in_doubt.take() {
            self.apply(partition, cut)?;
        }
        while partition.started {
            let taken = partition.take_in(
                self.plan,
                self.codec,
                self.limits.max_rows,
                self.limits.max_parked_keys,
            );
            if let Some(cut) = partition.cut() {
                self.apply(partition, cut)?;
            }
            if taken? {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, partition: &mut Partition, cut: Cut) -> Result<(), Halt> {
        let begin = Instant::now();
        let result = self.sink.apply(&cut.batch);
        self.totals.took += begin.elapsed();
        match result {
            Ok(()) => {
                partition.applied(&cut);
                self.totals.count(&cut);
                Ok(())
            }
            Err(SinkError::PositionMoved) => {
                tracing::info!(partition = %partition.at, "the position has moved: loading it again");
                partition.reset();
                Ok(())
            }
            Err(error @ SinkError::Retry { .. }) => {
                partition.in_doubt = Some(cut);
                Err(halt_of(error))
            }
            Err(error @ SinkError::Fatal { .. }) => Err(halt_of(error)),
        }
    }
}

impl Applied {
    fn count(&mut self, cut: &Cut) {
        self.records += cut.records;
        self.dropped += cut.dropped;
        self.rows += cut.batch.ops.len();
        self.parked += cut.batch.parked.len();
        self.batches += 1;
    }

    /// What has been added since.
    #[must_use]
    pub fn since(&self, before: &Applied) -> Applied {
        Applied {
            records: self.records - before.records,
            dropped: self.dropped - before.dropped,
            rows: self.rows - before.rows,
            parked: self.parked - before.parked,
            batches: self.batches - before.batches,
            took: self.took.saturating_sub(before.took),
        }
    }
}

fn halt_of(error: SinkError) -> Halt {
    match error {
        SinkError::Retry { reason } => Halt::Wait(reason),
        SinkError::PositionMoved => Halt::Wait(error.to_string()),
        SinkError::Fatal { reason } => Halt::Stop(reason),
    }
}

fn halt_of_log(error: LogError) -> Halt {
    match error {
        LogError::Unavailable { .. }
        | LogError::UnknownTopic { .. }
        | LogError::UnknownPartition(_)
        | LogError::NotAssigned(_)
        | LogError::Stalled { .. } => Halt::Wait(error.to_string()),
        // Deleted, or another log than the position is from: needs somebody who knows which.
        LogError::OutOfRange { .. } => Halt::Stop(error.to_string()),
        LogError::Fenced { .. } | LogError::Configuration { .. } | LogError::Fatal { .. } => {
            Halt::Fail(error.to_string())
        }
    }
}
