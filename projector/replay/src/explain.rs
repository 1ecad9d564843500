//! Why an order is what it is: everything the log holds about it, across contexts, shards and
//! messages, in the order in which it became visible.
//!
//! Read are the partition of the order (cart, order, inbox) and, of inventory, the partitions of
//! its SKUs (stock, inbox), each once from its beginning; then the journals of the same partitions,
//! for the transactions and what was decided in them. Nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cartwright_event_log::{EventLog, Record, Start, TopicPartition};
use cartwright_events::cart::CartEvent;
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::journal::JournalRecord;
use cartwright_events::order::OrderEvent;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, EventBody, Stream, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::reading::read_once;

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

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// `event`, `message`, or `failed message`.
    pub kind: &'static str,
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
    /// What it says.
    pub details: Value,
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
/// When the log or the registry does not answer, or a record of the order can't be read.
pub fn explain(log: &impl EventLog, codec: &Codec, order_id: &str) -> anyhow::Result<Explanation> {
    let mut search = Search {
        codec,
        order_id,
        skus: BTreeSet::new(),
        facts: Vec::new(),
        records_read: 0,
    };
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
    Ok(search.finish())
}

struct Search<'a> {
    codec: &'a Codec,
    order_id: &'a str,
    skus: BTreeSet<String>,
    facts: Vec<Fact>,
    records_read: u64,
}

