//! The way into inboxes from outside the shards: commands whose callers do not wait for the decision.

use std::sync::Arc;

use cartwright_domain::{Reason, Rejection};
use cartwright_event_log::{CommitError, EventLog, LogError, LogWriter, NewRecord};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::messages::SubmitCommand;
use cartwright_events::{Message, PositionToken, Timestamp};

use crate::nodes::ShardId;

/// Bytes that a command may have to be queued: beside it, a record has room for what it is known by.
const MAX_COMMAND_BYTES: usize = 850_000;

/// A command for the inbox of the shard that will decide it.
#[derive(Debug, Clone)]
pub struct QueuedCommand {
    /// Whose inbox.
    pub shard: ShardId,
    /// What is asked, by whom, and under which key.
    pub command: SubmitCommand,
    /// When it was accepted.
    pub time: Timestamp,
    /// What it belongs to.
    pub correlation_id: String,
    /// The trace that it is part of, in W3C's notation.
    pub traceparent: String,
    /// What prices must hold before it is decided.
    pub after: Option<PositionToken>,
}

impl QueuedCommand {
    /// Bytes of the command itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.command.command.len()
    }

    /// Whether it fits into a record.
    ///
    /// # Errors
    /// [`Reason::TooLarge`] with both numbers.
    pub fn fits(&self) -> Result<(), Rejection> {
        let bytes = self.bytes();
        if bytes <= MAX_COMMAND_BYTES {
            return Ok(());
        }
        let detail = format!(
            "The command has {bytes} bytes, of at most {MAX_COMMAND_BYTES} that can be queued"
        );
        Err(Rejection::new(Reason::TooLarge, detail))
    }
}

/// Writes commands to inboxes, so that they are durable also while the shard's owner is down.
#[derive(Debug)]
pub struct InboxWriter<L: EventLog> {
    log: L,
    codec: Codec,
    transactional_id: String,
    /// Connected by [`InboxWriter::prepare`] or when it is first needed, and again after a doubt.
    writer: Option<L::Writer>,
}

impl<L: EventLog> InboxWriter<L> {
    /// Writes under `transactional_id`, which has to be one process's alone: another writer of that id
    /// ends this one.
    pub fn new(log: L, codec: Codec, transactional_id: impl Into<String>) -> Self {
        Self {
            log,
            codec,
            transactional_id: transactional_id.into(),
            writer: None,
        }
    }

    /// Writes all of `commands` or none, in one transaction; returns their offsets in their inboxes
    /// once they are durable. Blocks as long as the log takes.
    ///
    /// # Errors
    /// [`CommitError::Unknown`] and [`CommitError::Fenced`] when they may be there all the same. The
    /// next call connects anew.
    pub fn write<'a>(
        &mut self,
        commands: impl IntoIterator<Item = &'a QueuedCommand>,
    ) -> Result<Vec<u64>, CommitError> {
        let records = commands.into_iter();
        let records = records
            .map(|command| record(&self.codec, command))
            .collect();
        let mut writer = self.ready()?;
        let receipt = writer.commit(records)?;
        // One that is in doubt is let go, as one that has failed.
        self.writer = (!receipt.doubtful).then_some(writer);
        Ok(receipt.offsets)
    }

    /// Takes the id over unless it is held: ends what a process before this one has left open, which
    /// every reader of its inbox would stand before. Blocks as long as the log takes.
    ///
    /// # Errors
    /// [`CommitError::NotCommitted`] when the log does not answer.
    pub fn prepare(&mut self) -> Result<(), CommitError> {
        let writer = self.ready()?;
        self.writer = Some(writer);
        Ok(())
    }

    fn ready(&mut self) -> Result<L::Writer, CommitError> {
        if let Some(writer) = self
            .writer
            .take()
            .filter(|writer| !writer.needs_take_over())
        {
            return Ok(writer);
        }
        let failed = |error: LogError| CommitError::NotCommitted {
            reason: error.to_string(),
        };
        let mut fresh = self.log.writer(&self.transactional_id).map_err(failed)?;
        fresh.take_over().map_err(failed)?;
        Ok(fresh)
    }
}

fn record(codec: &Codec, queued: &QueuedCommand) -> NewRecord {
    let context = queued.shard.context;
    let message = Message::SubmitCommand(queued.command.clone());
    let text = |text: &str| text.as_bytes().to_vec();
    let after = queued.after.as_ref();
    let after = after.map(|token| (header::AFTER_POSITION, text(&token.to_string())));
    NewRecord {
        topic: Arc::from(context.inbox_topic()),
        partition: queued.shard.partition,
        key: text(message.key()),
        value: Some(codec.encode_message(context, &message)),
        headers: [
            (header::CE_ID, text(&queued.command.command_id)),
            (header::CE_TYPE, text(message.type_name())),
            (header::CE_SOURCE, text("/cartwright/command-api")),
            (header::CE_TIME, text(&queued.time.to_string())),
            (header::CE_SPECVERSION, text("1.0")),
            (header::COMMAND_ID, text(&queued.command.command_id)),
            (header::CORRELATION_ID, text(&queued.correlation_id)),
            (header::TRACEPARENT, text(&queued.traceparent)),
        ]
        .into_iter()
        .chain(after)
        .collect(),
    }
}
