//! Rows of one table, in either way of keeping them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use cartwright_read_model::{CellTime, ROW_SEQ, Row, Table, Value};

use super::write_time;
use crate::merge::MergedRow;
use crate::sink::SinkError;

#[derive(Debug, Default)]
pub(super) struct StoredTable(BTreeMap<Key, StoredRow>);

/// A row's key, in an order in which those that begin alike are together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key(Vec<Value>);

#[derive(Debug, Default)]
struct StoredRow {
    deleted: Option<i64>,
    /// When the row as such was last written.
    marker: Option<i64>,
    cells: BTreeMap<&'static str, (i64, Value)>,
}

impl StoredTable {
    /// The transactional way: what comes last holds.
    pub(super) fn put(&mut self, row: &MergedRow<'_>) {
        if row.deleted.is_some() {
            self.0.remove(&Key(row.key.to_vec()));
        }
        let Some(write) = &row.write else { return };
        let stored = self.0.entry(Key(row.key.to_vec())).or_default();
        stored.marker = Some(0);
        for (column, value) in row.table.cells.iter().zip(&write.cells) {
            if let Some(value) = value {
                stored.cells.insert(column.name, (0, (*value).clone()));
            }
        }
        stored.cells.insert(ROW_SEQ.name, (0, write.seq.into()));
    }

    /// The way with a time per cell.
    pub(super) fn write(&mut self, row: &MergedRow<'_>, generation: u32) -> Result<(), SinkError> {
        let stored = self.0.entry(Key(row.key.to_vec())).or_default();
        if let Some(seq) = row.deleted {
            let time = CellTime::delete(generation, seq).map_err(SinkError::fatal)?;
            stored.deleted = stored.deleted.max(Some(time.as_micros()));
        }
        let Some(write) = &row.write else {
            return Ok(());
        };
        let time = write_time(generation, write.seq)?;
        stored.marker = stored.marker.max(Some(time));
        for (column, value) in row.table.cells.iter().zip(&write.cells) {
            if let Some(value) = value {
                stored.write_cell(column.name, time, (*value).clone());
            }
        }
        stored.write_cell(ROW_SEQ.name, time, write.seq.into());
        Ok(())
    }

    /// Whether there is a row of this key.
    pub(super) fn holds(&self, key: &[Value]) -> bool {
        let stored = self.0.get(&Key(key.to_vec()));
        stored.is_some_and(StoredRow::is_visible)
    }

    /// Removes the rows whose key begins with `prefix`.
    pub(super) fn remove(&mut self, prefix: &[Value]) {
        self.0.retain(|key, _| !key.0.starts_with(prefix));
    }

    /// Removes what was written before `time` of them.
    pub(super) fn delete(&mut self, prefix: &[Value], time: CellTime) {
        let rows = self.0.iter_mut();
        for (_, stored) in rows.filter(|(key, _)| key.0.starts_with(prefix)) {
            stored.deleted = stored.deleted.max(Some(time.as_micros()));
        }
    }

    /// What readers see of the rows whose key begins with `prefix`, by key.
    pub(super) fn rows(&self, table: &'static Table, prefix: &[Value]) -> Vec<Row> {
        self.rows_from(table, prefix, prefix)
    }

    /// The same from the key `from` on.
    pub(super) fn rows_from(
        &self,
        table: &'static Table,
        from: &[Value],
        prefix: &[Value],
    ) -> Vec<Row> {
        self.0
            .range(Key(from.to_vec())..)
            .take_while(|(key, _)| key.0.starts_with(prefix))
            .filter(|(_, stored)| stored.is_visible())
            .map(|(key, stored)| {
                let cells = table.cells.iter().copied().chain([ROW_SEQ]);
                let cells = cells.map(|column| stored.visible(column.name));
                let values = key.0.iter().cloned().chain(cells).collect();
                Row { table, values }
            })
            .collect()
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let mut pairs = self.0.iter().zip(&other.0);
        let differing = pairs.find_map(|(a, b)| Some(compare(a, b)).filter(|order| order.is_ne()));
        differing.unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Values of one column by their size, those of different kinds by their kind.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Json(a), Value::Json(b)) => a.to_string().cmp(&b.to_string()),
        _ => kind(a).cmp(&kind(b)),
    }
}

const fn kind(value: &Value) -> u8 {
    match value {
        Value::Unset => 0,
        Value::Text(_) => 1,
        Value::Int(_) => 2,
        Value::Bool(_) => 3,
        Value::Time(_) => 4,
        Value::Json(_) => 5,
    }
}

impl StoredRow {
    fn write_cell(&mut self, name: &'static str, time: i64, value: Value) {
        let wins = self.cells.get(name).is_none_or(|(held, old)| {
            time > *held || (time == *held && tie_bytes(&value) > tie_bytes(old))
        });
        if wins {
            self.cells.insert(name, (time, value));
        }
    }

    fn outlives_delete(&self, time: i64) -> bool {
        self.deleted.is_none_or(|deleted| time > deleted)
    }

    fn is_visible(&self) -> bool {
        let cells = self.cells.values().map(|(time, _)| *time);
        cells
            .chain(self.marker)
            .any(|time| self.outlives_delete(time))
    }

    fn visible(&self, name: &str) -> Value {
        match self.cells.get(name) {
            Some((time, value)) if self.outlives_delete(*time) => value.clone(),
            _ => Value::Unset,
        }
    }
}

/// What is compared at equal times: the value as it is stored.
fn tie_bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Unset => Vec::new(),
        Value::Text(text) => text.as_bytes().to_vec(),
        Value::Int(number) => number.to_be_bytes().to_vec(),
        Value::Bool(flag) => vec![u8::from(*flag)],
        Value::Time(time) => time.as_micros().to_be_bytes().to_vec(),
        Value::Json(json) => json.to_string().into_bytes(),
    }
}
