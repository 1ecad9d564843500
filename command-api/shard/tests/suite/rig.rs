//! A shard of the toy context on one thread, with its log, its clock and its callers in hand.

use std::sync::Arc;
use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::memory::{Fault, MemoryLog};
use cartwright_event_log::{
    EventLog, LogReader, LogWriter, NewRecord, ReaderPurpose, Record, Start, TopicPartition,
};
use cartwright_events::codec::Codec;
use cartwright_events::journal::JournalRecord;
use cartwright_events::messages::{Message, ReserveStock, StockQuantity, SubmitCommand};
use cartwright_events::{Context, Event, OrderId, Sku, Stream, Timestamp};
use cartwright_shard::{
    ArchiveAsk, Found, IdempotencyKey, Inputs, Lookup, ManualClock, Outcome, Ownership, Reply,
    Shard, ShardOptions, Step, Submission,
};
use tokio::sync::oneshot;

use crate::toy::{Command, Counter, Toy, add, answer};

pub(crate) const TOPICS: [&str; 4] = [
    "inventory.stock.events.v1",
    "inventory.inbox.v1",
    "inventory.journal.v1",
    SNAPSHOTS,
];

pub(crate) const SNAPSHOTS: &str = "inventory.snapshots.v1";

/// A caller that waits for its reply.
pub(crate) struct Caller(oneshot::Receiver<Reply>);

impl Caller {
    /// The reply, if it has come.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        self.0.try_recv().ok()
    }
}

pub(crate) struct Rig {
    pub(crate) log: MemoryLog,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) codec: Codec,
    pub(crate) shard: Shard<Toy, MemoryLog>,
    pub(crate) options: ShardOptions,
    commands: u64,
}

impl Rig {
    /// A shard that serves, on an empty log.
    pub(crate) fn new() -> Self {
        let mut rig = Self::idle();
        assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
        rig
    }

    /// A shard that serves with these options, on an empty log.
    pub(crate) fn with(options: impl FnOnce(&mut ShardOptions)) -> Self {
        let mut rig = Self::idle();
        options(&mut rig.options);
        assert_eq!(rig.restart(), Ok(Step::Idle));
        rig
    }