impl Search<'_> {
    /// Reads the events and the inbox of these partitions.
    fn read(&mut self, log: &impl EventLog, places: &[(Context, u32)]) -> anyhow::Result<()> {
        let mut starts = Vec::new();
        for (context, partition) in places {
            let streams = context.streams().iter().map(|stream| stream.topic());
            let topics = streams.chain([context.inbox_topic()]);
            starts.extend(
                topics.map(|topic| (TopicPartition::new(topic, *partition), Start::Beginning)),
            );
        }
        read_once(log, &starts, |record| {
            self.records_read += 1;
            match Stream::of_topic(&record.topic) {
                Some(stream) => self.event(stream, record),
                None => self.message(record),
            }
            .with_context(|| format!("{} at {}", record.topic_partition(), record.offset))
        })
        .map(drop)
    }

    fn event(&mut self, stream: Stream, record: &Record) -> anyhow::Result<()> {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
        let may_concern = match stream {
            Stream::Stock => self.skus.contains(key.as_ref()),
            _ => key == self.order_id,
        };
        if !may_concern {
            return Ok(());
        }
        let Some(value) = record.value.as_deref() else {
            return Ok(());
        };
        let event = match self.codec.decode_event(stream, value) {
            Ok(event) => event,
            Err(error) => {
                let details = json!({ "unreadable": error.to_string() });
                let context = stream.context().name();
                self.fact("event", context, "?", &key, record, details);
                return Ok(());
            }
        };
        match &event.body {
            EventBody::Stock(stock) if stock.order_id() != Some(self.order_id) => return Ok(()),
            EventBody::Cart(CartEvent::ItemAdded(added)) => {
                self.skus.insert(added.sku.to_string());
            }
            EventBody::Order(OrderEvent::Created(created)) => {
                let skus = created.lines.iter().map(|line| line.sku.to_string());
                self.skus.extend(skus);
            }
            _ => {}
        }
        let mut details = serde_json::to_value(&event)?;
        let data = details.get_mut("data").map(Value::take).unwrap_or_default();
        let context = stream.context().name();
        let type_name = event.body.type_name();
        self.fact("event", context, type_name, &key, record, data);
        Ok(())
    }

    fn message(&mut self, record: &Record) -> anyhow::Result<()> {
        let context = Context::ALL
            .into_iter()
            .find(|context| context.inbox_topic() == &*record.topic);
        let (Some(context), Some(value)) = (context, record.value.as_deref()) else {
            return Ok(());
        };
        let Ok(message) = self.codec.decode_message(context, value) else {
            return Ok(());
        };
        if message.key() != self.order_id {
            return Ok(());
        }
        let details = serde_json::to_value(&message)?;
        let type_name = message.type_name();
        let subject = self.order_id.to_owned();
        self.fact(
            "message",
            context.name(),
            type_name,
            &subject,
            record,
            details,
        );
        Ok(())
    }

    fn fact(
        &mut self,
        kind: &'static str,
        context: &'static str,
        type_name: &str,
        subject: &str,
        record: &Record,
        details: Value,
    ) {
        let text = |name: &str| {
            let value = record.header(name).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        self.facts.push(Fact {
            kind,
            context,
            type_name: type_name.to_owned(),
            subject: subject.to_owned(),
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            seq: text(header::SEQ).parse().ok(),
            recorded_at: Timestamp::from_micros(record.timestamp_us),
            since_first_ms: 0,
            since_previous_ms: 0,
            command_id: text(header::COMMAND_ID),
            correlation_id: text(header::CORRELATION_ID),
            transaction: None,
            details,
        });
    }

    /// Finds the transactions that the facts of a partition were written in, and messages that
    /// could not be decided.
    fn read_journal(
        &mut self,
        log: &impl EventLog,
        context: Context,
        partition: u32,
    ) -> anyhow::Result<()> {
        let mut wanted: BTreeMap<(String, u64), Vec<usize>> = BTreeMap::new();
        let mut inbox: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, fact) in self.facts.iter().enumerate() {
            if fact.context != context.name() || fact.partition != partition {
                continue;
            }
            match fact.seq {
                Some(seq) if fact.kind == "event" => {
                    let places = wanted.entry((fact.topic.clone(), seq)).or_default();
                    places.push(index);
                }
                _ if fact.kind == "message" => drop(inbox.insert(fact.offset, index)),
                _ => {}
            }
        }
        let at = TopicPartition::new(context.journal_topic(), partition);
        let mut failed = Vec::new();
        // Every transaction says how far the inbox is applied with it.
        let mut applied = 0;
        read_once(log, &[(at, Start::Beginning)], |record| {
            self.records_read += 1;
            let Some(value) = record.value.as_deref() else {
                return Ok(());
            };
            let Ok(journal) = self.codec.decode_journal(context, value) else {
                return Ok(());
            };
            for range in &journal.ranges {
                let topic = &range.topic;
                let within = (topic.clone(), range.first)..=(topic.clone(), range.last);
                for index in wanted.range(within).flat_map(|(_, indexes)| indexes) {
                    let fact = &mut self.facts[*index];
                    fact.transaction = Some(transaction(&journal, fact));
                }
            }
            let end = journal.inbox_position.max(applied);
            for index in inbox.range(applied..end).map(|(_, index)| *index) {
                let fact = &mut self.facts[index];
                fact.transaction = Some(transaction(&journal, fact));
            }
            applied = end;
            for given_up in &journal.failed {
                if let Some(index) = inbox.get(&given_up.offset) {
                    failed.push((*index, record.clone(), given_up.reason.clone()));
                }
            }
            Ok(())
        })?;
        for (index, record, reason) in failed {
            let message = self.facts[index].clone();
            let details = json!({ "reason": reason, "offset": message.offset });
            let (context, subject) = (message.context, message.subject);
            let type_name = message.type_name;
            self.fact(
                "failed message",
                context,
                &type_name,
                &subject,
                &record,
                details,
            );
        }
        Ok(())
    }

    fn finish(mut self) -> Explanation {
        let visible = self.visible();
        let mut facts: Vec<(Timestamp, Fact)> = visible.into_iter().zip(self.facts).collect();
        // The log's times are milliseconds. What became visible in the same one is put in the
        // order that it must have had: a cart before its order, a question before its answer,
        // within a partition by offset.
        facts.sort_by_key(|(visible, fact)| {
            let rank = match (fact.kind, fact.context, fact.topic.contains(".cart.")) {
                _ if is_outcome(fact) => 5,
                ("event", "checkout", true) => 0,
                ("message", "inventory", _) => 2,
                ("event", "inventory", _) => 3,
                ("message", "checkout", _) => 4,
                _ => 1,
            };
            (*visible, rank, fact.partition, fact.offset)
        });
        self.facts = facts.into_iter().map(|(_, fact)| fact).collect();
        let first = self.facts.first().map(|fact| fact.recorded_at);
        let mut previous = first;
        for fact in &mut self.facts {
            let since = |from: Option<Timestamp>| from.map_or(0, |from| ms(from, fact.recorded_at));
            (fact.since_first_ms, fact.since_previous_ms) = (since(first), since(previous));
            previous = previous.max(Some(fact.recorded_at));
        }
        Explanation {
            order_id: self.order_id.to_owned(),
            facts: self.facts,
            records_read: self.records_read,
        }
    }

    /// When each fact's transaction was written. The records of one are taken by several
    /// partitions, a little earlier or later; whoever acts on any of them does so after all.
    fn visible(&self) -> Vec<Timestamp> {
        type Key = (&'static str, u32, u64);
        let key = |fact: &Fact| -> Option<Key> {
            let number = fact.transaction.as_ref()?.number;
            Some((fact.context, fact.partition, number))
        };
        let mut begun: BTreeMap<Key, (Timestamp, &str)> = BTreeMap::new();
        for fact in self.facts.iter().filter(|fact| fact.kind == "event") {
            if let Some(key) = key(fact) {
                let entry = begun
                    .entry(key)
                    .or_insert((fact.recorded_at, &fact.command_id));
                entry.0 = entry.0.min(fact.recorded_at);
            }
        }
        let of_message = |fact: &Fact| {
            let senders = begun.iter().filter(|((context, ..), (_, command))| {
                *context != fact.context && *command == fact.command_id
            });
            let times = senders.map(|(_, (time, _))| *time);
            times.min_by_key(|time| (time.as_micros() - fact.recorded_at.as_micros()).abs())
        };
        let time = |fact: &Fact| match fact.kind {
            "message" => of_message(fact),
            _ => key(fact).and_then(|key| begun.get(&key).map(|(time, _)| *time)),
        };
        let facts = self.facts.iter();
        facts
            .map(|fact| time(fact).unwrap_or(fact.recorded_at))
            .collect()
    }
}

/// What inventory's answers lead to.
fn is_outcome(fact: &Fact) -> bool {
    matches!(fact.type_name.as_str(), "OrderConfirmed" | "OrderRejected")
}

fn ms(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_micros() - from.as_micros()).max(0) / 1_000
}

fn transaction(journal: &JournalRecord, fact: &Fact) -> Transaction {
    let decided = journal
        .decided
        .iter()
        .find(|decided| decided.command_id == fact.command_id);
    Transaction {
        number: journal.transaction,
        writer_epoch: journal.writer_epoch,
        decided_at: journal.decided_at,
        commit_ms: match fact.kind {
            "message" => ms(fact.recorded_at, journal.decided_at),
            _ => ms(journal.decided_at, fact.recorded_at),
        },
        idempotency_key: decided.and_then(|decided| decided.idempotency_key.clone()),
    }
}
