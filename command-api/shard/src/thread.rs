//! A shard on a thread of its own: librdkafka's transactional calls block.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, TopicPartition};
use cartwright_events::codec::Codec;
use crossbeam_channel::{Sender, bounded};
use tokio::sync::watch;

use crate::archive::ArchiveReader;
use crate::clock::Clock;
use crate::decide::panic_text;
use crate::inbox::{InboxPump, Watchdog};
use crate::mailbox::Mailbox;
use crate::options::ShardOptions;
use crate::ownership::Ownership;
use crate::pace::Pace;
use crate::runner::{Order, Runner};
use crate::shard::Shard;

/// Orders that may wait: one of each is enough.
const WAITING_ORDERS: usize = 2;

/// How a shard begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It takes over at once.
    TakeOver,
    /// It takes over unless another process has served since it was fenced.
    Reclaim {
        /// See [`Ownership::Fenced`].
        epoch: u64,
    },
    /// It gets ready, reads along, and takes over when told to [`ShardThread::serve`].
    StandBy,
}

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
    let pace = Pace::default();
    let mailbox = Mailbox {
        letters: sender,
        ownership: shard.ownership(),
        inbox_trouble,
        pace: pace.clone(),
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
        pace,
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
