//! What a shard's thread does: waits for whatever arrives, and gives it to the shard step by step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, LogError};
use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use crate::archive::{ArchiveAnswer, ArchiveAsk, ArchiveReader};
use crate::clock::Clock;
use crate::inbox::{InboxBatch, InboxPump};
use crate::mailbox::Letter;
use crate::options::ShardOptions;
use crate::ownership::Ownership;
use crate::pace::Pace;
use crate::shard::{Inputs, Shard, Step};
use crate::thread::Begin;

/// How often a shard that stands by reads on.
const STANDBY_READ_EVERY: Duration = Duration::from_millis(20);

/// The longest wait without a look at the clock: bounds how late a timer can be after a clock jump.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What a running shard is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Serve,
    Stop,
}

pub(crate) struct Runner<B: BoundedContext, L: EventLog> {
    pub(crate) shard: Shard<B, L>,
    pub(crate) letters: Receiver<Letter<B::Command>>,
    pub(crate) pump: InboxPump,
    pub(crate) archive: ArchiveReader,
    /// What the archive reader has had no room for yet.
    pub(crate) asks: VecDeque<ArchiveAsk>,
    pub(crate) told: Receiver<Order>,
    /// Another process owns the partition now.
    pub(crate) deposed: Arc<AtomicBool>,
    pub(crate) options: ShardOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pace: Pace,
}

/// What woke the runner.
enum Woken<C> {
    Letter(Letter<C>),
    Inbox(InboxBatch),
    Archive(ArchiveAnswer),
    /// Whatever this reads will come no more.
    Dead(&'static str),
    Timer,
    Stop,
}

impl<B: BoundedContext, L: EventLog> Runner<B, L> {
    pub(crate) fn run(mut self, begin: Begin) {
        let may_serve = match begin {
            Begin::TakeOver => true,
            Begin::Reclaim { epoch } => self.may_reclaim(epoch),
            Begin::StandBy => self.stand_by(),
        };
        if may_serve && self.take_over() {
            self.serve();
        }
        self.pump.stop();
        self.archive.stop();
        // Dropping the mailbox's receiving end ends every reply that still waits in it.
    }

    /// Serves until stopped or ended.
    fn serve(&mut self) {
        loop {
            let mut inputs = Inputs::default();
            self.pump.tell();
            let woken = if self.shard.has_backlog() {
                Woken::Timer
            } else {
                self.wait()
            };
            // Before anything is taken that the take-over would make stale.
            if self.shard.check_writer() == Step::TakeOver && !self.take_over() {
                return;
            }
            let stop = match woken {
                Woken::Letter(letter) => {
                    put(&mut inputs, letter);
                    false
                }
                Woken::Inbox(batch) => {
                    if !self.put_inbox(&mut inputs, batch) {
                        return;
                    }
                    false
                }
                Woken::Archive(answer) => {
                    inputs.archive.push(answer);
                    false
                }
                Woken::Dead(thread) => {
                    let reason = format!("the thread that reads {thread} has died");
                    self.shard.end(Ownership::Refused { reason });
                    return;
                }
                Woken::Timer => self.told.try_recv() == Ok(Order::Stop),
                Woken::Stop => true,
            };
            if !self.drain(&mut inputs) {
                return;
            }
            if !self.step(inputs) {
                return;
            }
            if stop {
                self.finish();
                return;
            }
        }
    }

    /// One step and what has to follow it. Returns whether the shard goes on.
    fn step(&mut self, inputs: Inputs<B::Command>) -> bool {
        let taken = self.shard.backlog() + inputs.commands.len();
        self.pace.take(taken);
        let begun = Instant::now();
        let step = self.shard.step(inputs);
        self.ask_archive();
        let gap = Duration::from_millis(self.options.commit_gap_ms);
        if step == Step::Committed {
            pause(gap);
        }
        let left = self.shard.backlog();
        self.pace
            .done(taken.saturating_sub(left), left, begun.elapsed());
        match step {
            Step::Idle | Step::Committed => true,
            Step::TakeOver => self.take_over(),
            Step::Ended => false,
        }
    }

    /// Hands on what the shard wants to know; what there is no room for waits for a later step.
    fn ask_archive(&mut self) {
        self.asks.extend(self.shard.take_asks());
        while let Some(ask) = self.asks.pop_front() {
            if let Err(ask) = self.archive.ask(ask) {
                self.asks.push_front(ask);
                return;
            }
        }
    }

    /// Decides what is left in the mailbox, then lets go of the partition.
    fn finish(&mut self) {
        loop {
            let mut inputs = Inputs::default();
            while let Ok(letter) = self.letters.try_recv() {
                put(&mut inputs, letter);
            }
            if inputs.commands.is_empty() && !self.shard.has_backlog() {
                break;
            }
            if !self.step(inputs) {
                return;
            }
        }
        self.shard.end(Ownership::Stopped);
    }

