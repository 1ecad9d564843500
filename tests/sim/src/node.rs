//! A process with one shard: its mailbox is a list, its inbox reader a read of the log.

use std::sync::Arc;
use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_shard::{
    ArchiveAnswer, ArchiveAsk, Inputs, ManualClock, Ownership, Shard, ShardOptions, Step,
    Submission,
};

/// The process of one partition of one context.
pub(crate) struct Node<B: BoundedContext + Clone> {
    context: B,
    partition: u32,
    log: MemoryLog,
    clock: Arc<ManualClock>,
    shard: Shard<B, MemoryLog>,
    mailbox: Vec<Submission<B::Command>>,
    asks: Vec<ArchiveAsk>,
}

impl<B: BoundedContext + Clone> Node<B> {
    pub(crate) fn new(
        context: B,
        partition: u32,
        log: &MemoryLog,
        clock: &Arc<ManualClock>,
    ) -> Self {
        let shard = start(&context, partition, log, clock);
        Self {
            context,
            partition,
            log: log.clone(),
            clock: Arc::clone(clock),
            shard,
            mailbox: Vec::new(),
            asks: Vec::new(),
        }
    }

    pub(crate) fn submit(&mut self, submission: Submission<B::Command>) {
        self.mailbox.push(submission);
    }

    /// kill -9, and another process in its place.
    pub(crate) fn crash(&mut self) {
        self.mailbox.clear();
        self.asks.clear();
        self.shard = start(&self.context, self.partition, &self.log, &self.clock);
    }

    /// Does what the process would do next. Returns whether anything happened.
    ///
    /// # Errors
    /// When the shard refuses to serve: the log holds what no shard may write after.
    pub(crate) fn act(&mut self, most_inbox: usize) -> Result<bool, String> {
        let ownership = self.shard.ownership().borrow().clone();
        match ownership {
            Ownership::Refused { reason } => Err(format!(
                "{}[{}] refuses: {reason}",
                B::CONTEXT.name(),
                self.partition
            )),
            Ownership::Fenced | Ownership::Stopped => {
                self.crash();
                Ok(true)
            }
            Ownership::Recovering { .. } | Ownership::Standby => {
                // A failed take-over is tried again by a later act.
                let _ = self.shard.take_over();
                Ok(true)
            }
            Ownership::Serving { .. } => {
                let inbox = self.inbox(most_inbox);
                let busy =
                    !inbox.is_empty() || !self.mailbox.is_empty() || self.shard.has_backlog();
                let archive = self.read_archive();
                let busy = busy || !archive.is_empty();
                let step = self.shard.step(Inputs {
                    commands: std::mem::take(&mut self.mailbox),
                    inbox,
                    archive,
                    ..Inputs::default()
                });
                Ok(busy || step != Step::Idle)
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<cartwright_events::Timestamp> {
        self.shard.next_due()
    }

    /// Answers what the shard asks of its snapshots; what can't be read is read by a later act.
    fn read_archive(&mut self) -> Vec<ArchiveAnswer> {
        self.asks.extend(self.shard.take_asks());
        let at = TopicPartition::new(B::CONTEXT.snapshots_topic(), self.partition);
        let mut answers = Vec::new();
        self.asks
            .retain(|ask| match ask.answer(&self.log, &at, Duration::ZERO) {
                Ok(answer) => {
                    answers.push(answer);
                    false
                }
                Err(_) => true,
            });
        answers
    }

    fn inbox(&self, most: usize) -> Vec<cartwright_event_log::Record> {
        let Some(position) = self.shard.inbox_position() else {
            return Vec::new();
        };
        let at = TopicPartition::new(B::CONTEXT.inbox_topic(), self.partition);
        let read = self
            .log
            .reader(ReaderPurpose::Tailing)
            .and_then(|mut reader| {
                reader.assign(&[(at, Start::Offset(position))])?;
                reader.poll(most, Duration::ZERO)
            });
        // A reader that fails is read again by a later act.
        read.unwrap_or_default()
    }
}

fn start<B: BoundedContext + Clone>(
    context: &B,
    partition: u32,
    log: &MemoryLog,
    clock: &Arc<ManualClock>,
) -> Shard<B, MemoryLog> {
    let options = ShardOptions {
        // Half-read logs are the log's fault here, not time's.
        recovery_stall_ms: 0,
        // Small, so that rounds of snapshots and the way into the archive and back are everywhere.
        checkpoint_tail: 8,
        snapshot_group_bytes: 2_000,
        archive_after_ms: 2_000,
        finished_kept: 4,
        ..ShardOptions::default()
    };
    Shard::new(
        context.clone(),
        partition,
        log.clone(),
        Codec::fixed(),
        options,
        Arc::clone(clock) as _,
    )
}
