//! Why an order is what it is: everything the log holds about it, across contexts, shards and
//! messages, in the order in which it became visible.
//!
//! Read are the partition of the order (cart, order, inbox) and, of inventory, the partitions of
//! its SKUs (stock, inbox), each once from its beginning; then the journals of the same partitions, as
//! far back as they are kept, for the transactions and what was decided in them. Nothing else is.

mod arrange;
mod journal;
mod search;

use std::collections::BTreeSet;

use cartwright_event_log::EventLog;
use cartwright_events::codec::Codec;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Stream, Timestamp};
use serde::Serialize;
use serde_json::Value;

use arrange::arranged;
use search::Search;

/// What the log says of an order.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The order, and the cart that it came from.
    pub order_id: String,
    /// What happened, oldest first.
    pub facts: Vec<Fact>,
    /// Records that were read to find it.
    pub records_read: u64,
}

/// What kinds of things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// An event.
    #[serde(rename = "event")]
    Event,
    /// A message to a shard.
    #[serde(rename = "message")]
    Message,
    /// A message that could not be decided.
    #[serde(rename = "failed message")]
    FailedMessage,
    /// A command that was refused; its type is the reason. Only of one that names the order: the
    /// journal does not hold what a refused command was about.
    #[serde(rename = "rejected command")]
    RejectedCommand,
    /// Transactions that can't be read, the first of those in a partition: whether they are about the order
    /// nobody can tell.
    #[serde(rename = "unreadable transaction")]
    Unread,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What kind of thing.
    pub kind: Kind,
    /// The context whose shard did it or, of a message, gets it.
    pub context: &'static str,
    /// What happened.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The aggregate: the order, its cart or a SKU.
    pub subject: String,
    /// Where it stands in the log.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The seq, of an event.
    pub seq: Option<u64>,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// Milliseconds since the first fact.
    pub since_first_ms: i64,
    /// Milliseconds since the fact before it.
    pub since_previous_ms: i64,
    /// The command, message or timer that caused it.
    pub command_id: String,
    /// What the whole chain goes back to.
    pub correlation_id: String,
    /// The transaction that it was written in, where it was written; of a message, the one that applied
    /// it, where it went.
    pub transaction: Option<Transaction>,
    /// The transaction of another shard that sent it, of a message; none where a caller did.
    pub sender: Option<Sender>,
    /// What it says.
    pub details: Value,
}

/// The transaction that sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sender {
    /// The context of its shard.
    pub context: &'static str,
    /// The shard.
    pub partition: u32,
    /// Its number in the shard's journal.
    pub transaction: u64,
}

/// A transaction of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transaction {
    /// Its number in the partition's journal.
    pub number: u64,
    /// The writer's epoch.
    pub writer_epoch: u64,
    /// The shard's time when it was decided.
    pub decided_at: Timestamp,
    /// Milliseconds from then until the log took the fact; of a message, those that it had waited then.
    pub commit_ms: i64,
    /// The caller's idempotency key, where a command with one caused it.
    pub idempotency_key: Option<String>,
}

/// Reads the log for `order_id`.
///
/// # Errors
/// When the log or the registry does not answer. A record that can't be read is told as it is.
pub fn explain(log: &impl EventLog, codec: &Codec, order_id: &str) -> anyhow::Result<Explanation> {
    let mut search = Search::new(codec, order_id);
    let orders = partition_of(order_id, log.partition_count(Stream::Order.topic())?);
    let checkout = [(Context::Checkout, orders)];
    search.read(log, &checkout)?;
    let count = log.partition_count(Stream::Stock.topic())?;
    let stock: BTreeSet<u32> = search
        .skus
        .iter()
        .map(|sku| partition_of(sku, count))
        .collect();
    let stock: Vec<_> = stock
        .into_iter()
        .map(|at| (Context::Inventory, at))
        .collect();
    search.read(log, &stock)?;
    for (context, partition) in checkout.into_iter().chain(stock) {
        search.read_journal(log, context, partition)?;
    }
    Ok(Explanation {
        order_id: order_id.to_owned(),
        facts: arranged(search.facts),
        records_read: search.records_read,
    })
}

impl Kind {
    /// In words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Message => "message",
            Self::FailedMessage => "failed message",
            Self::RejectedCommand => "rejected command",
            Self::Unread => "unreadable transaction",
        }
    }
}

fn ms(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_micros() - from.as_micros()).max(0) / 1_000
}
