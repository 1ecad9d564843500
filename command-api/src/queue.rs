//! Commands whose callers do not wait: written to the inbox of the shard that will decide them, by
//! this process itself, so that they are durable also while that shard's owner is down.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cartwright_event_log::{CommitError, EventLog};
use cartwright_shard::{InboxWriter, Pace, QueuedCommand};
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
    Full {
        /// After how long those should be written, in milliseconds.
        retry_after_ms: u64,
    },
    /// It is not in the inbox.
    NotWritten(String),
    /// It may be.
    Unknown(String),
}

/// The way to the writing thread. A cheap handle; the thread ends with the last one.
#[derive(Debug, Clone)]
pub struct Queue {
    commands: SyncSender<Waiting>,
    capacity: usize,
    pace: Pace,
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
        let queue = Self {
            commands,
            capacity,
            pace: Pace::default(),
        };
        let pace = queue.pace.clone();
        let thread = std::thread::Builder::new()
            .name("queue".to_owned())
            .spawn(move || write(inboxes, group, &waiting, &pace))?;
        Ok((queue, thread))
    }

    /// Writes a command; returns its offset in the inbox once it is durable.
    pub(crate) async fn put(&self, queued: QueuedCommand) -> Result<u64, NotQueued> {
        let (written, done) = oneshot::channel();
        self.commands
            .try_send(Waiting { queued, written })
            .map_err(|error| match error {
                TrySendError::Full(_) => NotQueued::Full {
                    retry_after_ms: self.pace.retry_after_ms(self.capacity),
                },
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
    mut inboxes: InboxWriter<L>,
    most: usize,
    waiting: &Receiver<Waiting>,
    pace: &Pace,
) {
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
        let (count, begun) = (group.len(), Instant::now());
        pace.take(count);
        let written = inboxes.write(group.iter().map(|waiting| &waiting.queued));
        pace.done(count, 0, begun.elapsed());
        // A caller that has gone is no error.
        match written {
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use cartwright_events::messages::SubmitCommand;
    use cartwright_events::{Context, Timestamp};
    use cartwright_shard::nodes::ShardId;

    use super::*;

    fn queued() -> QueuedCommand {
        let (context, partition) = (Context::Inventory, 0);
        QueuedCommand {
            shard: ShardId { context, partition },
            command: SubmitCommand {
                context,
                aggregate_id: "mug".to_owned(),
                command_id: "command-1".to_owned(),
                idempotency_key: None,
                fingerprint: String::new(),
                expected_version: None,
                command: String::new(),
            },
            time: Timestamp::EPOCH,
            correlation_id: "request-1".to_owned(),
            traceparent: String::new(),
            after: None,
        }
    }

    /// Whether a command that is put in waits.
    async fn waits(put: impl Future<Output = Result<u64, NotQueued>>) -> bool {
        let mut put = pin!(put);
        std::future::poll_fn(|context| Poll::Ready(put.as_mut().poll(context).is_pending())).await
    }

    /// Its writer is stuck with three of an earlier transaction that has taken 200 ms a command.
    #[tokio::test]
    async fn a_full_queue_takes_no_more_and_says_when_what_waits_will_be_written() {
        let capacity = 2;
        let (commands, written) = sync_channel(capacity);
        let pace = Pace::default();
        pace.done(4, 3, Duration::from_millis(800));
        let queue = Queue {
            commands,
            capacity,
            pace,
        };
        for _ in 0..capacity {
            assert!(waits(queue.put(queued())).await);
        }
        let retry_after_ms = 1_000;
        assert_eq!(
            queue.put(queued()).await,
            Err(NotQueued::Full { retry_after_ms })
        );
        written.recv().unwrap();
        assert!(waits(queue.put(queued())).await, "there is room again");
    }
}
