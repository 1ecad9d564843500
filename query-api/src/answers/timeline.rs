//! What happened to an order.

use cartwright_events::envelope::TIMER;
use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::causal::brought_by;
use cartwright_read_model::rows::{CausalRow, TimelineRow};
use serde::Serialize;
use utoipa::ToSchema;

/// An event of a cart or of the order that it became; with `detail=causal`, of a stock too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TimelineEvent {
    /// `cart` or `order`; with `detail=causal` also `stock`.
    pub stream: String,
    /// Number in its topic-partition.
    pub seq: u64,
    /// The aggregate's version after it.
    pub version: u64,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: Timestamp,
    /// The command that caused it.
    pub command_id: String,
    /// The request that everything in the chain goes back to.
    pub correlation_id: String,
    /// What happened; long lists are replaced by their length.
    #[schema(value_type = Object)]
    pub summary: serde_json::Value,
    /// Where it stands in the log and how long it took; with `detail=causal` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causal: Option<Causal>,
}

/// Where an event about an order stands in the log, and how long it took to come about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Causal {
    /// The context whose shard wrote it.
    pub context: &'static str,
    /// The aggregate: the order, its cart or a SKU.
    pub subject: String,
    /// The topic.
    pub topic: &'static str,
    /// The partition, which is the shard.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// What the chain of causes began with: `command`, or `timer` where a shard's own timer was due.
    pub origin: &'static str,
    /// The message between shards that brought the cause to this one; null where it was there already, or
    /// the event's type alone does not tell.
    pub message: Option<&'static str>,
    /// The shard's epoch; another one than before says that the shard has changed hands.
    pub writer_epoch: u64,
    /// Milliseconds since the first event about the order, by the log's clock.
    pub since_first_ms: i64,
    /// Milliseconds since the event before.
    pub since_previous_ms: i64,
}

/// A page of what happened to a cart and to the order that it became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Timeline {
    /// The cart's events, then the order's, each oldest first; with `detail=causal` in the order of the
    /// log.
    pub items: Vec<TimelineEvent>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

impl From<TimelineRow> for TimelineEvent {
    fn from(row: TimelineRow) -> Self {
        Self {
            stream: row.stream,
            seq: row.seq,
            version: row.version,
            kind: row.r#type,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            command_id: row.command_id,
            correlation_id: row.correlation_id,
            summary: row.summary,
            causal: None,
        }
    }
}

impl TimelineEvent {
    /// With its place in the log, and the time since the first event and since the one before.
    #[must_use]
    pub fn causal(row: CausalRow, first: Timestamp, previous: Timestamp) -> Self {
        let stream = match row.stream.as_str() {
            "cart" => Stream::Cart,
            "stock" => Stream::Stock,
            _ => Stream::Order,
        };
        let since =
            |from: Timestamp| (row.recorded_at.as_micros() - from.as_micros()).max(0) / 1_000;
        let causal = Causal {
            context: stream.context().name(),
            subject: row.subject,
            topic: stream.topic(),
            partition: row.log_partition,
            offset: row.log_offset,
            origin: match row.command_id.starts_with(TIMER) {
                true => "timer",
                false => "command",
            },
            message: brought_by(&row.r#type),
            writer_epoch: row.writer_epoch,
            since_first_ms: since(first),
            since_previous_ms: since(previous),
        };
        Self {
            stream: row.stream,
            seq: row.seq,
            version: row.version,
            kind: row.r#type,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            command_id: row.command_id,
            correlation_id: row.correlation_id,
            summary: row.summary,
            causal: Some(causal),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(stream: &str, kind: &str, command_id: &str) -> (&'static str, Option<&'static str>) {
        let row = CausalRow {
            stream: stream.to_owned(),
            log_partition: 0,
            seq: 1,
            log_offset: 0,
            subject: "o-1".to_owned(),
            version: 1,
            r#type: kind.to_owned(),
            occurred_at: Timestamp::EPOCH,
            recorded_at: Timestamp::EPOCH,
            command_id: command_id.to_owned(),
            correlation_id: command_id.to_owned(),
            writer_epoch: 1,
            summary: json!({}),
        };
        let event = TimelineEvent::causal(row, Timestamp::EPOCH, Timestamp::EPOCH);
        let causal = event.causal.expect("causal");
        (causal.origin, causal.message)
    }

    #[test]
    fn what_began_the_chain_and_what_carried_it_here_is_told() {
        assert_eq!(told("order", "OrderCreated", "c-1"), ("command", None));
        let expired = told("order", "OrderExpired", "timer:o-1");
        assert_eq!(expired, ("timer", None));
        let released = told("stock", "StockReleased", "timer:o-1");
        assert_eq!(released, ("timer", Some("ReleaseStock")));
    }
}