    fn wait(&self) -> Woken<B::Command> {
        let due = self.shard.next_due().map_or(LONGEST_WAIT, |due| {
            let micros = due.as_micros().saturating_sub(self.clock.now().as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0)).min(LONGEST_WAIT)
        });
        let nothing = crossbeam_channel::never();
        let batches = if self.shard.inbox_is_full() {
            &nothing
        } else {
            &self.pump.batches
        };
        select! {
            recv(self.told) -> order => match order {
                Ok(Order::Serve) => Woken::Timer,
                // Whoever could tell has gone.
                Ok(Order::Stop) | Err(_) => Woken::Stop,
            },
            recv(self.letters) -> letter => letter.map_or(Woken::Stop, Woken::Letter),
            recv(batches) -> batch => batch.map_or(Woken::Dead("the inbox"), Woken::Inbox),
            recv(self.archive.answers) -> answer => answer.map_or(Woken::Dead("the snapshots"), Woken::Archive),
            default(due) => Woken::Timer,
        }
    }

    /// Takes what else has arrived: larger groups are cheaper. Returns whether the shard goes on.
    fn drain(&mut self, inputs: &mut Inputs<B::Command>) -> bool {
        // No more than a group can take: what waits has to wait in the mailbox, whose bound is what
        // callers are refused by.
        let room = self
            .options
            .group_records
            .min(self.options.mailbox_capacity);
        while inputs.commands.len() + self.shard.backlog() < room {
            let Ok(letter) = self.letters.try_recv() else {
                break;
            };
            put(inputs, letter);
        }
        inputs.archive.extend(self.archive.answers.try_iter());
        while inputs.inbox.len() < self.options.inbox_batch && !self.shard.inbox_is_full() {
            let Ok(batch) = self.pump.batches.try_recv() else {
                break;
            };
            if !self.put_inbox(inputs, batch) {
                return false;
            }
        }
        true
    }

    fn put_inbox(&mut self, inputs: &mut Inputs<B::Command>, batch: InboxBatch) -> bool {
        if !self.pump.is_current(&batch) {
            return true;
        }
        match batch.read {
            Ok(read) => {
                inputs.inbox.extend(read.records);
                inputs.inbox_read = read.to;
            }
            Err(error @ LogError::OutOfRange { .. }) => {
                // Messages that were deleted before they were applied: somebody's orders hang.
                let reason = format!("the inbox has lost messages: {error}");
                self.shard.end(Ownership::Refused { reason });
                return false;
            }
            Err(error) => tracing::warn!(%error, "the inbox can't be read; trying again"),
        }
        true
    }

    /// Gets ready and reads along until told to serve. Returns whether it was.
    fn stand_by(&mut self) -> bool {
        let mut pause = Duration::from_millis(self.options.take_over_backoff_ms);
        let longest = Duration::from_millis(self.options.take_over_backoff_max_ms);
        loop {
            let wait = match self.shard.prepare() {
                Ok(Step::Ended) => return false,
                Ok(_) => STANDBY_READ_EVERY,
                Err(reason) => {
                    tracing::warn!(reason, "getting ready to take over failed; trying again");
                    let wait = pause;
                    pause = (pause * 2).min(longest);
                    wait
                }
            };
            match self.told.recv_timeout(wait) {
                Ok(Order::Serve) => return true,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.shard.end(Ownership::Stopped);
                    return false;
                }
            }
        }
    }

    /// Whether nobody else has served since this epoch.
    fn may_reclaim(&mut self, epoch: u64) -> bool {
        let replaced = self.until_it_works("looking for another owner", |runner| {
            runner.shard.is_replaced(epoch)
        });
        if replaced == Some(true) {
            self.shard.end(Ownership::Replaced);
        }
        replaced == Some(false)
    }

    /// Takes over until it serves. Returns whether it does.
    fn take_over(&mut self) -> bool {
        let step = self.until_it_works("the take-over", |runner| runner.shard.take_over());
        if !step.is_some_and(|step| step != Step::Ended) {
            return false;
        }
        self.ask_archive();
        let position = self.shard.inbox_position();
        self.pump.start_at(position.unwrap_or_default());
        true
    }

    /// Tries again after a pause for as long as it fails. `None`: it was told to stop.
    fn until_it_works<T>(
        &mut self,
        what: &str,
        mut attempt: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Option<T> {
        let mut pause = Duration::from_millis(self.options.take_over_backoff_ms);
        let longest = Duration::from_millis(self.options.take_over_backoff_max_ms);
        loop {
            if self.deposed.load(Ordering::Relaxed) {
                self.shard.end(Ownership::Stopped);
                return None;
            }
            match attempt(self) {
                Ok(done) => return Some(done),
                Err(reason) => tracing::warn!(reason, "{what} failed; trying again"),
            }
            match self.told.recv_timeout(pause) {
                Ok(Order::Serve) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.shard.end(Ownership::Stopped);
                    return None;
                }
            }
            pause = (pause * 2).min(longest);
        }
    }
}

/// Waits, also when a channel that was waited for before has left the thread unparked.
fn pause(length: Duration) {
    let begun = Instant::now();
    while let Some(left) = length.checked_sub(begun.elapsed())
        && !left.is_zero()
    {
        thread::park_timeout(left);
    }
}

fn put<C>(inputs: &mut Inputs<C>, letter: Letter<C>) {
    match letter {
        Letter::Command(submission) => inputs.commands.push(submission),
        Letter::Lookup(lookup) => inputs.lookups.push(lookup),
        Letter::Watch {
            aggregate_id,
            reply,
        } => inputs.watches.push((aggregate_id, reply)),
    }
}
