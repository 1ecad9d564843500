//! Commands whose callers do not wait: written to the inbox of the shard that will decide them, by
//! this process itself, so that they are durable also while that shard's owner is down.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use cartwright_event_log::{CommitError, EventLog};
use cartwright_shard::{InboxWriter, QueuedCommand};
use tokio::sync::oneshot;

/// Bytes of commands after which a transaction takes no more.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// How often it is looked whether the connection has broken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct Waiting {
    queued: QueuedCommand,
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
    /// Starts the thread, which writes by `inboxes`. `capacity` commands may wait to be written, of
    /// which `group` go into one transaction.
    pub(crate) fn start<L: EventLog>(
        inboxes: InboxWriter<L>,
        (capacity, group): (usize, usize),
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (commands, waiting) = sync_channel(capacity);
        let thread = std::thread::Builder::new()
            .name("queue".to_owned())
            .spawn(move || write(inboxes, group, &waiting))?;
        Ok((Self { commands }, thread))
    }

    /// Writes a command; returns its offset in the inbox once it is durable.
    pub(crate) async fn put(&self, queued: QueuedCommand) -> Result<u64, NotQueued> {
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

fn write<L: EventLog>(mut inboxes: InboxWriter<L>, most: usize, waiting: &Receiver<Waiting>) {
    loop {
        if let Err(error) = inboxes.prepare() {
            tracing::debug!(%error, "not ready to write to inboxes");
        }
        let first = match waiting.recv_timeout(LOOK_EVERY) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut bytes = first.queued.bytes();
        let mut group = vec![first];
        while group.len() < most
            && bytes < GROUP_BYTES
            && let Ok(next) = waiting.try_recv()
        {
            bytes += next.queued.bytes();
            group.push(next);
        }
        // A caller that has gone is no error.
        match inboxes.write(group.iter().map(|waiting| &waiting.queued)) {
            Ok(offsets) => {
                for (waiting, offset) in group.into_iter().zip(offsets) {
                    let _ = waiting.written.send(Ok(offset));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "queued commands could not be written");
                for waiting in group {
                    let _ = waiting.written.send(Err(error.clone()));
                }
            }
        }
    }
}
