//! A version in the simulated store, as a side of the replay tool's comparison.

use cartwright_event_log::TopicPartition;
use cartwright_event_log::memory::MemoryLog;
use cartwright_read_model::tables::{CONTROL_VERSION, PARKED};
use cartwright_read_model::{
    FromCell, ParkedRow, Position, PositionKey, Projection, Row, Table, Value,
};
use cartwright_replay::reached::missing;
use cartwright_replay::verify::{Ends, ParkedSet, Side};
use cartwright_sinks::MemoryStore;

/// See the module. It stands still while it is compared: what it has not applied by then it won't.
pub(super) struct Still<'a> {
    pub(super) log: &'a MemoryLog,
    pub(super) store: &'a MemoryStore,
    pub(super) declared: &'static Projection,
    pub(super) number: u32,
    pub(super) positions: Vec<(PositionKey, Position)>,
}

impl Side for Still<'_> {
    fn label(&self) -> String {
        format!("{}@{}", self.declared.name, self.number)
    }

    fn table(&self, name: &str) -> Option<&'static Table> {
        self.declared.table(name)
    }

    fn scan(
        &mut self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        self.store
            .rows(table, self.number)
            .into_iter()
            .for_each(visit);
        Ok(())
    }

    fn get(&mut self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        let mut rows = self.store.rows(table, self.number);
        rows.retain(|row| keys.iter().any(|key| row.values.starts_with(key)));
        Ok(rows)
    }

    fn parked(&mut self, before: &Ends) -> anyhow::Result<ParkedSet> {
        let rows = self.store.rows(&PARKED, CONTROL_VERSION);
        let of = [self.declared.name.into(), self.number.into()];
        let rows = rows.iter().filter(|row| row.values.starts_with(&of));
        let parked = rows.filter_map(|row| {
            let waiting = ParkedRow::waiting(row, 1)?;
            let topic = String::from_cell(row.value("topic"))?;
            let partition = u32::from_cell(row.value("log_partition"))?;
            let end = before.get(&TopicPartition::new(topic.as_str(), partition))?;
            (waiting.offset < *end).then_some((topic, partition, waiting.offset))
        });
        Ok(parked.collect())
    }

    fn reach(&mut self, ends: &Ends) -> anyhow::Result<Option<String>> {
        // What is open may yet be committed, and nobody reads past it.
        for (at, end) in ends {
            if self.log.last_stable_offset(at)? < *end {
                return Ok(Some(format!("{at} has an open transaction")));
            }
        }
        let missing = missing(self.log, &self.positions, 1, ends)?;
        Ok(missing.first().map(|missing| format!("{missing:?}")))
    }
}
