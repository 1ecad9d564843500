//! A log that is written to as shards do it.

use std::collections::BTreeMap;

use cartwright_domain::Rejection;
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::envelope::{TIMER, header};
use cartwright_events::journal::{
    DecidedCommand, FailedMessage, INBOX_PASSED, JournalRecord, SeqRange,
};
use cartwright_events::messages::MessageId;
use cartwright_events::partition::partition_of;
use cartwright_events::{Codec, Context, Event, Message, Stream, Timestamp};
use serde_json::{Value, json};

pub const PARTITIONS: u32 = 2;

pub struct TestLog {
    pub log: MemoryLog,
    pub codec: Codec,
    seqs: BTreeMap<(Stream, u32), u64>,
    transactions: BTreeMap<(Context, u32), u64>,
    inbox_positions: BTreeMap<(Context, u32), u64>,
    inbox_passed: BTreeMap<(Context, u32), u64>,
}

impl TestLog {
    pub fn new() -> Self {
        let log = MemoryLog::new();
        for stream in Stream::ALL {
            log.create_topic(stream.topic(), PARTITIONS);
        }
        for context in Context::ALL {
            log.create_topic(context.inbox_topic(), PARTITIONS);
            log.create_topic(context.journal_topic(), PARTITIONS);
        }
        Self {
            log,
            codec: Codec::fixed(),
            seqs: BTreeMap::new(),
            transactions: BTreeMap::new(),
            inbox_positions: BTreeMap::new(),
            inbox_passed: BTreeMap::new(),
        }
    }

    /// Leaves a gap in the seqs.
    pub fn skip_seq(&mut self, stream: Stream, key: &str) {
        *self
            .seqs
            .entry((stream, partition_of(key, PARTITIONS)))
            .or_default() += 1;
    }

    /// One transaction of a shard: events of its own, and messages.
    pub fn commit(&mut self, command: &str, events: &[Event], messages: &[(u32, Message)]) {
        let records = self.transaction(command, events, messages);
        self.write(records);
    }

    /// Writes the events of a transaction, and gives back the journal record that it lacks.
    pub fn halved(&mut self, command: &str, events: &[Event]) -> NewRecord {
        let mut records = self.transaction(command, events, &[]);
        let journal = records.pop().expect("a journal record");
        self.write(records);
        journal
    }

    fn transaction(
        &mut self,
        command: &str,
        events: &[Event],
        messages: &[(u32, Message)],
    ) -> Vec<NewRecord> {
        let mut ranges: BTreeMap<(Context, u32, Stream), (u64, u64)> = BTreeMap::new();
        let mut records = Vec::new();
        for event in events {
            let stream = event.body.stream();
            let partition = partition_of(&event.aggregate_id, PARTITIONS);
            let seq = self.seqs.entry((stream, partition)).or_default();
            *seq += 1;
            let range = ranges
                .entry((stream.context(), partition, stream))
                .or_insert((*seq, *seq));
            range.1 = *seq;
            let headers = headers(command, event.body.type_name(), Some(*seq));
            let value = self.codec.encode_event(event);
            let key = event.aggregate_id.as_bytes();
            records.push(record(stream.topic(), partition, key, value, headers));
        }
        let place = ranges.keys().next().map(|(context, at, _)| (*context, *at));
        records.extend(self.messages(place, command, messages));
        if let Some((context, partition)) = place {
            let ranges = ranges.iter();
            let ranges = ranges.map(|((_, _, stream), (first, last))| SeqRange {
                topic: stream.topic().to_owned(),
                first: *first,
                last: *last,
            });
            let journal = self.journal(context, partition, command, ranges.collect(), Vec::new());
            records.push(journal);
        }
        records
    }

    /// One transaction of a shard: messages alone.
    pub fn send(
        &mut self,
        (context, partition): (Context, u32),
        command: &str,
        messages: &[(u32, Message)],
    ) {
        let mut records = self.messages(Some((context, partition)), command, messages);
        records.push(self.journal(context, partition, command, Vec::new(), Vec::new()));
        self.write(records);
    }

