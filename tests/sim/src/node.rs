//! A process with one shard: its mailbox is a list, its inbox reader a read of the log.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_shard::{
    ArchiveAnswer, ArchiveAsk, Inputs, Lookup, Ownership, Shard, ShardOptions, Step, Submission,
};

use crate::bug::Bug;
use crate::log::{SimLog, text};
use crate::sim::{Sim, SimClock};
use crate::world::Events;

/// A shard in a process, and what has reached the process.
struct Process<B: BoundedContext> {
    shard: Shard<B, SimLog>,
    mailbox: Vec<Submission<B::Command>>,
    asks: Vec<ArchiveAsk>,
    lookups: Vec<Lookup>,
}

/// Whoever runs the shard of one partition of one context.
pub(crate) struct Node<B: BoundedContext + Clone> {
    context: B,
    partition: u32,
    log: SimLog,
    clock: Arc<SimClock>,
    results_kept: usize,
    owner: Process<B>,
    /// Processes that stood still while another took their place, and do not know it.
    zombies: Vec<Process<B>>,
}

impl<B: BoundedContext + Clone> Node<B> {
    pub(crate) fn new(context: B, partition: u32, log: &SimLog, results_kept: usize) -> Self {
        let clock = log.sim.clock();
        Self {
            owner: start(&context, partition, log, &clock, results_kept),
            results_kept,
            context,
            partition,
            log: log.clone(),
            clock,
            zombies: Vec::new(),
        }
    }

    pub(crate) fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// A request arrives, now and then at a process that is the owner no more.
    pub(crate) fn submit(&mut self, submission: Submission<B::Command>) {
        self.reached().mailbox.push(submission);
    }

    fn reached(&mut self) -> &mut Process<B> {
        let late = !self.zombies.is_empty() && self.log.sim.strikes(300);
        match self.zombies.first_mut() {
            Some(zombie) if late => zombie,
            _ => &mut self.owner,
        }
    }

    /// Somebody asks for a queued command, now and then where the shard is no more.
    pub(crate) fn look_up(&mut self, lookup: Lookup) {
        self.reached().lookups.push(lookup);
    }

    fn another(&self) -> Process<B> {
        let (clock, kept) = (&self.clock, self.results_kept);
        start(&self.context, self.partition, &self.log, clock, kept)
    }

    /// kill -9, and another process in its place.
    pub(crate) fn crash(&mut self) {
        self.owner = self.another();
    }

    /// The owner stands still, and another process takes over.
    pub(crate) fn freeze(&mut self) {
        let successor = self.another();
        let frozen = std::mem::replace(&mut self.owner, successor);
        self.zombies.push(frozen);
    }

    /// Kills whoever is not the owner.
    pub(crate) fn bury(&mut self) {
        self.zombies.clear();
    }

    /// Does what the owner would do next. Returns whether anything happened.
    ///
    /// # Errors
    /// When the shard refuses to serve: the log holds what no shard may write after.
    pub(crate) fn act(&mut self, most_inbox: usize) -> Result<bool, String> {
        let ownership = self.owner.shard.ownership().borrow().clone();
        match ownership {
            Ownership::Fenced { .. } | Ownership::Stopped => {
                self.crash();
                return Ok(true);
            }
            Ownership::Refused { reason } if is_of_the_clock(&reason) => {
                // Whoever begins anew takes the time for right, as a process that starts alone does.
                self.log.sim.count("claim ended by a clock that jumped");
                self.crash();
                return Ok(true);
            }
            _ => {}
        }
        let Self {
            owner,
            log,
            partition,
            ..
        } = self;
        let done = Sim::alive(|| act(owner, log, *partition, most_inbox));
        done.unwrap_or_else(|| {
            self.crash();
            Ok(true)
        })
    }

    /// Lets a process go on that stood still.
    ///
    /// # Errors
    /// As [`act`](Self::act).
    pub(crate) fn act_late(&mut self) -> Result<(), String> {
        let Some(mut zombie) = self.zombies.pop() else {
            return Ok(());
        };
        let done = Sim::alive(|| act(&mut zombie, &self.log, self.partition, 3));
        let ended = zombie.shard.ownership().borrow().is_final();
        match done {
            Some(Err(problem)) => return Err(problem),
            Some(Ok(_)) if !ended => self.zombies.push(zombie),
            // Killed, or it has noticed.
            _ => {}
        }
        Ok(())
    }

