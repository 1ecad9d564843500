//! Rows that no event made, from one audit to the next: only where the whole log is read it is found that
//! they are none.

use cartwright_events::Timestamp;
use cartwright_projector::Plan;
use cartwright_read_model::{ColumnType, Row, Value};
use serde::{Deserialize, Serialize};

use super::made::{RowId, seq};
use super::written::Stray;

/// A row that was not as any event left it, when the whole log was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStray {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The table.
    pub table: String,
    /// The row's key.
    pub key: Vec<serde_json::Value>,
    /// The seq that it had.
    pub seq: u64,
    /// The seq of the last event that had written to it; `None`: none had.
    pub last: Option<u64>,
}

impl KnownStray {
    /// This row of the version that `plan` builds.
    pub(super) fn of(plan: &Plan, row: &Row, stray: Stray) -> Self {
        let key = &row.values[..row.table.key_len()];
        Self {
            projection: plan.projection.name.to_owned(),
            version: plan.version,
            table: row.table.name.to_owned(),
            key: key.iter().map(|value| serde_json::json!(value)).collect(),
            seq: seq(row),
            last: match stray {
                Stray::Unwritten => None,
                Stray::Newer { last, .. } => Some(last),
            },
        }
    }

    /// Whether it is a row of the version that `plan` builds.
    pub(super) fn is_of(&self, plan: &Plan) -> bool {
        (self.projection.as_str(), self.version) == (plan.projection.name, plan.version)
    }

    /// Which row that is; `None` where there is no such table.
    pub(super) fn row(&self, plan: &Plan) -> Option<RowId> {
        let table = plan.projection.table(&self.table)?;
        if self.key.len() != table.key_len() {
            return None;
        }
        let cells = table.columns().zip(&self.key);
        let key = cells.map(|(column, cell)| value(column.kind, cell));
        Some(RowId::new(table, key.collect::<Option<Vec<_>>>()?))
    }

    /// What is wrong with the row as its store holds it now, to which no event has written since.
    pub(super) fn stray(&self, row: &Row) -> Option<Stray> {
        let seq = seq(row);
        match self.last {
            None => Some(Stray::Unwritten),
            Some(last) => (seq > last).then_some(Stray::Newer { seq, last }),
        }
    }
}

/// A cell of a key as it was written down.
fn value(kind: ColumnType, cell: &serde_json::Value) -> Option<Value> {
    match kind {
        ColumnType::Text => cell.as_str().map(Value::from),
        ColumnType::Int => cell.as_i64().map(Value::Int),
        ColumnType::Bool => cell.as_bool().map(Value::Bool),
        ColumnType::Time => {
            let time = serde_json::from_value::<Timestamp>(cell.clone());
            time.ok().map(Value::Time)
        }
        ColumnType::Json => Some(Value::Json(cell.clone())),
    }
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::PROJECTIONS;

    use super::*;

    #[test]
    fn a_row_of_any_table_is_found_again_by_what_was_written_down() {
        for projection in PROJECTIONS {
            let plan = Plan::of(projection, 7, 1).expect("a fold");
            for table in projection.tables.iter().copied() {
                let filled = |kind| match kind {
                    ColumnType::Text => Value::from("2026-03-01T10:00:00Z"),
                    ColumnType::Int => Value::Int(-3),
                    ColumnType::Bool => Value::Bool(true),
                    ColumnType::Time => Value::Time(Timestamp::from_micros(1_234_567)),
                    ColumnType::Json => Value::Json(serde_json::json!({"a": 1})),
                };
                let values = table.columns().map(|column| filled(column.kind)).collect();
                let row = Row { table, values };
                let known = KnownStray::of(&plan, &row, Stray::Unwritten);
                let json = serde_json::to_string(&known).expect("written");
                let again: KnownStray = serde_json::from_str(&json).expect("read");
                assert!(again.is_of(&plan));
                assert_eq!(
                    again.row(&plan),
                    Some(RowId::of_row(&row)),
                    "{}",
                    table.name
                );
            }
        }
    }
}
