//! The read model in Cassandra or ScyllaDB: connecting, migrating, reading by key.

mod connect;
mod control;
mod migrate;
mod parking;
mod reader;
mod views;

pub use connect::{CassandraOptions, connect};
pub use control::{all_rows, load_parked, load_position, load_positions};
pub(crate) use control::{
    by_whole_key, control_rows, delete_rows, is_empty, put, put_versions, scan,
};
pub(crate) use migrate::{change, missing_tables};
pub use migrate::{migrate, refuse_gone};
pub use parking::{ParkRequests, ask, parked_rows, skipped_rows};
pub use views::Views;

pub use scylla::statement::Consistency;

use scylla::frame::response::result::{ColumnType as CqlType, NativeType};
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::value::CqlValue;

use cartwright_events::Timestamp;

use crate::error::ReadModelError;
use crate::schema::{Column, ColumnType, Table};
use crate::value::Value;

/// Bound as `Unset` where nothing is said, so that no tombstone is written.
impl SerializeValue for Value {
    fn serialize<'b>(
        &self,
        typ: &CqlType,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Value::Unset => scylla::value::Unset.serialize(typ, writer),
            Value::Text(text) => text.as_str().serialize(typ, writer),
            // `LIMIT ?` is the one place that takes a 32-bit number.
            Value::Int(number) => match (typ, i32::try_from(*number)) {
                (CqlType::Native(NativeType::Int), Ok(small)) => small.serialize(typ, writer),
                _ => number.serialize(typ, writer),
            },
            Value::Bool(flag) => flag.serialize(typ, writer),
            Value::Time(time) => time.as_micros().serialize(typ, writer),
            Value::Json(json) => json.to_string().serialize(typ, writer),
        }
    }
}

/// Reads a cell as its column's type.
pub(crate) fn from_cql(
    table: &'static Table,
    column: Column,
    value: Option<CqlValue>,
) -> Result<Value, ReadModelError> {
    let Some(value) = value else {
        return Ok(Value::Unset);
    };
    let found = match (column.kind, value) {
        (ColumnType::Text, CqlValue::Text(text)) => Some(text.into()),
        (ColumnType::Int, CqlValue::BigInt(number)) => Some(Value::Int(number)),
        (ColumnType::Bool, CqlValue::Boolean(flag)) => Some(Value::Bool(flag)),
        (ColumnType::Time, CqlValue::BigInt(micros)) => {
            Some(Value::Time(Timestamp::from_micros(micros)))
        }
        (ColumnType::Json, CqlValue::Text(text)) => {
            serde_json::from_str(&text).ok().map(Value::Json)
        }
        _ => None,
    };
    found.ok_or(ReadModelError::Type {
        table: table.name,
        column: column.name,
    })
}
