//! A shard on a thread of its own: librdkafka's transactional calls block.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, LogError, Record, TopicPartition};
use cartwright_events::codec::Codec;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use tokio::sync::watch;

use crate::archive::{ArchiveAnswer, ArchiveAsk};
use crate::archive_reader::ArchiveReader;
use crate::clock::Clock;
use crate::decide::panic_text;
use crate::inbox::{InboxBatch, InboxPump, Watchdog};
use crate::mailbox::{Letter, Mailbox};
use crate::options::ShardOptions;
use crate::ownership::Ownership;
use crate::shard::{Inputs, Shard, Step};

/// How often a shard that stands by reads on.
const STANDBY_READ_EVERY: Duration = Duration::from_millis(20);

/// The longest wait without a look at the clock: bounds how late a timer can be after a clock jump.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// How a shard begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It takes over at once.
    TakeOver,
    /// It gets ready, reads along, and takes over when told to [`ShardThread::serve`].
    StandBy,
}

/// What a running shard is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Serve,
    Stop,
}

/// Orders that may wait: one of each is enough.
const WAITING_ORDERS: usize = 2;

/// A running shard.
#[derive(Debug)]
pub struct ShardThread<C> {
    /// The way to reach it.
    pub mailbox: Mailbox<C>,
    orders: Sender<Order>,
    deposed: Arc<AtomicBool>,
    /// Ends with whether it ended by itself, and not by a panic.
    thread: JoinHandle<bool>,
}

impl<C> ShardThread<C> {
    /// Tells a shard that stands by to take over. One that serves is not disturbed.
    pub fn serve(&self) {
        // Full means told already.
        let _ = self.orders.try_send(Order::Serve);
    }

    /// Asks the shard to commit what it can and end, because another process owns its partition
    /// now: it never takes over again, which would fence the new owner. What is in doubt is answered
    /// as unknown; the new owner's log settles it.
    pub fn let_go(&self) {
        self.deposed.store(true, Ordering::Relaxed);
        self.ask_to_stop();
    }

    /// Asks the shard to decide what waits, commit it and end, without waiting for it.
    pub fn ask_to_stop(&self) {
        // Full can only mean that a stop is among what waits.
        let _ = self.orders.try_send(Order::Stop);
    }

    /// Whether its thread has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Whether it will write nothing any more: its claim on the partition has ended, its producer is
    /// closed, and another process can take over undisturbed. Its threads may take longer to end.
    #[must_use]
    pub fn has_let_go(&self) -> bool {
        self.has_ended() || self.mailbox.ownership.borrow().is_final()
    }

