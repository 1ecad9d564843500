//! Whether a reader stands still although there is something to read, and what holds it up.

use std::time::Duration;

use cartwright_event_log::{EventLog, LogError, LogReader, TopicPartition};

/// What a look at a reader showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is too early for one, or the reader was found behind for the first time: a transaction that is
    /// being written just now is no trouble.
    TooEarly,
    /// It has read what there is, or that can't be told now.
    AtEnd,
    /// It is where it was at the look before, and behind the end.
    StandsStill {
        /// Where it stands.
        position: u64,
        /// That, and what holds it up, in words: the open transaction with its id, if there is one.
        what: String,
        /// Whether another reader would come no further, as before an open transaction. Otherwise this one
        /// has missed that there is more, as after its broker was away, and another one does not.
        is_held_up: bool,
    },
}

/// Looks now and then whether a reader comes further in one partition. Times are since whatever moment
/// the caller counts from.
#[derive(Debug)]
pub struct Standstill {
    every: Duration,
    looked: Duration,
    /// Where it stood behind the end when it was looked at last.
    behind_at: Option<u64>,
}

impl Standstill {
    /// Looks once in this time, and so finds a reader that stands still after twice as long at most.
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self {
            every,
            looked: Duration::ZERO,
            behind_at: None,
        }
    }

    /// Another reader begins, or this one has brought something: there is no need to look for a while.
    pub fn moved(&mut self, now: Duration) {
        self.looked = now;
        self.behind_at = None;
    }

    /// Looks at the reader, if it is time, which is to get to `end`; asks the log only then.
    pub fn look<L: EventLog>(
        &mut self,
        now: Duration,
        log: &L,
        reader: &L::Reader,
        at: &TopicPartition,
        end: impl FnOnce() -> Result<u64, LogError>,
    ) -> Look {
        if now.saturating_sub(self.looked) < self.every {
            return Look::TooEarly;
        }
        self.looked = now;
        let stands = reader.position(at).and_then(|position| {
            let end = end()?;
            Ok((position < end).then_some((position, end)))
        });
        let Ok(Some((position, end))) = stands else {
            self.behind_at = None;
            return Look::AtEnd;
        };
        if self.behind_at.replace(position) != Some(position) {
            return Look::TooEarly;
        }
        Look::StandsStill {
            position,
            what: format!(
                "nothing comes of {at} at {position} of {end}: {}",
                what_is_open(log, at)
            ),
            // What this reader can't tell, another one may.
            is_held_up: matches!(reader.stable_end(at), Ok(stable) if position >= stable),
        }
    }
}

/// What holds readers of committed records up on a partition, in words.
pub(crate) fn what_is_open<L: EventLog>(log: &L, at: &TopicPartition) -> String {
    match log.open_transactions(at).as_deref() {
        Ok([first, ..]) => first.to_string(),
        Ok([]) => "no transaction is open there".to_owned(),
        Err(error) => format!("which transactions are open there can't be told: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwright_event_log::memory::{Fault, MemoryLog, MemoryReader};
    use cartwright_event_log::{LogWriter, NewRecord, ReaderPurpose, Start};

    use super::*;

    struct Rig {
        log: MemoryLog,
        at: TopicPartition,
        reader: MemoryReader,
        standstill: Standstill,
    }

    impl Rig {
        /// One record, and a reader that has not read it, looked at every ten seconds.
        fn new() -> Self {
            let (log, at) = (MemoryLog::new(), TopicPartition::new("t", 0));
            log.create_topic("t", 1);
            let mut reader = log.reader(ReaderPurpose::Tailing).expect("a reader");
            let start = (at.clone(), Start::Beginning);
            reader.assign(&[start]).expect("an assignment");
            let rig = Self {
                log,
                at,
                reader,
                standstill: Standstill::new(Duration::from_secs(10)),
            };
            rig.write(None);
            rig
        }

        fn write(&self, fault: Option<Fault>) {
            let mut writer = self.log.writer("sender").expect("a writer");
            writer.take_over().expect("a take-over");
            fault.into_iter().for_each(|fault| self.log.inject(fault));
            let record = NewRecord {
                topic: Arc::from("t"),
                partition: 0,
                key: Vec::new(),
                value: None,
                headers: Vec::new(),
            };
            assert_eq!(writer.commit(vec![record]).is_ok(), fault.is_none());
        }

        fn read(&mut self) {
            let read = self.reader.poll(9, Duration::ZERO).expect("a poll");
            assert!(!read.is_empty());
        }

        fn look_at(&mut self, seconds: u64) -> Look {
            let Self {
                log, at, reader, ..
            } = self;
            let end = || reader.watermarks(at).map(|(_, high)| high);
            let now = Duration::from_secs(seconds);
            self.standstill.look(now, log, reader, at, end)
        }
    }

    #[test]
    fn only_what_stands_behind_the_end_for_long_stands_still_and_is_told_once_in_a_while() {
        let mut rig = Rig::new();
        assert_eq!(rig.look_at(9), Look::TooEarly);
        assert_eq!(rig.look_at(10), Look::TooEarly, "for the first time");
        assert_eq!(rig.look_at(19), Look::TooEarly);
        let Look::StandsStill {
            position: 0,
            what,
            is_held_up: false,
        } = rig.look_at(20)
        else {
            panic!("it stands still");
        };
        assert!(what.contains("no transaction is open"), "{what}");
        assert_eq!(rig.look_at(29), Look::TooEarly, "it was told just now");
        assert!(matches!(rig.look_at(30), Look::StandsStill { .. }));
        rig.read();
        assert_eq!(rig.look_at(40), Look::AtEnd);
        rig.write(None);
        assert_eq!(rig.look_at(50), Look::TooEarly, "for the first time");
        rig.read();
        rig.write(None);
        assert_eq!(rig.look_at(60), Look::TooEarly, "it has come further");
        rig.standstill.moved(Duration::from_secs(69));
        assert_eq!(rig.look_at(70), Look::TooEarly, "another reader has begun");
    }

    #[test]
    fn the_transaction_that_holds_a_reader_up_is_named() {
        let mut rig = Rig::new();
        rig.read();
        rig.write(Some(Fault::UnknownCommit { committed: false }));
        assert_eq!(rig.look_at(10), Look::TooEarly);
        // No other reader comes further, and another one begins at the same place.
        match rig.look_at(20) {
            Look::StandsStill {
                what,
                is_held_up: true,
                ..
            } => assert!(what.contains("the transaction of sender"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}
