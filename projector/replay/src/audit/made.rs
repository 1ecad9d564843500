//! What rows should hold by the events that wrote to them last.
//!
//! An event carries the values that result, so the events since the last audit are enough to judge
//! every cell that they wrote; nothing older has to be read.

use std::collections::{BTreeMap, HashMap, HashSet};

use cartwright_events::{Envelope, Stream, Timestamp};
use cartwright_read_model::{Row, RowOp, Table, Value};

use super::findings::Evidence;
use crate::part::Part;

/// A row, by table and key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowId {
    table: &'static str,
    key: Vec<Value>,
}

impl RowId {
    /// The row of `table` with this key.
    #[must_use]
    pub const fn new(table: &Table, key: Vec<Value>) -> Self {
        let table = table.name;
        Self { table, key }
    }

    /// The row that an operation writes to.
    #[must_use]
    pub fn of(op: &RowOp) -> Self {
        Self {
            table: op.table().name,
            key: op.key().to_vec(),
        }
    }

    /// This row.
    #[must_use]
    pub fn of_row(row: &Row) -> Self {
        Self {
            table: row.table.name,
            key: row.values[..row.table.key_len()].to_vec(),
        }
    }

    /// Its table.
    pub(super) const fn table(&self) -> &'static str {
        self.table
    }

    /// Its key.
    pub(super) fn key(&self) -> &[Value] {
        &self.key
    }
}

/// The seq of the event that last wrote to a row, by its own account; 0 when it has none.
pub(super) fn seq(row: &Row) -> u64 {
    match row.value("row_seq") {
        Value::Int(seq) => u64::try_from(*seq).unwrap_or(0),
        _ => 0,
    }
}

/// What a row should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The table.
    pub table: &'static Table,
    /// The key.
    pub key: Vec<Value>,
    /// Seq of the last event that wrote to it.
    pub seq: u64,
    /// Its type.
    pub event: &'static str,
    /// Where it is.
    pub at: Evidence,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// The first event of each topic-partition that wrote to it, as far as they were read.
    pub from: Vec<(Stream, u32, u64)>,
    /// The cells that were written; `None` when the row was deleted last.
    cells: Option<BTreeMap<&'static str, Value>>,
}

/// A row that is not what its last event made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no such row.
    Missing,
    /// It was deleted.
    StillThere,
    /// It has not seen the event.
    Older,
    /// It says that it has seen a later one.
    Newer,
    /// Cells hold something else: column, what it is, what it should be.
    Differs(Vec<(&'static str, Value, Value)>),
}

/// Rows by what was written to them.
#[derive(Debug, Default)]
pub struct Expected(HashMap<RowId, Made>);

impl Expected {
    /// Takes what a fold made of the next event of its partition.
    pub fn take(&mut self, envelope: &Envelope, event: &'static str, ops: &[RowOp]) {
        for op in ops {
            let made = self.0.entry(RowId::of(op)).or_insert_with(|| Made {
                table: op.table(),
                key: op.key().to_vec(),
                seq: 0,
                event,
                at: Evidence {
                    topic: String::new(),
                    partition: 0,
                    offset: 0,
                },
                recorded_at: envelope.recorded_at,
                from: Vec::new(),
                cells: Some(BTreeMap::new()),
            });
            let at = (envelope.stream, envelope.partition);
            if !made.from.iter().any(|(stream, of, _)| (*stream, *of) == at) {
                made.from.push((at.0, at.1, envelope.offset));
            }
            made.seq = envelope.seq;
            made.event = event;
            made.at = Evidence {
                topic: envelope.stream.topic().to_owned(),
                partition: envelope.partition,
                offset: envelope.offset,
            };
            made.recorded_at = envelope.recorded_at;
            made.cells = match op {
                RowOp::Delete { .. } => None,
                RowOp::Upsert { cells, .. } => {
                    let mut known = made.cells.take().unwrap_or_default();
                    known.extend(cells.iter().cloned());
                    Some(known)
                }
            };
        }
    }

    /// The rows of `table`, and of these those that were deleted last.
    pub(super) fn of_table(&self, table: &Table) -> (Vec<Vec<Value>>, HashSet<RowId>) {
        let rows = || self.0.iter().filter(|(id, _)| id.table == table.name);
        let deleted = rows().filter(|(_, made)| made.cells.is_none());
        let deleted = deleted.map(|(id, _)| id.clone()).collect();
        (rows().map(|(id, _)| id.key.clone()).collect(), deleted)
    }

    /// Forgets a row if it is what it should be; answers whether it was known and is.
    pub(super) fn settle(&mut self, id: &RowId, row: Option<&Row>) -> bool {
        let is_right = |made: &Made| made.fault(row).is_none();
        self.0.get(id).is_some_and(is_right) && self.0.remove(id).is_some()
    }

    /// Forgets the rows that are not in `part`.
    pub(super) fn keep(&mut self, part: Part) {
        self.0.retain(|id, _| part.has(&id.key));
    }

    /// How many rows are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by table; nothing is known afterwards.
    pub fn drain(&mut self) -> BTreeMap<&'static str, Vec<(RowId, Made)>> {
        let mut tables: BTreeMap<&'static str, Vec<(RowId, Made)>> = BTreeMap::new();
        for (id, made) in self.0.drain() {
            tables.entry(id.table).or_default().push((id, made));
        }
        tables
    }
}

