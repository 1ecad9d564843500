//! Reading the inbox: a consumer on a thread of its own that hands batches to the shard.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_event_log::{
    EventLog, LogError, LogReader, ReaderPurpose, Record, Start, TopicPartition,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use tokio::sync::watch;

use crate::standstill::{Look, Standstill};

/// Batches that may wait between the reader and the shard.
const WAITING_BATCHES: usize = 2;
const POLL: Duration = Duration::from_millis(250);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What was read of the inbox, or why nothing was.
pub(crate) struct InboxBatch {
    /// Which start of the pump it belongs to; those of an earlier one are stale.
    pub(crate) start: u64,
    pub(crate) read: Result<InboxRead, LogError>,
}

/// A part of the inbox.
pub(crate) struct InboxRead {
    pub(crate) records: Vec<Record>,
    /// All before this offset has been read by now. Behind the last record there are ends of transactions,
    /// and what was aborted.
    pub(crate) to: u64,
}

struct StartAt {
    start: u64,
    position: u64,
}

/// The inbox reader's thread.
pub(crate) struct InboxPump {
    control: Sender<StartAt>,
    /// The last start, while the pump has had no room for it.
    pending: Option<StartAt>,
    pub(crate) batches: Receiver<InboxBatch>,
    starts: u64,
    thread: Option<JoinHandle<()>>,
}

impl InboxPump {
    pub(crate) fn spawn<L: EventLog>(
        log: L,
        inbox: TopicPartition,
        batch: usize,
        watchdog: Watchdog,
    ) -> std::io::Result<Self> {
        let (control, controls) = bounded(4);
        let (sender, batches) = bounded(WAITING_BATCHES);
        let mut pump = Pump {
            log,
            inbox,
            batch,
            controls,
            sender,
            watchdog,
        };
        let thread = thread::Builder::new()
            .name(format!("inbox-{}", pump.inbox.partition))
            .spawn(move || pump.run())?;
        Ok(Self {
            control,
            pending: None,
            batches,
            starts: 0,
            thread: Some(thread),
        })
    }

    /// Reads from `position` on; batches of earlier starts are stale from now on.
    pub(crate) fn start_at(&mut self, position: u64) {
        self.starts += 1;
        self.pending = Some(StartAt {
            start: self.starts,
            position,
        });
        self.tell();
    }

    /// Tells the pump where to start, if it has not been told yet. The pump takes what it is told
    /// between polls and not while it waits for room for a batch, so this may have to be tried again;
    /// if it is gone, batches end and say so.
    pub(crate) fn tell(&mut self) {
        if let Some(start) = self.pending.take()
            && let Err(TrySendError::Full(start)) = self.control.try_send(start)
        {
            self.pending = Some(start);
        }
    }

    pub(crate) fn is_current(&self, batch: &InboxBatch) -> bool {
        batch.start == self.starts
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        let Self {
            control,
            batches,
            thread,
            ..
        } = self;
        drop(control);
        drop(batches);
        if let Some(thread) = thread {
            // It ends within one poll; a panic in it has been reported by its hook.
            let _ = thread.join();
        }
    }
}

/// Looks whether nothing comes although there is something, and tells what holds the inbox up.
pub(crate) struct Watchdog {
    standstill: Standstill,
    begun: Instant,
    /// What holds the inbox up; nothing while it moves.
    trouble: watch::Sender<Option<String>>,
}

impl Watchdog {
    pub(crate) fn new(after: Duration, trouble: watch::Sender<Option<String>>) -> Self {
        Self {
            standstill: Standstill::new(after),
            begun: Instant::now(),
            trouble,
        }
    }

    /// A reader begins; what is in its way is in its way until something comes.
    fn begin(&mut self) {
        self.standstill.moved(self.begun.elapsed());
    }

    /// Records came, or there are none.
    fn moved(&mut self) {
        self.begin();
        self.trouble
            .send_if_modified(|trouble| trouble.take().is_some());
    }

    /// Nothing came. Returns where another reader is to go on, if this one could have read on.
    fn quiet<L: EventLog>(
        &mut self,
        log: &L,
        reader: &L::Reader,
        inbox: &TopicPartition,
    ) -> Option<u64> {
        let end = || reader.watermarks(inbox).map(|(_, high)| high);
        let now = self.begun.elapsed();
        match self.standstill.look(now, log, reader, inbox, end) {
            Look::TooEarly => None,
            Look::AtEnd => {
                // What can't be told now is looked at again later; the pump's own polls report errors.
                self.moved();
                None
            }
            Look::StandsStill {
                position,
                what,
                is_held_up,
            } => {
                tracing::warn!(what, "the inbox stands still");
                self.trouble.send_replace(Some(what));
                (!is_held_up).then_some(position)
            }
        }
    }
}

struct Pump<L> {
    log: L,
    inbox: TopicPartition,
    batch: usize,
    controls: Receiver<StartAt>,
    sender: Sender<InboxBatch>,
    watchdog: Watchdog,
}

enum Followed {
    Restart(StartAt),
    Failed { position: u64, error: LogError },
    Ended,
}

