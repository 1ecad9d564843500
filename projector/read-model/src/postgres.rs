//! The read model in PostgreSQL: connecting, migrating, search, lists, timelines and reports.

mod catalog;
mod connect;
mod control;
mod database;
mod migrate;
mod parking;
mod presence;
mod sales;
mod sql_value;
mod timeline;

pub use catalog::{SearchCursor, SearchHit, list_products, search_products};
pub use connect::{PostgresOptions, forget_connections, pool};
pub use control::{all_rows, load_parked, load_position, load_positions};
pub(crate) use control::{control_rows, delete_rows, get, is_empty, put, put_versions, scan, size};
pub use database::make_database;
pub use migrate::{add_key, is_whole, make_control_tables, migrate, migrate_bare, refuse_gone};
pub(crate) use migrate::{complete, interrupt};
pub use parking::{ask, park_requests, parked_rows, skipped_rows};
pub use presence::{missing_tables, parked_among, parked_records, parked_under};
pub use sales::{ReportBy, SalesQuery, SalesRow, currencies, sales_report};
pub use sql_value::Micros;
pub use timeline::{CausalKey, causal_skus, causal_timeline, timeline};

use tokio_postgres::Row as SqlRow;

use crate::error::ReadModelError;
use crate::row::{Row, TypedRow};
use crate::schema::{ColumnType, Table};
use crate::value::Value;

/// Reads a row that was selected with the table's columns in their order, first.
/// Typed rows; those that lack a cell that they need are left out.
pub(crate) fn typed_rows<T: TypedRow>(rows: &[SqlRow]) -> Result<Vec<T>, ReadModelError> {
    let mut typed = Vec::with_capacity(rows.len());
    for row in rows {
        typed.extend(T::from_row(&from_sql(T::TABLE, row)?));
    }
    Ok(typed)
}

pub(crate) fn from_sql(table: &'static Table, row: &SqlRow) -> Result<Row, ReadModelError> {
    let values = table
        .columns()
        .enumerate()
        .map(|(index, column)| {
            Ok(match column.kind {
                ColumnType::Text => row.try_get::<_, Option<String>>(index)?.into(),
                ColumnType::Int => row.try_get::<_, Option<i64>>(index)?.into(),
                ColumnType::Bool => row.try_get::<_, Option<bool>>(index)?.into(),
                ColumnType::Time => {
                    let time = row.try_get::<_, Option<Micros>>(index)?;
                    time.map(|micros| micros.0).into()
                }
                ColumnType::Json => row
                    .try_get::<_, Option<serde_json::Value>>(index)?
                    .map_or(Value::Unset, Value::Json),
            })
        })
        .collect::<Result<_, tokio_postgres::Error>>()?;
    Ok(Row { table, values })
}
