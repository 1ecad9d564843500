//! Reading the snapshots topic for a shard that goes on meanwhile: a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cartwright_event_log::{EventLog, TopicPartition};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::archive::{ArchiveAnswer, ArchiveAsk};

/// Asks and answers that may wait.
const WAITING: usize = 64;
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The archive reader's thread.
pub(crate) struct ArchiveReader {
    asks: Sender<ArchiveAsk>,
    pub(crate) answers: Receiver<ArchiveAnswer>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl ArchiveReader {
    pub(crate) fn spawn<L: EventLog>(
        log: L,
        snapshots: TopicPartition,
        stall: Duration,
    ) -> std::io::Result<Self> {
        let (asks, asked) = bounded::<ArchiveAsk>(WAITING);
        let (answering, answers) = bounded(WAITING);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = thread::Builder::new()
            .name(format!("archive-{}", snapshots.partition))
            .spawn(move || {
                for ask in asked {
                    let Some(answer) = answer(&log, &snapshots, stall, &ask, &stop) else {
                        return;
                    };
                    if answering.send(answer).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            asks,
            answers,
            stopped,
            thread,
        })
    }

    /// Puts an ask in; gives it back when too many wait.
    pub(crate) fn ask(&self, ask: ArchiveAsk) -> Result<(), ArchiveAsk> {
        self.asks.try_send(ask).map_err(|full| full.into_inner())
    }

    /// Ends the thread, as soon as the log has given what it was asked for last.
    pub(crate) fn stop(self) {
        let Self {
            asks,
            answers,
            stopped,
            thread,
        } = self;
        stopped.store(true, Ordering::Relaxed);
        drop(asks);
        drop(answers);
        // A panic in it has been reported by its hook.
        let _ = thread.join();
    }
}

/// Asks the log until it answers, or the thread is to end.
fn answer<L: EventLog>(
    log: &L,
    snapshots: &TopicPartition,
    stall: Duration,
    ask: &ArchiveAsk,
    stopped: &AtomicBool,
) -> Option<ArchiveAnswer> {
    while !stopped.load(Ordering::Relaxed) {
        match ask.answer_unless(stopped, log, snapshots, stall) {
            Ok(answer) => return answer,
            Err(error) => tracing::warn!(%error, "the snapshots can't be read; trying again"),
        }
        thread::park_timeout(RETRY_PAUSE);
    }
    None
}
