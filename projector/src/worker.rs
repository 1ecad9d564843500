//! The pipeline of one projection, one step at a time.

mod ends;
mod gather;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cartwright_event_log::{GroupReader, LogError, LogReader, Start, TopicPartition};
use cartwright_events::Timestamp;
use cartwright_events::codec::Codec;
use cartwright_sinks::Sink;

use crate::halt::{Halt, halt_of, halt_of_log};
use crate::partition::Partition;
use crate::plan::{Limits, Plan};
use crate::progress::{Applied, PartitionReport, Step};
use crate::requests::Requests;
use crate::unpark::{Drain, Lookup};
use crate::work::Work;
use ends::Silent;

/// The pipeline of one projection: group reader, codec, fold, sink.
pub struct Worker<G> {
    work: Work,
    reader: G,
    prepared: bool,
    /// Since when the group has not dealt its partitions out: since the worker was made, or gave all of
    /// them back.
    joining_since: Option<Instant>,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Set while something outside does not answer: how long to wait before the next try.
    backoff: Option<Duration>,
    /// What the reader was told to hold back meanwhile.
    paused: Vec<TopicPartition>,
    heartbeat: Instant,
    silent: Silent,
    /// Bytes of a record, on average over what was read last; `None` before anything was.
    record_bytes: Option<usize>,
    /// Reads parked records again; without it nobody can ask for that.
    lookup: Option<Lookup>,
    requests: Requests,
}

impl<G: GroupReader> Worker<G> {
    /// A worker that reads from `reader`, a member of the plan's group over the plan's topics.
    #[must_use]
    pub fn new(plan: Plan, limits: Limits, reader: G, codec: Codec, sink: Box<dyn Sink>) -> Self {
        Self {
            work: Work {
                plan,
                limits,
                codec,
                sink,
                totals: Applied::default(),
            },
            reader,
            prepared: false,
            joining_since: Some(Instant::now()),
            partitions: BTreeMap::new(),
            backoff: None,
            paused: Vec::new(),
            heartbeat: Instant::now(),
            silent: Silent::default(),
            record_bytes: None,
            lookup: None,
            requests: Requests::default(),
        }
    }

    /// Makes it carry out requests about parked records, which it reads again with the readers
    /// that `open` makes.
    #[must_use]
    pub fn with_lookup(
        mut self,
        open: impl FnMut() -> Result<Box<dyn LogReader>, LogError> + Send + 'static,
    ) -> Self {
        self.lookup = Some(Box::new(open));
        self
    }