    /// A shard that has not taken over yet, on an empty log.
    pub(crate) fn idle() -> Self {
        let log = MemoryLog::new();
        for topic in TOPICS.iter().chain(&["checkout.inbox.v1"]) {
            log.create_topic(topic, 1);
        }
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(log.now_us())));
        let options = ShardOptions {
            recovery_stall_ms: 200,
            ..ShardOptions::default()
        };
        let shard = shard(&log, &clock, &options);
        Self {
            log,
            clock,
            codec: Codec::fixed(),
            shard,
            options,
            commands: 0,
        }
    }

    /// The process dies and another one starts on the same log.
    pub(crate) fn restart(&mut self) -> Result<Step, String> {
        self.shard = shard(&self.log, &self.clock, &self.options);
        self.shard.take_over()
    }

    /// A second process with a claim to the same partition.
    pub(crate) fn rival(&self) -> Shard<Toy, MemoryLog> {
        shard(&self.log, &self.clock, &self.options)
    }

    /// Another one that reads and writes with a codec of its own.
    pub(crate) fn rival_with(&self, codec: Codec) -> Shard<Toy, MemoryLog> {
        let clock = Arc::clone(&self.clock) as _;
        Shard::new(Toy, 0, self.log.clone(), codec, self.options.clone(), clock)
    }

    /// Another one that reads and writes another view of the log.
    pub(crate) fn rival_on<L: EventLog>(&self, log: L) -> Shard<Toy, L> {
        let clock = Arc::clone(&self.clock) as _;
        Shard::new(Toy, 0, log, self.codec.clone(), self.options.clone(), clock)
    }

    pub(crate) fn submission(
        &mut self,
        command: Command,
        key: Option<&str>,
    ) -> (Submission<Command>, Caller) {
        self.commands += 1;
        let (reply, receiver) = oneshot::channel();
        let idempotency = key.map(|key| IdempotencyKey {
            key: key.to_owned(),
            fingerprint: serde_json::to_string(&command).expect("a command is JSON"),
        });
        let submission = Submission {
            command,
            command_id: format!("command-{}", self.commands),
            correlation_id: format!("request-{}", self.commands),
            traceparent: None,
            expected_version: None,
            idempotency,
            deadline: Timestamp::from_micros(self.log.now_us()).plus_millis(3_600_000),
            reply,
        };
        (submission, Caller(receiver))
    }

    pub(crate) fn add(&mut self, sku: &str) -> (Submission<Command>, Caller) {
        self.submission(add(sku), None)
    }

    /// One step with these commands.
    pub(crate) fn step(&mut self, commands: Vec<Submission<Command>>) -> Step {
        self.shard.step(Inputs {
            commands,
            ..Inputs::default()
        })
    }

    /// Answers what the shard wants to know of the snapshots topic, until it wants no more.
    pub(crate) fn read_archive(&mut self) {
        loop {
            let asks = self.shard.take_asks();
            if asks.is_empty() {
                return;
            }
            self.answer(&asks);
        }
    }

    /// One step with the answers to what the shard has asked.
    pub(crate) fn answer(&mut self, asks: &[ArchiveAsk]) {
        let at = TopicPartition::new(SNAPSHOTS, 0);
        let answer = |ask: &ArchiveAsk| ask.answer(&self.log, &at, Duration::from_millis(200));
        let answers = asks.iter().map(|ask| answer(ask).expect("an answer"));
        let archive = answers.collect();
        self.shard.step(Inputs {
            archive,
            ..Inputs::default()
        });
    }

    /// Empty steps while one is due.
    pub(crate) fn settle(&mut self) {
        let now = Timestamp::from_micros(self.log.now_us());
        for _ in 0..1_000 {
            if self.shard.next_due().is_none_or(|due| due > now) {
                return;
            }
            self.step(Vec::new());
        }
        panic!("it does not come to rest");
    }

    /// One step with what the inbox holds beyond the shard's position.
    pub(crate) fn step_inbox(&mut self) -> Step {
        let position = self.shard.inbox_position().expect("serving");
        let inbox = self
            .records("inventory.inbox.v1")
            .into_iter()
            .filter(|record| record.offset >= position)
            .collect();
        self.shard.step(Inputs {
            inbox,
            ..Inputs::default()
        })
    }

    /// Decides one command alone and returns its reply.
    pub(crate) fn decide(&mut self, command: Command, key: Option<&str>) -> Option<Reply> {
        let (submission, mut caller) = self.submission(command, key);
        self.step(vec![submission]);
        caller.reply()
    }

    /// Puts a reservation into the inbox, in a transaction of its own.
    pub(crate) fn send(&self, order_id: &str, sku: &str) {
        self.send_all(order_id, &[sku]);
    }

    /// Puts a reservation of several SKUs into the inbox, in a transaction of its own.
    pub(crate) fn send_all(&self, order_id: &str, skus: &[&str]) {
        let items = skus.iter().map(|sku| StockQuantity {
            sku: Sku::new(*sku).expect("a SKU"),
            quantity: 1,
        });
        let message = Message::ReserveStock(ReserveStock {
            order_id: OrderId::new(order_id).expect("an id"),
            items: items.collect(),
        });
        self.post(order_id, &[message]);
    }

    /// Puts an answer about an order into the inbox, in a transaction of its own.
    pub(crate) fn answer_reservation(&self, order_id: &str) {
        let order_id = OrderId::new(order_id).expect("an id");
        self.post(order_id.as_str(), &[answer(&order_id, None).message]);
    }

    /// Puts commands whose callers do not wait into the inbox, in one transaction. Returns their ids.
    pub(crate) fn submit(&mut self, commands: &[(Command, Option<&str>)]) -> Vec<String> {
        let submitted = commands.iter().map(|(command, key)| {
            self.commands += 1;
            let json = serde_json::to_string(command).expect("a command is JSON");
            Message::SubmitCommand(SubmitCommand {
                context: Context::Inventory,
                aggregate_id: Toy::key(command).to_owned(),
                command_id: format!("command-{}", self.commands),
                idempotency_key: key.map(str::to_owned),
                fingerprint: key.map_or_else(String::new, |_| json.clone()),
                expected_version: None,
                command: json,
            })
        });
        let submitted: Vec<_> = submitted.collect();
        self.post("submitted", &submitted);
        let ids = submitted.into_iter().filter_map(|message| match message {
            Message::SubmitCommand(submitted) => Some(submitted.command_id),
            _ => None,
        });
        ids.collect()
    }

    /// What became of a command, as a caller learns it who asks for it now.
    pub(crate) fn look_up(&mut self, command_id: &str) -> Option<Found> {
        let (reply, mut found) = oneshot::channel();
        self.shard.step(Inputs {
            lookups: vec![Lookup {
                command_id: command_id.to_owned(),
                offset: 0,
                reply,
            }],
            ..Inputs::default()
        });
        found.try_recv().ok()
    }

    /// Puts messages into the inbox, in a transaction of their own.
    pub(crate) fn post(&self, key: &str, messages: &[Message]) {
        let mut sender = self.log.writer("sender").expect("a writer");
        sender.take_over().expect("a take-over");
        let record = |message| NewRecord {
            topic: Arc::from("inventory.inbox.v1"),
            partition: 0,
            key: key.as_bytes().to_vec(),
            value: Some(self.codec.encode_message(Context::Inventory, message)),
            headers: vec![("command_id", b"theirs".to_vec())],
        };
        let records = messages.iter().map(record).collect();
        sender.commit(records).expect("a commit");
    }

    /// Everything in a topic that a read_committed reader sees.
    pub(crate) fn records(&self, topic: &str) -> Vec<Record> {
        let at = TopicPartition::new(topic, 0);
        let mut reader = self.log.reader(ReaderPurpose::Recovery).expect("a reader");
        reader
            .assign(&[(at, Start::Beginning)])
            .expect("an assignment");
        let mut records = Vec::new();
        loop {
            let some = reader.poll(1000, Duration::ZERO).expect("a poll");
            if some.is_empty() {
                return records;
            }
            records.extend(some);
        }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.records("inventory.stock.events.v1")
            .iter()
            .map(|record| {
                let value = record.value.as_deref().expect("a value");
                self.codec
                    .decode_event(Stream::Stock, value)
                    .expect("an event")
            })
            .collect()
    }

    pub(crate) fn seqs(&self) -> Vec<u64> {
        self.records("inventory.stock.events.v1")
            .iter()
            .map(|record| number(record, "seq"))
            .collect()
    }

    pub(crate) fn journal(&self) -> Vec<JournalRecord> {
        self.records("inventory.journal.v1")
            .iter()
            .map(|record| {
                let value = record.value.as_deref().expect("a value");
                self.codec
                    .decode_journal(Context::Inventory, value)
                    .expect("a journal record")
            })
            .collect()
    }

    pub(crate) fn answers(&self) -> Vec<Message> {
        self.records("checkout.inbox.v1")
            .iter()
            .map(|record| {
                let value = record.value.as_deref().expect("a value");
                self.codec
                    .decode_message(Context::Checkout, value)
                    .expect("a message")
            })
            .collect()
    }

    /// How many records of this kind are in the snapshots topic.
    pub(crate) fn snapshots_of(&self, kind: &str) -> usize {
        let is = |record: &&Record| record.header("kind") == Some(kind.as_bytes());
        self.records(SNAPSHOTS).iter().filter(is).count()
    }

    pub(crate) fn counter(&self, sku: &str) -> Counter {
        self.shard
            .aggregates()
            .and_then(|state| state.counters.get(sku))
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn ownership(&self) -> Ownership {
        self.shard.ownership().borrow().clone()
    }

    /// A fault that must have struck.
    pub(crate) fn assert_fired(&self, fault: Fault) {
        assert!(self.log.fired(&fault) > 0, "{fault:?} has not struck");
    }
}