impl Made {
    /// What is wrong with the row as its store holds it. One that a later event wrote to is that
    /// event's matter, if there is such an event.
    #[must_use]
    pub fn fault(&self, row: Option<&Row>) -> Option<Fault> {
        let Some(row) = row else {
            return self.cells.as_ref().map(|_| Fault::Missing);
        };
        let seq = seq(row);
        if seq > self.seq {
            return Some(Fault::Newer);
        }
        let Some(cells) = &self.cells else {
            return Some(Fault::StillThere);
        };
        if seq < self.seq {
            return Some(Fault::Older);
        }
        let differing: Vec<_> = cells
            .iter()
            .filter(|(column, value)| row.value(column) != *value)
            .map(|(column, value)| (*column, row.value(column).clone(), value.clone()))
            .collect();
        (!differing.is_empty()).then_some(Fault::Differs(differing))
    }
}

#[cfg(test)]
mod tests {
    use cartwright_events::Stream;
    use cartwright_read_model::tables::PRODUCTS;

    use super::*;

    fn envelope(seq: u64) -> Envelope {
        Envelope {
            stream: Stream::Product,
            partition: 0,
            offset: seq * 2,
            seq,
            writer_epoch: 1,
            recorded_at: Timestamp::EPOCH,
            command_id: String::new(),
            correlation_id: String::new(),
            traceparent: None,
        }
    }

    fn named(name: &str) -> RowOp {
        RowOp::upsert(&PRODUCTS, ["cup".into()], [("name", name.into())])
    }

    fn priced(minor: i64) -> RowOp {
        RowOp::upsert(
            &PRODUCTS,
            ["cup".into()],
            [("price_minor", Value::Int(minor))],
        )
    }

    fn removed() -> RowOp {
        RowOp::delete(&PRODUCTS, ["cup".into()])
    }

    /// What is expected after these, from seq 1 on.
    fn made(ops: &[RowOp]) -> Made {
        let mut expected = Expected::default();
        for (seq, op) in (1..).zip(ops) {
            expected.take(&envelope(seq), "Event", std::slice::from_ref(op));
        }
        let mut tables = expected.drain();
        let mut rows = tables.remove("products").expect("a table");
        assert!(tables.is_empty() && rows.len() == 1);
        rows.remove(0).1
    }

    fn row(seq: i64, cells: &[(&str, Value)]) -> Row {
        let value = |name: &str| match name {
            "sku" => "cup".into(),
            "row_seq" => Value::Int(seq),
            name => {
                let cell = cells.iter().find(|(cell, _)| *cell == name);
                cell.map_or(Value::Unset, |(_, value)| value.clone())
            }
        };
        Row {
            table: &PRODUCTS,
            values: PRODUCTS
                .columns()
                .map(|column| value(column.name))
                .collect(),
        }
    }

    #[test]
    fn a_row_is_held_against_all_that_was_written_to_it() {
        let made = made(&[named("Cup"), priced(100)]);
        let right = [("name", "Cup".into()), ("price_minor", Value::Int(100))];
        assert_eq!(made.fault(Some(&row(2, &right))), None);
        let wrong = [("name", "Mug".into()), ("price_minor", Value::Int(100))];
        let fault = Fault::Differs(vec![("name", "Mug".into(), "Cup".into())]);
        assert_eq!(made.fault(Some(&row(2, &wrong))), Some(fault));
        assert_eq!(made.fault(Some(&row(1, &right))), Some(Fault::Older));
        assert_eq!(made.fault(None), Some(Fault::Missing));
        assert_eq!(made.fault(Some(&row(3, &right))), Some(Fault::Newer));
    }

    #[test]
    fn a_deleted_row_is_gone_and_begins_anew() {
        let gone = made(&[named("Cup"), removed()]);
        assert_eq!(gone.fault(None), None);
        assert_eq!(gone.fault(Some(&row(1, &[]))), Some(Fault::StillThere));
        // What was there before the delete is not asked for.
        let again = made(&[named("Cup"), removed(), priced(90)]);
        let right = [("price_minor", Value::Int(90))];
        assert_eq!(again.fault(Some(&row(3, &right))), None);
    }
}