    /// Holds what is in memory against what the events of the log make of it, stream by stream.
    ///
    /// # Errors
    /// The aggregate that is not the same.
    pub(crate) fn agrees_with(&self, streams: &[Rc<Events>]) -> Result<(), String> {
        let name = format!("{}[{}]", B::CONTEXT.name(), self.partition);
        let memory = self.owner.shard.aggregates();
        let memory = memory.ok_or_else(|| format!("{name} does not serve at rest"))?;
        let mut folded = B::State::default();
        let events = streams.iter().flat_map(|events| events.iter());
        for (record, event) in events.filter(|(record, _)| record.partition == self.partition) {
            let seq = text(record, header::SEQ).and_then(|seq| seq.parse().ok());
            let evolved = self
                .context
                .evolve(&mut folded, event, seq.unwrap_or_default());
            evolved.map_err(|error| format!("{name}: {error}"))?;
        }
        for id in self.context.ids_after(memory, None) {
            let shown = |state| serde_json::to_value(self.context.snapshot(state, id));
            let (held, written) = (shown(memory), shown(&folded));
            let (held, written) = (held.map_err(as_text)?, written.map_err(as_text)?);
            if held != written {
                return Err(format!(
                    "{name} holds {id} as {held}, the log has {written}"
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn next_due(&self) -> Option<cartwright_events::Timestamp> {
        self.owner.shard.next_due()
    }
}

fn as_text(error: serde_json::Error) -> String {
    error.to_string()
}

fn act<B: BoundedContext>(
    process: &mut Process<B>,
    log: &SimLog,
    partition: u32,
    most_inbox: usize,
) -> Result<bool, String> {
    let name = || format!("{}[{partition}]", B::CONTEXT.name());
    let ownership = process.shard.ownership().borrow().clone();
    match ownership {
        Ownership::Refused { reason } if is_of_the_clock(&reason) => Ok(false),
        Ownership::Refused { reason } | Ownership::Outdated { reason } => {
            Err(format!("{} refuses: {reason}", name()))
        }
        Ownership::Fenced { .. } | Ownership::Replaced | Ownership::Stopped => Ok(false),
        Ownership::Recovering { .. } | Ownership::Standby if log.sim.strikes(300) => {
            // Gets ready while somebody else may still write.
            let ready = process.shard.prepare();
            log.sim.trace(&format!("{} stands by: {ready:?}", name()));
            Ok(true)
        }
        Ownership::Recovering { .. } | Ownership::Standby => {
            // A failed take-over is tried again by a later act.
            let taken = process.shard.take_over();
            log.sim.trace(&format!("{} takes over: {taken:?}", name()));
            Ok(true)
        }
        Ownership::Serving { .. } => {
            let position = process.shard.inbox_position();
            let (inbox, inbox_read) = inbox::<B>(log, partition, position, most_inbox);
            let archive = read_archive(process, log, partition);
            let busy = !inbox.is_empty()
                || !process.mailbox.is_empty()
                || !archive.is_empty()
                || !process.lookups.is_empty()
                || process.shard.has_backlog();
            let commands = std::mem::take(&mut process.mailbox);
            if busy {
                let (commands, inbox) = (commands.len(), inbox.len());
                let what = format!("{} takes {commands} commands, {inbox} messages", name());
                log.sim.trace(&what);
            }
            let step = process.shard.step(Inputs {
                commands,
                inbox,
                inbox_read,
                archive,
                watches: Vec::new(),
                lookups: std::mem::take(&mut process.lookups),
            });
            if busy || step != Step::Idle {
                log.sim.trace(&format!("{}: {step:?}", name()));
            }
            Ok(busy || step != Step::Idle)
        }
    }
}

/// The one refusal that is no fault of the log's.
fn is_of_the_clock(reason: &str) -> bool {
    reason.contains("clock has jumped")
}

/// Answers what the shard asks of its snapshots; what can't be read is read by a later act.
fn read_archive<B: BoundedContext>(
    process: &mut Process<B>,
    log: &SimLog,
    partition: u32,
) -> Vec<ArchiveAnswer> {
    process.asks.extend(process.shard.take_asks());
    let at = TopicPartition::new(B::CONTEXT.snapshots_topic(), partition);
    let mut answers = Vec::new();
    process.asks.retain(|ask| {
        let answer = ask.answer(log, &at, Duration::ZERO);
        answer.map(|answer| answers.push(answer)).is_err()
    });
    answers
}

fn inbox<B: BoundedContext>(
    log: &SimLog,
    partition: u32,
    position: Option<u64>,
    most: usize,
) -> (Vec<Record>, u64) {
    let Some(position) = position else {
        return (Vec::new(), 0);
    };
    let at = TopicPartition::new(B::CONTEXT.inbox_topic(), partition);
    let read = log.reader(ReaderPurpose::Tailing).and_then(|mut reader| {
        reader.assign(&[(at.clone(), Start::Offset(position))])?;
        let mut records = reader.poll(most, Duration::ZERO)?;
        let read_to = reader.position(&at)?;
        misread(log, &mut records, read_to);
        Ok((records, read_to))
    });
    // A reader that fails is read again by a later act.
    read.unwrap_or_default()
}

/// What planted bugs do to a batch that ends before `position`.
fn misread(log: &SimLog, records: &mut Vec<Record>, position: u64) {
    let Some(last) = records.last().cloned() else {
        return;
    };
    // Only where a control record follows: the copy takes its offset.
    if position > last.offset + 1 && log.sim.shows(Bug::ApplyAMessageTwice, 100) {
        records.push(Record {
            offset: last.offset + 1,
            ..last
        });
    }
    if records.len() > 1 && log.sim.shows(Bug::LoseAMessage, 200) {
        records.remove(0);
    }
}

fn start<B: BoundedContext + Clone>(
    context: &B,
    partition: u32,
    log: &SimLog,
    clock: &Arc<SimClock>,
    results_kept: usize,
) -> Process<B> {
    let options = ShardOptions {
        // Half-read logs are the log's fault here, not time's.
        recovery_stall_ms: 0,
        // Small, so that rounds of snapshots and the way into the archive and back are everywhere.
        checkpoint_tail: 8,
        results_kept: results_kept - usize::from(log.sim.has(Bug::ForgetTooEarly)),
        results_reach: 6,
        snapshot_group_bytes: 2_000,
        archive_after_ms: 2_000,
        finished_kept: 4,
        archive_page: 1 + partition as usize,
        ..ShardOptions::default()
    };
    Process {
        shard: Shard::new(
            context.clone(),
            partition,
            log.clone(),
            Codec::fixed(),
            options,
            Arc::clone(clock) as _,
        ),
        mailbox: Vec::new(),
        asks: Vec::new(),
        lookups: Vec::new(),
    }
}
