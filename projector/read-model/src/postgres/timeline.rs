//! What happened to a cart and the order it became.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::from_sql;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::row::TypedRow;
use crate::rows::TimelineRow;
use crate::tables::TIMELINE;

/// The events of a cart and its order in `version` of the timeline, oldest first, after the one with this stream and seq
/// (keyset paging); at most `limit`.
///
/// # Errors
/// What the store said.
pub async fn timeline(
    client: &impl GenericClient,
    version: u32,
    aggregate_id: &str,
    after: Option<(&str, u64)>,
    limit: u32,
) -> Result<Vec<TimelineRow>, ReadModelError> {
    let (stream, seq) = after.unwrap_or(("", 0));
    let sql = format!(
        "SELECT {} FROM {} WHERE aggregate_id = $1 AND (stream, seq) > ($2, $3) \
         ORDER BY stream, seq LIMIT $4",
        names(TIMELINE.columns()),
        TIMELINE.physical_name(version),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&aggregate_id, Type::TEXT),
                (&stream, Type::TEXT),
                (&i64::try_from(seq).unwrap_or(i64::MAX), Type::INT8),
                (&i64::from(limit), Type::INT8),
            ],
        )
        .await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.extend(TimelineRow::from_row(&from_sql(&TIMELINE, row)?));
    }
    Ok(events)
}
