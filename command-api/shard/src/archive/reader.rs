//! Reading the snapshots topic for a shard that goes on meanwhile: a thread of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cartwright_event_log::{EventLog, LogError, TopicPartition};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::asks::{ArchiveAnswer, ArchiveAsk, Errand};

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
        let (asks, asked) = bounded(WAITING);
        let (answering, answers) = bounded(WAITING);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = thread::Builder::new()
            .name(format!("archive-{}", snapshots.partition))
            .spawn(move || {
                let answer = |errand: &mut Errand<L>| errand.go_on(&log, &snapshots, stall);
                run(&asked, &answering, &stop, answer);
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

/// Goes on with one ask after the other, in turn: a long one, or one that the log does not answer,
/// keeps no other from its answer.
fn run<L: EventLog>(
    asked: &Receiver<ArchiveAsk>,
    answering: &Sender<ArchiveAnswer>,
    stopped: &AtomicBool,
    go_on: impl Fn(&mut Errand<L>) -> Result<Option<ArchiveAnswer>, LogError>,
) {
    let mut errands = VecDeque::new();
    while !stopped.load(Ordering::Relaxed) {
        if errands.is_empty() {
            let Ok(ask) = asked.recv() else { return };
            errands.push_back(Errand::new(ask));
        }
        let room = WAITING.saturating_sub(errands.len());
        errands.extend(asked.try_iter().take(room).map(Errand::new));
        let Some(mut errand) = errands.pop_front() else {
            continue;
        };
        match go_on(&mut errand) {
            Ok(Some(answer)) => {
                if answering.send(answer).is_err() {
                    return;
                }
            }
            Ok(None) => errands.push_back(errand),
            Err(error) => {
                tracing::warn!(%error, "the snapshots can't be read; trying again");
                errands.push_back(errand);
                // Where nothing came the log has been waited for already.
                if !matches!(error, LogError::Stalled { .. }) {
                    thread::park_timeout(RETRY_PAUSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cartwright_event_log::memory::MemoryLog;
    use cartwright_event_log::{LogWriter, NewRecord};

    use super::super::{Archive, Paged};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A log with three snapshots of the finished "a", and an archive that has heard of it, and of a
    /// "b" whose record compaction has taken: nothing comes from there on.
    fn written() -> (MemoryLog, TopicPartition, Archive) {
        let (log, at) = (MemoryLog::waiting(), TopicPartition::new("snapshots", 0));
        log.create_topic("snapshots", 1);
        let mut writer = log.writer("shard").expect("a writer");
        writer.take_over().expect("a take-over");
        let record = NewRecord {
            topic: Arc::from("snapshots"),
            partition: 0,
            key: b"aggregate/0/a".to_vec(),
            value: Some(b"{}".to_vec()),
            headers: vec![
                ("kind", b"finished".to_vec()),
                ("format", b"1".to_vec()),
                ("transaction", b"1".to_vec()),
                ("parts", b"1".to_vec()),
            ],
        };
        writer.commit(vec![record; 3]).expect("a commit");
        let mut archive = Archive::default();
        archive.left([("a".to_owned(), 2), ("b".to_owned(), 3)]);
        (log, at, archive)
    }

    /// A fetch that can't be answered is given up, and others do not wait for it.
    #[test]
    fn what_never_comes_keeps_nobody_waiting_and_is_said_to_be_unreadable() {
        let (log, at, mut archive) = written();
        let reader = ArchiveReader::spawn(log, at, Duration::from_millis(50)).expect("a thread");
        archive.look_for("b");
        archive.look_for("a");
        for ask in archive.take_asks() {
            reader.ask(ask).expect("room");
        }
        let mut next = || {
            let answer = reader.answers.recv_timeout(PATIENCE).expect("an answer");
            archive.take(answer, std::iter::empty())
        };
        let first = next().expect("readable").expect("an aggregate");
        assert_eq!(first.name, "a");
        let problem = next().expect_err("it is not there").to_string();
        assert!(problem.contains("did not come"), "{problem}");
        reader.stop();
    }

    /// A shard that lets go of its partition in the middle of a scan does not wait for its end.
    #[test]
    fn it_ends_in_the_middle_of_a_scan_that_nobody_wants_any_more() {
        let (log, at, mut archive) = written();
        archive.scan(Paged::default(), u64::MAX);
        let reader = ArchiveReader::spawn(log, at, Duration::from_millis(1)).expect("a thread");
        for ask in archive.take_asks() {
            reader.ask(ask).expect("room");
        }
        reader.stop();
    }
}