fn shard(
    log: &MemoryLog,
    clock: &Arc<ManualClock>,
    options: &ShardOptions,
) -> Shard<Toy, MemoryLog> {
    assert_eq!(Toy::CONTEXT, Context::Inventory);
    Shard::new(
        Toy,
        0,
        log.clone(),
        Codec::fixed(),
        options.clone(),
        Arc::clone(clock) as _,
    )
}

pub(crate) fn number(record: &Record, header: &str) -> u64 {
    let value = record.header(header).expect("the header");
    std::str::from_utf8(value)
        .expect("text")
        .parse()
        .expect("a number")
}

/// The version that an accepted command made.
pub(crate) fn version(reply: Option<Reply>) -> u64 {
    match reply {
        Some(Reply::Decided(Outcome::Accepted(answer))) => answer.version,
        other => panic!("not accepted: {other:?}"),
    }
}

/// A round after every few events, an aggregate or two in each transaction.
pub(crate) fn small_rounds(options: &mut ShardOptions) {
    options.checkpoint_tail = 4;
    options.snapshot_group_bytes = 400;
    options.snapshot_bytes_per_event = 0;
}

/// Counters leave memory as soon as they are done.
pub(crate) fn leave_at_once(options: &mut ShardOptions) {
    options.archive_after_ms = 0;
}
