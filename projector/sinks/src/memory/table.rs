//! Rows of one table, in either way of keeping them.

use std::collections::{BTreeMap, HashMap};

use cartwright_read_model::{CellTime, ROW_SEQ, Row, Table, Value};

use super::write_time;
use crate::merge::MergedRow;
use crate::sink::SinkError;

#[derive(Debug, Default)]
pub(super) struct StoredTable(HashMap<Vec<Value>, StoredRow>);

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
            self.0.remove(row.key);
        }
        let Some(write) = &row.write else { return };
        let stored = self.0.entry(row.key.to_vec()).or_default();
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
        let stored = self.0.entry(row.key.to_vec()).or_default();
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

    /// What readers see, by key.
    pub(super) fn rows(&self, table: &'static Table) -> Vec<Row> {
        let mut rows: Vec<(String, Row)> = self
            .0
            .iter()
            .filter(|(_, stored)| stored.is_visible())
            .map(|(key, stored)| {
                let cells = table.cells.iter().copied().chain([ROW_SEQ]);
                let cells = cells.map(|column| stored.visible(column.name));
                let values = key.iter().cloned().chain(cells).collect();
                (format!("{key:?}"), Row { table, values })
            })
            .collect();
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        rows.into_iter().map(|(_, row)| row).collect()
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
