//! What a shard knows of the epochs before it, when it is fenced before it serves: whoever looks later
//! for another process in the log has nothing else to go by.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cartwright_event_log::memory::{
    Fault, MemoryGroupReader, MemoryLog, MemoryReader, MemoryWriter,
};
use cartwright_event_log::{
    CommitError, EventLog, LogError, LogReader, LogWriter, NewRecord, OpenTransaction,
    ReaderPurpose, Receipt, Record, Start, TopicPartition,
};
use cartwright_events::codec::Codec;
use cartwright_shard::{Ownership, Shard, Step};

use crate::rig::Rig;
use crate::toy::Toy;

/// As after an epoch's transaction that was open for longer than Kafka allows.
#[test]
fn one_that_is_fenced_before_it_serves_takes_an_earlier_process_for_no_other() {
    let mut rig = Rig::new();
    rig.log.inject(Fault::FenceNext);
    assert_eq!(rig.restart(), Ok(Step::Ended));
    rig.assert_fired(Fault::FenceNext);
    assert_eq!(rig.ownership(), Ownership::Fenced { epoch: 1 });
    assert_eq!(rig.rival().is_replaced(1), Ok(false));
    assert_eq!(rig.rival().take_over(), Ok(Step::Idle));
    assert_eq!(rig.rival().is_replaced(1), Ok(true));
}

#[test]
fn one_whose_epoch_was_in_doubt_when_it_was_fenced_does_not_take_it_for_that_of_another() {
    for (fault, epoch) in [
        (Fault::SlowCommit, 2),
        (Fault::UnknownCommit { committed: true }, 2),
        (Fault::UnknownCommit { committed: false }, 1),
        (Fault::FailNextCommit, 1),
    ] {
        let mut rig = Rig::new();
        rig.log.inject(fault);
        rig.restart().expect_err("the epoch is in doubt");
        rig.assert_fired(fault);
        rig.log.inject(Fault::FenceNext);
        assert_eq!(rig.shard.take_over(), Ok(Step::Ended), "{fault:?}");
        assert_eq!(rig.ownership(), Ownership::Fenced { epoch }, "{fault:?}");
        assert_eq!(rig.rival().is_replaced(epoch), Ok(false), "{fault:?}");
        assert_eq!(rig.rival().take_over(), Ok(Step::Idle));
        assert_eq!(rig.rival().is_replaced(epoch), Ok(true), "{fault:?}");
    }
}

#[test]
fn one_that_is_fenced_before_it_has_read_anything_looks_at_once() {
    let rig = Rig::new();
    let log = MeddledLog::new(&rig.log);
    let mut shard = shard(&rig, &log);
    let other = rig.log.clone();
    log.meddle(Moment::TakeOver, move || {
        let mut other = other.writer("cartwright-inventory-0").expect("a writer");
        other.take_over().expect("a take-over");
    });
    assert_eq!(shard.take_over(), Ok(Step::Ended));
    let fenced = Ownership::Fenced { epoch: 1 };
    assert_eq!(*shard.ownership().borrow(), fenced);
}

#[test]
fn one_that_is_fenced_before_it_knows_its_state_sees_later_who_did_it() {
    for stands_by in [false, true] {
        let rig = Rig::new();
        let log = MeddledLog::new(&rig.log);
        let mut shard = shard(&rig, &log);
        if stands_by {
            assert_eq!(shard.prepare(), Ok(Step::Idle));
        }
        let mut other = rig.rival();
        log.meddle(Moment::Reading, move || {
            assert_eq!(other.take_over(), Ok(Step::Idle));
        });
        assert_eq!(shard.take_over(), Ok(Step::Ended));
        let fenced = Ownership::Fenced { epoch: 1 };
        assert_eq!(*shard.ownership().borrow(), fenced, "{stands_by}");
        assert_eq!(rig.rival().is_replaced(1), Ok(true));
    }
}

fn shard(rig: &Rig, log: &MeddledLog) -> Shard<Toy, MeddledLog> {
    let (clock, options) = (Arc::clone(&rig.clock) as _, rig.options.clone());
    Shard::new(Toy, 0, log.clone(), Codec::fixed(), options, clock)
}

/// When something happens that is not the shard's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// In the middle of its take-over of the transactional id, which fails for that.
    TakeOver,
    /// After it has asked where the log ends, or while it loads the snapshots.
    Reading,
}

type Deed = Box<dyn FnOnce() + Send>;

/// A log in memory, whose user is meddled with once.
#[derive(Clone)]
struct MeddledLog {
    log: MemoryLog,
    next: Arc<Mutex<Option<(Moment, Deed)>>>,
}

impl MeddledLog {
    fn new(log: &MemoryLog) -> Self {
        Self {
            log: log.clone(),
            next: Arc::default(),
        }
    }

    fn meddle(&self, moment: Moment, deed: impl FnOnce() + Send + 'static) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some((moment, Box::new(deed)));
    }

    /// Whether something happened.
    fn comes_to(&self, moment: Moment) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.take_if(|(due, _)| *due == moment);
        drop(next);
        due.map(|(_, deed)| deed()).is_some()
    }
}

impl EventLog for MeddledLog {
    type Writer = MeddledWriter;
    type Reader = MeddledReader;
    type GroupReader = MemoryGroupReader;

    fn writer(&self, transactional_id: &str) -> Result<MeddledWriter, LogError> {
        Ok(MeddledWriter {
            writer: self.log.writer(transactional_id)?,
            id: transactional_id.to_owned(),
            log: self.clone(),
        })
    }

    fn reader(&self, purpose: ReaderPurpose) -> Result<MeddledReader, LogError> {
        Ok(MeddledReader {
            reader: self.log.reader(purpose)?,
            log: self.clone(),
        })
    }

    fn group_reader(&self, group: &str, topics: &[&str]) -> Result<MemoryGroupReader, LogError> {
        self.log.group_reader(group, topics)
    }

    fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partition_count(topic)
    }

    fn open_transactions(&self, at: &TopicPartition) -> Result<Vec<OpenTransaction>, LogError> {
        self.log.open_transactions(at)
    }
}

struct MeddledWriter {
    writer: MemoryWriter,
    id: String,
    log: MeddledLog,
}

impl LogWriter for MeddledWriter {
    fn take_over(&mut self) -> Result<(), LogError> {
        self.writer.take_over()?;
        if self.log.comes_to(Moment::TakeOver) {
            let transactional_id = self.id.clone();
            return Err(LogError::Fenced { transactional_id });
        }
        Ok(())
    }

    fn needs_take_over(&self) -> bool {
        self.writer.needs_take_over()
    }

    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Receipt, CommitError> {
        self.writer.commit(records)
    }
}

struct MeddledReader {
    reader: MemoryReader,
    log: MeddledLog,
}

impl LogReader for MeddledReader {
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        self.reader.assign(partitions)
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        self.reader.poll(max, timeout)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.reader.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.reader.watermarks(at)
    }

    fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.reader.stable_end(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.log.comes_to(Moment::Reading);
        self.reader.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader.resume(partitions)
    }
}
