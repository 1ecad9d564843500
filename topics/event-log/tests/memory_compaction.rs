//! The model compacts a partition as Kafka's log cleaner may.

mod fixture;

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{
    EventLog, LogError, LogReader, LogWriter, NewRecord, ReaderPurpose, Record, Start, contract,
    read_to,
};

use fixture::{Fixture, TOPIC, fixture};

impl Fixture {
    /// One transaction; `a1` has the key `a`, and `a` alone deletes it.
    fn write(&mut self, values: &[&str]) -> Result<(), cartwright_event_log::CommitError> {
        let records = values.iter().map(|value| {
            let (key, content) = value.split_at(1);
            NewRecord {
                topic: TOPIC.into(),
                partition: 0,
                key: key.as_bytes().to_vec(),
                value: (!content.is_empty()).then(|| value.as_bytes().to_vec()),
                headers: Vec::new(),
            }
        });
        self.writer.commit(records.collect()).map(drop)
    }

    fn compact(&self, offset: u64) -> Vec<(u64, String)> {
        shown(&self.log.compact(&self.at, offset))
    }

    fn left(&self) -> Vec<(u64, String)> {
        shown(&self.log.committed(&self.at).expect("a partition"))
    }

    fn reader(&self, start: Start) -> impl LogReader {
        let mut reader = self.log.reader(ReaderPurpose::Recovery).expect("a reader");
        let assigned = reader.assign(&[(self.at.clone(), start)]);
        assigned.expect("an assignment");
        reader
    }
}

fn shown(records: &[Record]) -> Vec<(u64, String)> {
    let shown = records.iter().map(|record| {
        let value = record.value.as_deref().unwrap_or(b"deleted");
        (record.offset, String::from_utf8_lossy(value).into_owned())
    });
    shown.collect()
}

fn owned(records: &[(u64, &str)]) -> Vec<(u64, String)> {
    let owned = records
        .iter()
        .map(|(offset, value)| (*offset, (*value).to_owned()));
    owned.collect()
}

#[test]
fn of_each_key_the_newest_stays_where_it_was() {
    let mut f = fixture();
    for values in [&["a1", "b1"], &["a2", "c1"]] {
        f.write(values).expect("to commit");
    }
    assert_eq!(f.compact(u64::MAX), owned(&[(0, "a1")]));
    assert_eq!(f.left(), owned(&[(1, "b1"), (3, "a2"), (4, "c1")]));
    assert_eq!(f.compact(u64::MAX), [], "what is gone does not go again");
    let end = f.reader(Start::Beginning).watermarks(&f.at);
    assert_eq!(end, Ok((0, 6)));
}

#[test]
fn it_looks_no_further_than_it_was_told_to() {
    let mut f = fixture();
    for value in ["a1", "a2", "a3"] {
        f.write(&[value]).expect("to commit");
    }
    assert_eq!(f.compact(3), owned(&[(0, "a1")]));
    assert_eq!(f.left(), owned(&[(2, "a2"), (4, "a3")]));
}

#[test]
fn what_is_open_is_left_alone_and_what_was_aborted_takes_nothing_away() {
    let mut f = fixture();
    f.write(&["a1"]).expect("to commit");
    f.log.inject(Fault::FailNextCommit);
    assert!(f.write(&["a2"]).is_err());
    f.writer.take_over().expect("a take-over");
    f.log.inject(Fault::UnknownCommit { committed: false });
    assert!(f.write(&["a3"]).is_err());
    assert_eq!(f.compact(u64::MAX), []);
    assert_eq!(f.left(), owned(&[(0, "a1")]));
    f.writer.take_over().expect("a take-over");
    f.write(&["a4"]).expect("to commit");
    assert_eq!(f.compact(u64::MAX), owned(&[(0, "a1")]));
    assert_eq!(f.left(), owned(&[(6, "a4")]));
}

#[test]
fn a_deletion_goes_with_all_that_it_deletes() {
    let mut f = fixture();
    for value in ["a1", "b1", "a", "b2"] {
        f.write(&[value]).expect("to commit");
    }
    let gone = f.compact(u64::MAX);
    assert_eq!(gone, owned(&[(0, "a1"), (2, "b1"), (4, "deleted")]));
    assert_eq!(f.left(), owned(&[(6, "b2")]));
}

#[test]
fn reading_goes_on_over_gaps() {
    let mut f = fixture();
    for value in ["a1", "a2", "b1", "a3", "a4"] {
        f.write(&[value]).expect("to commit");
    }
    let mut follows = f.reader(Start::Beginning);
    let first = follows.poll(1, std::time::Duration::ZERO).expect("a poll");
    assert_eq!(shown(&first), owned(&[(0, "a1")]));
    f.compact(u64::MAX);
    contract::reading_goes_on_over_gaps(&f.log, &f.at, 2, 4);
    let next = follows.poll(1, std::time::Duration::ZERO).expect("a poll");
    assert_eq!(shown(&next), owned(&[(4, "b1")]));
    assert_eq!(follows.position(&f.at), Ok(5), "a gap follows");
    let end = [(f.at.clone(), 10)];
    let mut rest = Vec::new();
    let read = read_to(&mut follows, &end, std::time::Duration::ZERO, |record| {
        rest.push(record);
        Ok::<(), LogError>(())
    });
    assert_eq!(read, Ok(()));
    assert_eq!(shown(&rest), owned(&[(8, "a4")]));
}