    /// The messages of the next transaction of the shard at `place`, or those of a caller.
    fn messages(
        &self,
        place: Option<(Context, u32)>,
        command: &str,
        messages: &[(u32, Message)],
    ) -> Vec<NewRecord> {
        let sender = |number| {
            let (context, partition) = place?;
            let before = self.transactions.get(&(context, partition));
            Some(MessageId {
                context,
                partition,
                transaction: before.copied().unwrap_or_default() + 1,
                number,
            })
        };
        let message = |(number, (to, message)): (u64, &(u32, Message))| {
            let target = message.target();
            let id = sender(number).map(|id| (header::CE_ID, id.to_string().into_bytes()));
            let mut headers = headers(command, "message", None);
            headers.extend(id);
            let (key, value) = (message.key(), self.codec.encode_message(target, message));
            record(target.inbox_topic(), *to, key.as_bytes(), value, headers)
        };
        (1..).zip(messages).map(message).collect()
    }

    /// The next transactions of a shard say that its inbox is applied up to here.
    pub fn apply_inbox(&mut self, context: Context, partition: u32, position: u64) {
        self.inbox_positions.insert((context, partition), position);
        self.inbox_passed.remove(&(context, partition));
    }

    /// The next transactions of a shard say that this message has passed one that waits.
    pub fn pass_inbox(&mut self, context: Context, partition: u32, offset: u64) {
        self.inbox_passed.insert((context, partition), offset);
    }

    /// A transaction that only says that a message could not be decided.
    pub fn give_up(&mut self, context: Context, partition: u32, offset: u64) {
        let failed = FailedMessage {
            offset,
            reason: "it broke".to_owned(),
        };
        let journal = self.journal(context, partition, "none", Vec::new(), vec![failed]);
        self.write(vec![journal]);
    }

    /// A transaction that only says that a command about an order was refused.
    pub fn reject(&mut self, command: &str, order: &str, rejection: &Rejection) {
        let partition = partition_of(order, PARTITIONS);
        let nothing = (Vec::new(), Vec::new());
        let (context, outcome) = (Context::Checkout, json!({ "rejected": rejection }));
        let journal = self.journal_of(context, partition, command, nothing, outcome);
        self.write(vec![journal]);
    }

    pub fn raw(&mut self, stream: Stream, key: &str, value: Option<Vec<u8>>) {
        let partition = partition_of(key, PARTITIONS);
        let seq = self.seqs.entry((stream, partition)).or_default();
        *seq += 1;
        let headers = headers("raw", "?", Some(*seq));
        self.write(vec![NewRecord {
            topic: stream.topic().into(),
            partition,
            key: key.as_bytes().to_vec(),
            value,
            headers,
        }]);
    }

    fn journal(
        &mut self,
        context: Context,
        partition: u32,
        command: &str,
        ranges: Vec<SeqRange>,
        failed: Vec<FailedMessage>,
    ) -> NewRecord {
        self.journal_of(context, partition, command, (ranges, failed), json!({}))
    }

    fn journal_of(
        &mut self,
        context: Context,
        partition: u32,
        command: &str,
        (ranges, failed): (Vec<SeqRange>, Vec<FailedMessage>),
        outcome: Value,
    ) -> NewRecord {
        let number = self.transactions.entry((context, partition)).or_default();
        *number += 1;
        let journal = JournalRecord {
            writer_epoch: 4,
            transaction: *number,
            decided_at: Timestamp::EPOCH,
            ranges,
            inbox_position: *self
                .inbox_positions
                .entry((context, partition))
                .or_default(),
            decided: match is_timer(command) {
                true => Vec::new(),
                false => vec![DecidedCommand {
                    command_id: command.to_owned(),
                    idempotency_key: Some(format!("key of {command}")),
                    fingerprint: String::new(),
                    outcome: outcome.to_string(),
                }],
            },
            failed,
        };
        let value = self.codec.encode_journal(context, &journal);
        let passed = self.inbox_passed.get(&(context, partition));
        let passed = passed.map(|offset| (INBOX_PASSED, offset.to_string().into_bytes()));
        let number = (header::SEQ, journal.transaction.to_string().into_bytes());
        let headers = [number].into_iter().chain(passed).collect();
        record(context.journal_topic(), partition, b"", value, headers)
    }