    /// Asks the shard to decide what waits, commit it and end. Returns whether it did within
    /// `limit`.
    #[must_use]
    pub fn stop(self, limit: Duration) -> bool {
        self.ask_to_stop();
        let Self { thread, .. } = self;
        let asked = Instant::now();
        while !thread.is_finished() {
            if asked.elapsed() > limit {
                return false;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        thread.join().unwrap_or(false)
    }
}

/// Starts a shard of `partition` on its own thread.
///
/// # Errors
/// When the machine gives no thread.
pub fn spawn<B: BoundedContext, L: EventLog>(
    context: B,
    partition: u32,
    log: L,
    codec: Codec,
    options: ShardOptions,
    clock: Arc<dyn Clock>,
    begin: Begin,
) -> std::io::Result<ShardThread<B::Command>> {
    let (sender, letters) = bounded(options.mailbox_capacity);
    let (orders, told) = bounded(WAITING_ORDERS);
    let inbox = TopicPartition::new(B::CONTEXT.inbox_topic(), partition);
    let (trouble, inbox_trouble) = watch::channel(None);
    let stuck_after = Duration::from_millis(options.inbox_stuck_after_ms);
    let watchdog = Watchdog::new(stuck_after, trouble);
    let pump = InboxPump::spawn(log.clone(), inbox, options.inbox_batch, watchdog)?;
    let snapshots = TopicPartition::new(B::CONTEXT.snapshots_topic(), partition);
    let archive = ArchiveReader::spawn(log.clone(), snapshots, options.recovery_stall())?;
    let shard = Shard::new(
        context,
        partition,
        log,
        codec,
        options.clone(),
        Arc::clone(&clock),
    );
    let micros_per_command = Arc::new(AtomicU64::new(50));
    let mailbox = Mailbox {
        letters: sender,
        ownership: shard.ownership(),
        inbox_trouble,
        micros_per_command: Arc::clone(&micros_per_command),
    };
    let deposed = Arc::new(AtomicBool::new(false));
    let runner = Runner {
        deposed: Arc::clone(&deposed),
        shard,
        letters,
        pump,
        archive,
        asks: VecDeque::new(),
        told,
        options,
        clock,
        micros_per_command,
    };
    let thread = thread::Builder::new()
        .name(format!("{}-{partition}", B::CONTEXT.name()))
        .spawn(move || run_or_say_why_not(runner, begin))?;
    Ok(ShardThread {
        mailbox,
        orders,
        deposed,
        thread,
    })
}

/// Runs the shard. One that panics says so by its ownership: it would else look alive to whoever
/// asks, and neither callers nor the allocator would know that nobody is there. Nothing of it is used
/// afterwards. Returns whether it ended by itself.
fn run_or_say_why_not<B: BoundedContext, L: EventLog>(runner: Runner<B, L>, begin: Begin) -> bool {
    let (ownership, partition) = (runner.shard.ownership.clone(), runner.shard.place.partition);
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| runner.run(begin))) else {
        return true;
    };
    let reason = format!("a panic: {}", panic_text(panic.as_ref()));
    tracing::error!(
        context = B::CONTEXT.name(),
        partition,
        reason,
        "the shard has ended"
    );
    ownership.send_replace(Ownership::Refused { reason });
    false
}

struct Runner<B: BoundedContext, L: EventLog> {
    shard: Shard<B, L>,
    letters: Receiver<Letter<B::Command>>,
    pump: InboxPump,
    archive: ArchiveReader,
    /// What the archive reader has had no room for yet.
    asks: VecDeque<ArchiveAsk>,
    told: Receiver<Order>,
    /// Another process owns the partition now.
    deposed: Arc<AtomicBool>,
    options: ShardOptions,
    clock: Arc<dyn Clock>,
    micros_per_command: Arc<AtomicU64>,
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
    fn run(mut self, begin: Begin) {
        let may_serve = begin == Begin::TakeOver || self.stand_by();
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
        let waiting = self.shard.backlog() + inputs.commands.len();
        let begun = Instant::now();
        let step = self.shard.step(inputs);
        self.ask_archive();
        let gap = Duration::from_millis(self.options.commit_gap_ms);
        if step == Step::Committed && !gap.is_zero() {
            thread::park_timeout(gap);
        }
        let decided = waiting.saturating_sub(self.shard.backlog()) as u64;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(each) = micros.checked_div(decided) {
            let before = self.micros_per_command.load(Ordering::Relaxed);
            self.micros_per_command
                .store((before * 7 + each) / 8, Ordering::Relaxed);
        }
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
        match batch.records {
            Ok(records) => inputs.inbox.extend(records as Vec<Record>),
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

    /// Takes over until it serves. Returns whether it does.
    fn take_over(&mut self) -> bool {
        let mut pause = Duration::from_millis(self.options.take_over_backoff_ms);
        let longest = Duration::from_millis(self.options.take_over_backoff_max_ms);
        loop {
            if self.deposed.load(Ordering::Relaxed) {
                self.shard.end(Ownership::Stopped);
                return false;
            }
            match self.shard.take_over() {
                Ok(Step::Ended) => return false,
                Ok(_) => {
                    // Those of an earlier take-over have no answer any more.
                    self.asks.clear();
                    self.ask_archive();
                    self.pump
                        .start_at(self.shard.inbox_position().unwrap_or_default());
                    return true;
                }
                Err(reason) => tracing::warn!(reason, "the take-over failed; trying again"),
            }
            match self.told.recv_timeout(pause) {
                Ok(Order::Serve) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.shard.end(Ownership::Stopped);
                    return false;
                }
            }
            pause = (pause * 2).min(longest);
        }
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
