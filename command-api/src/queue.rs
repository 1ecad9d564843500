//! Commands whose callers do not wait: written to the inbox of the shard that will decide them, by
//! this process itself, so that they are durable also while that shard's owner is down.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use cartwright_event_log::{CommitError, EventLog, LogError, LogWriter, NewRecord};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::messages::SubmitCommand;
use cartwright_events::{Message, PositionToken, Timestamp};
use cartwright_shard::nodes::ShardId;
use tokio::sync::oneshot;

/// A command to be written.
pub(crate) struct Queued {
    pub(crate) shard: ShardId,
    pub(crate) command: SubmitCommand,
    pub(crate) correlation_id: String,
    pub(crate) traceparent: String,
    /// What prices must hold before it is decided.
    pub(crate) after: Option<PositionToken>,
}

struct Waiting {
    queued: Queued,
    written: oneshot::Sender<Result<u64, CommitError>>,
}

/// Why a command was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// Too many wait.
    Full,
    /// It is not in the inbox.
    NotWritten(String),
    /// It may be.
    Unknown(String),
}

/// The way to the writing thread. A cheap handle; the thread ends with the last one.
#[derive(Debug, Clone)]
pub struct Queue {
    commands: SyncSender<Waiting>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl Queue {
    /// Starts the thread, which writes under `transactional_id`: one process's alone. `capacity`
    /// commands may wait to be written, of which `group` go into one transaction.
    pub(crate) fn start<L: EventLog>(
        log: L,
        codec: Codec,
        transactional_id: String,
        (capacity, group): (usize, usize),
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (commands, waiting) = sync_channel(capacity);
        let thread = std::thread::Builder::new()
            .name("queue".to_owned())
            .spawn(move || write(&log, &codec, &transactional_id, group, &waiting))?;
        Ok((Self { commands }, thread))
    }

    /// Writes a command; returns its offset in the inbox once it is durable.
    pub(crate) async fn put(&self, queued: Queued) -> Result<u64, NotQueued> {
        let (written, done) = oneshot::channel();
        self.commands
            .try_send(Waiting { queued, written })
            .map_err(|error| match error {
                TrySendError::Full(_) => NotQueued::Full,
                TrySendError::Disconnected(_) => {
                    NotQueued::NotWritten("this process stops".to_owned())
                }
            })?;
        match done.await {
            Ok(Ok(offset)) => Ok(offset),
            Ok(Err(error @ (CommitError::Unknown { .. } | CommitError::Fenced))) => {
                Err(NotQueued::Unknown(error.to_string()))
            }
            Ok(Err(error)) => Err(NotQueued::NotWritten(error.to_string())),
            Err(_) => Err(NotQueued::Unknown("its writer has ended".to_owned())),
        }
    }
}

fn write<L: EventLog>(
    log: &L,
    codec: &Codec,
    transactional_id: &str,
    most: usize,
    waiting: &Receiver<Waiting>,
) {
    // Connected when it is first needed; most processes never do.
    let mut writer = None;
    while let Ok(first) = waiting.recv() {
        let mut group = VecDeque::from([first]);
        group.extend(waiting.try_iter().take(most.saturating_sub(1)));
        let records = group.iter().map(|waiting| record(codec, &waiting.queued));
        let records: Vec<NewRecord> = records.collect();
        let committed = ready(log, transactional_id, &mut writer)
            .and_then(|writer: &mut L::Writer| writer.commit(records));
        match committed {
            Ok(receipt) => {
                if receipt.doubtful {
                    writer = None;
                }
                for (waiting, offset) in group.into_iter().zip(receipt.offsets) {
                    // A caller that has gone is no error.
                    let _ = waiting.written.send(Ok(offset));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "queued commands could not be written");
                writer = None;
                for waiting in group {
                    let _ = waiting.written.send(Err(error.clone()));
                }
            }
        }
    }
}

fn ready<'a, L: EventLog>(
    log: &L,
    transactional_id: &str,
    writer: &'a mut Option<L::Writer>,
) -> Result<&'a mut L::Writer, CommitError> {
    let failed = |error: LogError| CommitError::NotCommitted {
        reason: error.to_string(),
    };
    if writer.as_ref().is_none_or(L::Writer::needs_take_over) {
        let mut fresh = log.writer(transactional_id).map_err(failed)?;
        fresh.take_over().map_err(failed)?;
        *writer = Some(fresh);
    }
    writer.as_mut().ok_or(CommitError::TakeOverFirst)
}

fn record(codec: &Codec, queued: &Queued) -> NewRecord {
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
            (header::CE_TIME, text(&Timestamp::now().to_string())),
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