    pub fn write(&self, records: Vec<NewRecord>) {
        let mut writer = self.log.writer("test").expect("a writer");
        writer.take_over().expect("take-over");
        writer.commit(records).expect("commit");
    }
}

fn record(
    topic: &'static str,
    partition: u32,
    key: &[u8],
    value: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
) -> NewRecord {
    NewRecord {
        topic: topic.into(),
        partition,
        key: key.to_vec(),
        value: Some(value),
        headers,
    }
}

/// Nobody asked for what a timer does.
fn is_timer(command: &str) -> bool {
    command.starts_with(TIMER)
}

fn headers(command: &str, kind: &str, seq: Option<u64>) -> Vec<(&'static str, Vec<u8>)> {
    let correlation = match is_timer(command) {
        true => command,
        false => "request",
    };
    let mut headers = vec![
        (header::CE_TYPE, kind.as_bytes().to_vec()),
        (header::WRITER_EPOCH, b"4".to_vec()),
        (header::COMMAND_ID, command.as_bytes().to_vec()),
        (header::CORRELATION_ID, correlation.as_bytes().to_vec()),
    ];
    if let Some(seq) = seq {
        headers.push((header::SEQ, seq.to_string().into_bytes()));
    }
    headers
}

pub fn event(id: &str, version: u64, kind: &str, data: Value) -> Event {
    let json = json!({
        "aggregate_id": id, "version": version, "occurred_at": "2026-03-01T10:00:00Z",
        "type": kind, "data": data,
    });
    serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"))
}

pub fn received(sku: &str, version: u64, on_hand: i64) -> Event {
    let data = json!({"quantity": on_hand, "on_hand": on_hand, "reserved": 0});
    event(sku, version, "StockReceived", data)
}

pub fn reserved(sku: &str, version: u64, order: &str, reserved: i64) -> Event {
    let data = json!({"order_id": order, "quantity": 2, "on_hand": 9, "reserved": reserved});
    event(sku, version, "StockReserved", data)
}

pub fn released(sku: &str, version: u64, order: &str, reserved: i64) -> Event {
    let data = json!({
        "order_id": order, "quantity": 2, "on_hand": 9, "reserved": reserved,
        "reason": "cancelled",
    });
    event(sku, version, "StockReleased", data)
}

pub fn created(order: &str, sku: &str) -> Event {
    let data = json!({
        "cart_id": order, "currency": "EUR", "units": 2, "total_minor": 100,
        "payment_deadline": "2100-03-02T00:00:00Z",
        "lines": [{"line": 1, "sku": sku, "name": "Thing", "quantity": 2,
            "unit_price_minor": 50, "line_total_minor": 100}],
    });
    event(order, 1, "OrderCreated", data)
}

pub fn confirmed(order: &str) -> Event {
    let data = json!({
        "total_minor": 100, "currency": "EUR", "payment_deadline": "2100-03-02T00:00:00Z",
    });
    event(order, 2, "OrderConfirmed", data)
}

pub fn cancelled(order: &str, version: u64, due: i64) -> Event {
    let data = json!({"reason": "requested", "refund_due_minor": due});
    event(order, version, "OrderCancelled", data)
}

pub fn expired(order: &str, version: u64) -> Event {
    let data = json!({"payment_deadline": "2026-03-02T00:00:00Z", "refund_due_minor": 0});
    event(order, version, "OrderExpired", data)
}