    /// One round: waits for records up to the poll's time, applies them with their position. Where the
    /// sink can, a partition's last batch is still under way afterwards, and a later step counts it.
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
                let longer = |waited: Duration| (waited * 2).min(self.work.limits.retry_max);
                self.backoff = Some(self.backoff.map_or(self.work.limits.retry_min, longer));
                Step::Waiting { reason }
            }
            Err(Halt::Hold(reason)) => {
                self.backoff = Some(self.work.limits.retry_min);
                Step::Held { reason }
            }
            Err(Halt::Stop(reason)) => Step::Stopped { reason },
            Err(Halt::Fail(reason)) => Step::Failed { reason },
        }
    }

    /// Whether it takes part in its group and reads every partition that it was given, be it none.
    pub fn is_following(&self) -> bool {
        self.joining_since.is_none() && self.partitions.values().all(|each| each.started)
    }

    /// For how long the group has not dealt its partitions out; `None`: this worker has its part.
    pub(crate) fn joining_for(&self) -> Option<Duration> {
        self.joining_since.map(|since| since.elapsed())
    }

    /// Everything applied since the worker was made.
    #[must_use]
    pub fn totals(&self) -> &Applied {
        &self.work.totals
    }

    /// How each partition stands. Asks the log for its ends.
    pub fn report(&mut self) -> Vec<PartitionReport> {
        let ends = self.ends(self.partitions.keys().cloned().collect());
        let partitions = self.partitions.values();
        partitions
            .map(|partition| PartitionReport {
                at: partition.at.clone(),
                position: partition.position(),
                parked_keys: partition.parked.key_count(),
                parked_records: partition.parked.records(),
                behind: self.behind(partition, ends.get(&partition.at).copied()),
                oldest_waiting: partition.oldest_waiting(),
            })
            .collect()
    }

    fn behind(&self, partition: &Partition, end: Option<u64>) -> Option<u64> {
        let read = match partition.started {
            true => self.reader.position(&partition.at).ok()?,
            // It will be read from there, once the store answers.
            false => partition.position()?.next_offset,
        };
        Some(end?.saturating_sub(read))
    }

    fn try_step(&mut self) -> Result<Step, Halt> {
        if let Some(backoff) = self.backoff {
            self.hold(backoff)?;
        }
        if !self.prepared {
            self.work.sink.prepare().map_err(halt_of)?;
            self.prepared = true;
        }
        self.start_partitions()?;
        let before = self.work.totals.clone();
        // What is left over from a step that could not be finished comes first.
        self.process_and_unpark()?;
        self.resume()?;
        let mut rebalanced = self.gather()?;
        self.process_and_unpark()?;
        // Those that are loaded anew have work to do, too.
        rebalanced |= self.partitions.values().any(|each| !each.started);
        self.say_what_is_read_to_its_end()?;
        let applied = self.work.totals.since(&before);
        Ok(match (applied.records + applied.unparked, rebalanced) {
            (0, true) => Step::Rebalanced,
            (0, false) if !self.is_under_way() => Step::Idle,
            _ => Step::Applied(applied),
        })
    }

    /// Waits without taking records, but stays a member of the group and hears of rebalances.
    fn hold(&mut self, backoff: Duration) -> Result<(), Halt> {
        if self.paused.is_empty() {
            let started: Vec<_> = self.started().cloned().collect();
            // Where it cannot be paused (lost, or the log is away), the poll tells what has happened,
            // and a record that it brings is kept.
            if self.reader.pause(&started).is_ok() {
                self.paused = started;
            }
        }
        let event = self.reader.poll(1, backoff).map_err(halt_of_log)?;
        self.hear(event).map(drop)
    }

    /// Ends the pause of everything that was paused, also of a partition that has meanwhile been reset
    /// and is about to start again: a pause outlives a seek.
    fn resume(&mut self) -> Result<(), Halt> {
        if !self.paused.is_empty() {
            self.reader.resume(&self.paused).map_err(halt_of_log)?;
            self.paused.clear();
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
            let loaded = self
                .work
                .sink
                .load(partition.key(), self.work.plan.generation);
            let start = partition.start(&self.work.plan, loaded.map_err(halt_of)?)?;
            starts.push((partition.at.clone(), start));
        }
        if starts.is_empty() {
            return Ok(());
        }
        self.warn_of_the_log_before(&starts);
        self.reader.seek_all(&starts).map_err(halt_of_log)?;
        for (at, _) in &starts {
            if let Some(partition) = self.partitions.get_mut(at) {
                partition.started = true;
            }
        }
        Ok(())
    }

    /// Once for all of them, and until each has been written to: nothing else tells it afterwards.
    fn warn_of_the_log_before(&self, starts: &[(TopicPartition, Start)]) {
        let generation = self.work.plan.generation;
        let stored = starts
            .iter()
            .filter_map(|(at, _)| self.partitions.get(at)?.position());
        let partitions = stored
            .filter(|stored| stored.generation < generation)
            .count();
        if partitions > 0 {
            let name = self.work.plan.projection.name;
            tracing::warn!(
                projection = self.work.plan.label(),
                partitions,
                generation,
                "the rows are of the log before this one, which is read from its beginning now: those that \
                 it does not name stay. `replay start {name}`, then `replay flip {name} --force` make a \
                 version of this log alone"
            );
        }
    }

    /// Moves the positions of partitions that have nothing more to read to the present time.
    fn say_what_is_read_to_its_end(&mut self) -> Result<(), Halt> {
        let due = |every| self.heartbeat.elapsed() >= every;
        if !self.work.limits.heartbeat.is_some_and(due) {
            return Ok(());
        }
        self.heartbeat = Instant::now();
        let at_rest = self.partitions.values().filter(|each| each.is_at_rest());
        let at_rest = at_rest.map(|partition| partition.at.clone()).collect();
        // Asked for in this order: what was recorded by then lies before the end.
        let now = Timestamp::now();
        for (at, end) in self.ends(at_rest) {
            let read = self.reader.position(&at);
            let Some(partition) = self.partitions.get_mut(&at) else {
                continue;
            };
            match read {
                Ok(read) if read >= end => partition.is_current(read, now),
                _ => continue,
            }
            self.work.drain(partition)?;
            self.work.finish(partition)?;
        }
        Ok(())
    }

    /// Applies what was read, and then looks at what is parked; also where too much is parked to go
    /// on.
    fn process_and_unpark(&mut self) -> Result<(), Halt> {
        match self.process() {
            Ok(()) => self.carry_out(),
            Err(held @ Halt::Hold(_)) => self.carry_out().and(Err(held)),
            Err(halt) => Err(halt),
        }
    }

    /// Carries out what is asked to be done about parked records, for a part of a second.
    fn carry_out(&mut self) -> Result<(), Halt> {
        if self.lookup.is_none() {
            return Ok(());
        }
        if let Some(after) = self.requests.due(self.work.limits.requests_every) {
            let (name, version) = (self.work.plan.projection.name, self.work.plan.version);
            let found = self.work.sink.requests(name, version, after);
            self.requests.found(found.map_err(halt_of)?);
        }
        let wanted = |each: &Partition| each.drain.is_some() || self.requests.concern(each);
        if self.partitions.values().any(wanted) {
            self.finish()?;
        }
        let Some(lookup) = &mut self.lookup else {
            return Ok(());
        };
        let until = Instant::now() + self.work.limits.unpark_slice;
        let settled = |each: &&mut Partition| each.is_settled();
        for partition in self.partitions.values_mut().filter(settled) {
            let mut drain = match partition.drain.take() {
                Some(drain) => drain,
                None => {
                    let Some(request) = self.requests.take_for(partition) else {
                        continue;
                    };
                    // Only the store knows what a process before this one has parked with a write
                    // that landed late.
                    if !partition.was_loaded_for(&request) {
                        self.requests.put_back(request);
                        continue;
                    }
                    Drain::begin(request, partition, &mut self.work)?
                }
            };
            if !partition.started {
                continue;
            }
            match drain.advance(partition, &mut self.work, lookup, until) {
                Ok(true) => self.requests.forget(drain.request()),
                unfinished => {
                    partition.drain = Some(drain);
                    unfinished?;
                }
            }
        }
        Ok(())
    }

    /// Takes in and applies everything that was read. A partition that must stop does so after
    /// what came before has been applied, and does not keep the others from being applied.
    fn process(&mut self) -> Result<(), Halt> {
        self.each(Work::drain)
    }

    fn is_under_way(&self) -> bool {
        let mut partitions = self.partitions.values();
        partitions.any(|partition| partition.under_way.is_some())
    }

    /// Waits for every batch that is under way.
    fn finish(&mut self) -> Result<(), Halt> {
        self.each(Work::finish)
    }

    /// Does something with every partition, and answers the worst of what stands in the way.
    fn each(
        &mut self,
        act: impl Fn(&mut Work, &mut Partition) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let partitions = self.partitions.values_mut();
        let halts = partitions.filter_map(|partition| act(&mut self.work, partition).err());
        halts.max().map_or(Ok(()), Err)
    }
}
