//! A bar that people watch while a command reads the log.

use std::collections::BTreeMap;

use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Record, Start, TopicPartition};
use indicatif::ProgressBar;

use crate::output::Output;

/// How far reading is. Programs see nothing of it.
pub(super) struct Progress {
    bar: ProgressBar,
    /// The next offset of what is being read.
    next: BTreeMap<TopicPartition, u64>,
    records: u64,
}

impl Progress {
    pub(super) fn new(output: Output, prefix: &'static str) -> Self {
        let bar = output.bar(prefix);
        bar.set_length(0);
        Self {
            bar,
            next: BTreeMap::new(),
            records: 0,
        }
    }

    /// What is between these starts and the ends as they are now is going to be read, too.
    ///
    /// # Errors
    /// When the log does not answer.
    pub(super) fn expect(
        &mut self,
        log: &impl EventLog,
        starts: &[(TopicPartition, Start)],
    ) -> anyhow::Result<()> {
        let reader = log.reader(ReaderPurpose::Recovery)?;
        for (at, start) in starts {
            let (low, high) = reader.watermarks(at)?;
            let from = match start {
                Start::Offset(offset) => (*offset).max(low),
                _ => low,
            };
            self.bar.inc_length(high.saturating_sub(from));
            self.next.insert(at.clone(), from);
        }
        Ok(())
    }

    /// A record was read. Offsets count and not records, since transactions take some for themselves.
    pub(super) fn read(&mut self, record: &Record) {
        self.records += 1;
        let after = record.offset + 1;
        if let Some(next) = self.next.get_mut(&record.topic_partition()) {
            self.bar.inc(after.saturating_sub(*next));
            *next = after.max(*next);
        }
        if self.records.is_multiple_of(1_000) {
            self.say(format!("{} records", self.records));
        }
    }

    /// Says what is being done.
    pub(super) fn say(&self, what: impl Into<std::borrow::Cow<'static, str>>) {
        self.bar.set_message(what);
    }

    /// The bar goes away, so that the result stands alone.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use cartwright_event_log::memory::MemoryLog;
    use cartwright_event_log::{LogWriter, NewRecord};

    use super::*;
    use crate::reading::{read_once, whole_topic};

    #[test]
    fn the_bar_is_full_when_all_is_read_from_wherever_reading_began() {
        let log = MemoryLog::new();
        log.create_topic("t", 1);
        let mut writer = log.writer("test").unwrap();
        writer.take_over().unwrap();
        for _ in 0..5 {
            let record = NewRecord {
                topic: "t".into(),
                partition: 0,
                key: Vec::new(),
                value: None,
                headers: Vec::new(),
            };
            writer.commit(vec![record]).unwrap();
        }
        let whole = whole_topic(&log, "t").unwrap();
        let part = vec![(whole[0].0.clone(), Start::Offset(3))];
        for starts in [whole, part] {
            let mut progress = Progress::new(Output::new(true), "test");
            progress.expect(&log, &starts).unwrap();
            assert_eq!(progress.bar.position(), 0);
            read_once(&log, &starts, |record| {
                progress.read(record);
                Ok(())
            })
            .unwrap();
            // The end of the last transaction takes an offset that no record tells of.
            let length = progress.bar.length().unwrap_or(0);
            assert!(
                length > 3 && length - progress.bar.position() <= 1,
                "{length}"
            );
        }
    }
}