impl<L: EventLog> Pump<L> {
    fn run(&mut self) {
        let mut next = self.controls.recv().ok();
        while let Some(StartAt { start, position }) = next.take() {
            next = match self.follow(start, position) {
                Followed::Restart(at) => Some(at),
                Followed::Failed { position, error } => {
                    let report = InboxBatch {
                        start,
                        read: Err(error),
                    };
                    if self.sender.send(report).is_err() {
                        return;
                    }
                    match self.controls.recv_timeout(RETRY_PAUSE) {
                        Ok(at) => Some(at),
                        Err(RecvTimeoutError::Timeout) => Some(StartAt { start, position }),
                        Err(RecvTimeoutError::Disconnected) => None,
                    }
                }
                Followed::Ended => None,
            };
        }
    }

    fn follow(&mut self, start: u64, mut position: u64) -> Followed {
        let at = match position {
            0 => Start::Beginning,
            offset => Start::Offset(offset),
        };
        let opened = self
            .log
            .reader(ReaderPurpose::Tailing)
            .and_then(|mut reader| {
                reader.assign(&[(self.inbox.clone(), at)])?;
                Ok(reader)
            });
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return Followed::Failed { position, error },
        };
        self.watchdog.begin();
        loop {
            match self.controls.try_recv() {
                // Of several the last one counts.
                Ok(at) => return Followed::Restart(self.controls.try_iter().last().unwrap_or(at)),
                Err(TryRecvError::Disconnected) => return Followed::Ended,
                Err(TryRecvError::Empty) => {}
            }
            let records = match reader.poll(self.batch, POLL) {
                Ok(records) => records,
                Err(error) => return Followed::Failed { position, error },
            };
            let came = !records.is_empty();
            let to = match records.last() {
                Some(last) => last.offset + 1,
                None => reader.position(&self.inbox).unwrap_or(position),
            };
            if to > position {
                position = to;
                let read = Ok(InboxRead { records, to });
                if self.sender.send(InboxBatch { start, read }).is_err() {
                    return Followed::Ended;
                }
            }
            if came {
                self.watchdog.moved();
                continue;
            }
            let from = self.watchdog.quiet(&self.log, &reader, &self.inbox);
            if let Some(position) = from {
                tracing::warn!(position, inbox = %self.inbox, "another reader goes on");
                return Followed::Restart(StartAt { start, position });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwright_event_log::memory::{Fault, MemoryLog};
    use cartwright_event_log::{LogWriter, NewRecord};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn record() -> NewRecord {
        NewRecord {
            topic: Arc::from("inbox"),
            partition: 0,
            key: Vec::new(),
            value: Some(Vec::new()),
            headers: Vec::new(),
        }
    }

    /// A take-over that follows others while the pump waits for room must not be forgotten: all that
    /// it reads from then on would be stale.
    #[test]
    fn the_last_of_many_starts_is_followed_although_the_pump_was_busy() {
        let (log, inbox) = (MemoryLog::waiting(), TopicPartition::new("inbox", 0));
        log.create_topic("inbox", 1);
        let mut writer = log.writer("sender").expect("a writer");
        writer.take_over().expect("a take-over");
        writer.commit(vec![record(); 20]).expect("a commit");
        let watchdog = Watchdog::new(PATIENCE, watch::Sender::new(None));
        let mut pump = InboxPump::spawn(log, inbox, 1, watchdog).expect("a thread");
        pump.start_at(0);
        let begun = Instant::now();
        while pump.batches.len() < WAITING_BATCHES {
            assert!(begun.elapsed() < PATIENCE, "nothing is read");
            thread::yield_now();
        }
        for position in 1..=10 {
            pump.start_at(position);
        }
        loop {
            pump.tell();
            let batch = pump.batches.recv_timeout(PATIENCE).expect("a batch");
            if pump.is_current(&batch) {
                let records = batch.read.expect("records").records;
                assert_eq!(records.first().map(|record| record.offset), Some(10));
                break;
            }
        }
        pump.stop();
    }

    /// Before a transaction that is open another reader would read nothing either.
    #[test]
    fn only_a_reader_that_could_have_read_on_is_replaced() {
        let (log, inbox) = (MemoryLog::new(), TopicPartition::new("inbox", 0));
        log.create_topic("inbox", 1);
        let mut writer = log.writer("sender").expect("a writer");
        writer.take_over().expect("a take-over");
        writer.commit(vec![record()]).expect("a commit");
        log.inject(Fault::UnknownCommit { committed: false });
        writer.commit(vec![record()]).expect_err("it stays open");

        let mut reader = log.reader(ReaderPurpose::Tailing).expect("a reader");
        let start = (inbox.clone(), Start::Beginning);
        reader.assign(&[start]).expect("an assignment");
        let mut watchdog = Watchdog::new(Duration::ZERO, watch::Sender::new(None));
        let is_told = |watchdog: &Watchdog| watchdog.trouble.borrow().is_some();
        assert_eq!(watchdog.quiet(&log, &reader, &inbox), None);
        assert!(!is_told(&watchdog), "it is looked at for the first time");
        assert_eq!(watchdog.quiet(&log, &reader, &inbox), Some(0));
        assert!(is_told(&watchdog));

        watchdog.begin();
        assert!(is_told(&watchdog), "nothing has come yet");
        assert_eq!(reader.poll(9, Duration::ZERO).map(|read| read.len()), Ok(1));
        watchdog.moved();
        assert!(!is_told(&watchdog));
        for _ in 0..3 {
            assert_eq!(watchdog.quiet(&log, &reader, &inbox), None);
        }
        assert!(is_told(&watchdog), "the transaction");
    }
}
