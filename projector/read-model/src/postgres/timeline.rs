//! What happened to a cart and the order it became, and about the order elsewhere.

use cartwright_events::Timestamp;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::typed_rows;
use crate::causal::Step;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::rows::{CausalRow, TimelineRow};
use crate::tables::{CAUSAL_EVENTS, TIMELINE};

/// The events of a cart, then those of its order, in `version` of the timeline, each oldest first, after
/// the one with this stream and seq (keyset paging); at most `limit`.
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
    typed_rows(&rows)
}

/// Where an event stands among those about its order: the log's time, stream, partition, seq.
pub type CausalKey = (Timestamp, String, u32, u64);

/// The events about an order in `version` of the causal timeline, in the order in which the log took
/// them, within one of its milliseconds causes before effects ([`Step`]), after the one at `after`
/// (keyset paging; its time is not looked at); at most `limit`.
///
/// # Errors
/// What the store said.
pub async fn causal_timeline(
    client: &impl GenericClient,
    version: u32,
    order_id: &str,
    after: Option<&CausalKey>,
    limit: u32,
) -> Result<Vec<CausalRow>, ReadModelError> {
    let first = (Timestamp::EPOCH, String::new(), 0, 0);
    let (_, stream, partition, seq) = after.unwrap_or(&first);
    let columns = names(CAUSAL_EVENTS.columns());
    let sql = format!(
        "WITH told AS (SELECT {columns}, row_number() OVER \
         (ORDER BY recorded_at, {}, log_partition, seq) AS place FROM {} WHERE order_id = $1) \
         SELECT {columns} FROM told WHERE place > COALESCE((SELECT place FROM told \
         WHERE stream = $2 AND log_partition = $3 AND seq = $4), 0) ORDER BY place LIMIT $5",
        Step::sql(),
        CAUSAL_EVENTS.physical_name(version),
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&order_id, Type::TEXT),
                (stream, Type::TEXT),
                (&i64::from(*partition), Type::INT8),
                (&i64::try_from(*seq).unwrap_or(i64::MAX), Type::INT8),
                (&i64::from(limit), Type::INT8),
            ],
        )
        .await?;
    typed_rows(&rows)
}

/// The SKUs of the events about an order in `version` of the causal timeline: those that its cart
/// had, those of its lines where the summary of an event lists them, and those of which stock was held for it.
///
/// # Errors
/// What the store said.
pub async fn causal_skus(
    client: &impl GenericClient,
    version: u32,
    order_id: &str,
) -> Result<Vec<String>, ReadModelError> {
    let sql = format!(
        "WITH told AS (SELECT stream, subject, summary FROM {} WHERE order_id = $1) \
         SELECT sku FROM (SELECT CASE WHEN stream = 'stock' THEN subject ELSE summary->>'sku' END AS sku \
         FROM told UNION SELECT line->>'sku' FROM told, \
         jsonb_path_query(summary, 'lax $.lines[*]') AS line) AS named WHERE sku IS NOT NULL",
        CAUSAL_EVENTS.physical_name(version),
    );
    let rows = client.query_typed(&sql, &[(&order_id, Type::TEXT)]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
