//! A version in its store.

use std::time::{Duration, Instant};

use cartwright_event_log::TopicPartition;
use cartwright_event_log::kafka::KafkaLog;
use cartwright_read_model::tables::PARKED;
use cartwright_read_model::{FromCell, Projection, Row, Table, Value};

use super::{Ends, ParkedSet, Side};
use crate::context::Context;
use crate::reached::missing;
use crate::registry::Home;

const POLL: Duration = Duration::from_millis(100);
/// Rows between two looks of those who watch.
const TELL_EVERY: u64 = 1_000;

/// See [`Side`].
pub struct Stored<'a> {
    context: &'a Context,
    home: &'a Home<'a>,
    log: &'a KafkaLog,
    declared: &'static Projection,
    number: u32,
    patience: Duration,
}

impl<'a> Stored<'a> {
    /// Version `number`, built by `declared`; waits up to `patience` for it to get anywhere.
    #[must_use]
    pub fn new(
        context: &'a Context,
        home: &'a Home<'a>,
        log: &'a KafkaLog,
        declared: &'static Projection,
        number: u32,
        patience: Duration,
    ) -> Self {
        Self {
            context,
            home,
            log,
            declared,
            number,
            patience,
        }
    }

    fn behind(&self, ends: &Ends) -> anyhow::Result<Option<String>> {
        let positions = self.home.positions(self.number)?;
        // What lies before an end may be nothing but the marks of commits, which no position counts
        // where projectors do not say again and again that they have read to it.
        let missing = missing(self.log, &positions, self.context.generation(), ends)?;
        Ok(missing.first().map(|first| {
            format!(
                "{}[{}] is at {} of {} and does not move on",
                first.topic, first.partition, first.next_offset, first.end
            )
        }))
    }
}

impl Side for Stored<'_> {
    fn label(&self) -> String {
        self.home.label(self.number)
    }

    fn table(&self, name: &str) -> Option<&'static Table> {
        self.declared.table(name)
    }

    fn scan(
        &mut self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        let what = format!("reading {} of {}", table.name, self.label());
        let progress = self.context.output.spinner(what);
        let mut rows = 0_u64;
        let mut take = |row| {
            rows += 1;
            if rows.is_multiple_of(TELL_EVERY) {
                progress.set_message(format!("{rows} rows"));
            }
            visit(row);
        };
        let scan = self.home.control.scan(table, self.number, &mut take);
        let scanned = self.context.wait(scan);
        progress.finish_and_clear();
        Ok(scanned?)
    }

    fn get(&mut self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        let get = self.home.control.get(table, self.number, keys);
        Ok(self.context.wait(get)?)
    }

    fn parked(&mut self, before: &Ends) -> anyhow::Result<ParkedSet> {
        let key = [self.declared.name.into(), self.number.into()];
        let rows = self.context.wait(self.home.control.rows(&PARKED, &key))?;
        let parked = rows.iter().filter_map(|row| {
            let topic = String::from_cell(row.value("topic"))?;
            let partition = u32::from_cell(row.value("log_partition"))?;
            let offset = u64::from_cell(row.value("record_offset"))?;
            let end = before.get(&TopicPartition::new(topic.as_str(), partition))?;
            (offset < *end).then_some((topic, partition, offset))
        });
        Ok(parked.collect())
    }

    fn reach(&mut self, ends: &Ends) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + self.patience;
        loop {
            let behind = self.behind(ends)?;
            if behind.is_none() || Instant::now() >= deadline {
                return Ok(behind);
            }
            std::thread::sleep(POLL);
        }
    }
}
