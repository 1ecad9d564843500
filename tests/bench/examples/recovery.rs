//! How long a take-over takes, with snapshots and without, and what a finished order costs in memory.
//!
//! Writes a history of orders through a shard of the checkout into one partition of a broker's
//! topics (of a stack made for this: it fills them), then takes the partition over. Partition 1
//! without snapshots, and partition 0 with.
//!
//! `./cartwright up --infra-only && ./cartwright topics apply && cargo run -p cartwright-bench
//! --example recovery -- EVENTS_WITHOUT EVENTS_WITH [BOOTSTRAP]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_domain::{Checkout, CheckoutCommand, CheckoutSettings, PricedProduct, Prices};
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{EventLog, Headers, LogReader, ReaderPurpose, Record, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::messages::{Message, ReservationAnswer};
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Currency, OrderId, Sku, Timestamp};
use cartwright_shard::{
    ArchiveAnswer, ArchiveAsk, IdempotencyKey, Inputs, Outcome, Reply, Shard, ShardOptions, Step,
    Submission, SystemClock,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

const PARTITIONS: u32 = 2;
const EVENTS_PER_ORDER: u64 = 8;
/// Orders decided together.
const ORDERS_PER_GROUP: u64 = 1_000;
/// One order of so many stays open.
const OPEN_EVERY: u64 = 50;
const SKU: &str = "MUG";

/// A shop of mugs.
struct OneProduct(Currency);

impl Prices for OneProduct {
    fn product(&self, sku: &Sku) -> Option<PricedProduct> {
        (sku.as_str() == SKU).then_some(PricedProduct {
            name: "Mug".to_owned(),
            price_minor: 1_250,
            currency: self.0.clone(),
            catalog_seq: 1,
            retired: false,
        })
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        || -> anyhow::Result<u64> { Ok(arguments.next().context("how many events?")?.parse()?) };
    let (without, with) = (number()?, number()?);
    let bootstrap = arguments.next().unwrap_or("127.0.0.1:7010".to_owned());
    let log = KafkaLog::new(KafkaOptions::new(bootstrap))?;
    for (partition, snapshots, events) in [(1, false, without), (0, true, with)] {
        println!("{} snapshots", if snapshots { "with" } else { "without" });
        write(&log, partition, snapshots, events)?;
        take_over(&log, partition, snapshots)?;
    }
    Ok(())
}

fn shard(
    log: &KafkaLog,
    partition: u32,
    snapshots: bool,
) -> anyhow::Result<Shard<Checkout, KafkaLog>> {
    let currency = Currency::new("GBP")?;
    let settings = CheckoutSettings {
        inventory_partitions: PARTITIONS,
        ..CheckoutSettings::default()
    };
    let mut options = ShardOptions {
        archive_after_ms: 1_000,
        ..ShardOptions::default()
    };
    if !snapshots {
        options.checkpoint_tail = usize::MAX;
        options.archive_after_ms = i64::MAX / 10_000;
        options.finished_kept = usize::MAX;
    }
    Ok(Shard::new(
        Checkout::new(settings, Arc::new(OneProduct(currency))),
        partition,
        log.clone(),
        Codec::fixed(),
        options,
        Arc::new(SystemClock),
    ))
}

fn serve(shard: &mut Shard<Checkout, KafkaLog>) -> anyhow::Result<()> {
    loop {
        match shard.take_over() {
            Ok(Step::Ended) => anyhow::bail!("{}", *shard.ownership().borrow()),
            Ok(_) => return Ok(()),
            Err(reason) => eprintln!("{reason}"),
        }
    }
}

/// Whole orders, group after group, each as far as it comes.
fn write(log: &KafkaLog, partition: u32, snapshots: bool, events: u64) -> anyhow::Result<()> {
    let mut writer = Writer {
        log,
        shard: shard(log, partition, snapshots)?,
        partition,
        commands: 0,
        inbox: 0,
    };
    serve(&mut writer.shard)?;
    writer.inbox = writer.shard.inbox_position().unwrap_or_default();
    let begun = Instant::now();
    let run = Timestamp::now().as_micros();
    let orders = events / EVENTS_PER_ORDER;
    let mut next = 0;
    let mut told = Instant::now();
    while next < orders {
        let ids: Vec<String> = (next..(next + ORDERS_PER_GROUP).min(orders))
            .map(|order| format!("{run:x}-{:016x}", order.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        writer.orders(&ids)?;
        next += ids.len() as u64;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("  {} of {orders} orders", next);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let reader = log.reader(ReaderPurpose::Recovery)?;
    let mut offsets = 0;
    for stream in Context::Checkout.streams() {
        let (_, end) = reader.watermarks(&TopicPartition::new(stream.topic(), partition))?;
        offsets += end;
    }
    println!("  wrote {orders} orders in {seconds:.0} s; {offsets} offsets of events are there");
    Ok(())
}

struct Writer<'a> {
    log: &'a KafkaLog,
    shard: Shard<Checkout, KafkaLog>,
    partition: u32,
    commands: u64,
    inbox: u64,
}

impl Writer<'_> {
    fn orders(&mut self, ids: &[String]) -> anyhow::Result<()> {
        let create = |id: &String| {
            let item = json!({"sku": SKU, "quantity": 2});
            let body = json!({"cart_id": id, "currency": "GBP", "items": [item]});
            json!({"command": "create_cart", "body": body})
        };
        let check_out = |id: &String| json!({"command": "check_out", "body": {"cart_id": id}});
        let pay = |id: &String| {
            let body = json!({
                "order_id": id, "payment_id": "p", "operation_id": "capture", "kind": "captured",
                "amount": {"amount_minor": 2500, "currency": "GBP"},
            });
            json!({"command": "pay", "body": body})
        };
        let ship =
            |id: &String| json!({"command": "ship", "body": {"order_id": id, "shipment_id": "s"}});
        self.decide(ids.iter().map(create))?;
        self.decide(ids.iter().map(check_out))?;
        self.answer(ids)?;
        let every = OPEN_EVERY as usize;
        let closed = || ids.iter().enumerate().filter(|(n, _)| n % every != 0);
        self.decide(closed().map(|(_, id)| pay(id)))?;
        self.decide(closed().map(|(_, id)| ship(id)))
    }

    fn decide(&mut self, commands: impl Iterator<Item = Value>) -> anyhow::Result<()> {
        let (mut submissions, mut replies) = (Vec::new(), Vec::new());
        for command in commands {
            self.commands += 1;
            let id = format!("bench-{}-{}", self.partition, self.commands);
            let (reply, outcome) = oneshot::channel();
            replies.push(outcome);
            submissions.push(Submission {
                command: serde_json::from_value::<CheckoutCommand>(command)?,
                command_id: id.clone(),
                correlation_id: id.clone(),
                traceparent: None,
                idempotency: Some(IdempotencyKey {
                    key: id,
                    fingerprint: String::new(),
                }),
                expected_version: None,
                deadline: Timestamp::now().plus_millis(600_000),
                reply,
            });
        }
        self.step(Inputs {
            commands: submissions,
            ..Inputs::default()
        })?;
        for mut reply in replies {
            let outcome = reply.try_recv();
            let accepted = matches!(&outcome, Ok(Reply::Decided(Outcome::Accepted(_))));
            ensure!(accepted, "a command was not accepted: {outcome:?}");
        }
        Ok(())
    }

    /// What inventory would say.
    fn answer(&mut self, ids: &[String]) -> anyhow::Result<()> {
        let mut inbox = Vec::new();
        for id in ids {
            let message = Message::ReservationAnswer(ReservationAnswer {
                order_id: OrderId::new(id.as_str())?,
                inventory_partition: partition_of(SKU, PARTITIONS),
                held: true,
                shortages: Vec::new(),
                failure: None,
            });
            inbox.push(Record {
                topic: Arc::from(Context::Checkout.inbox_topic()),
                partition: self.partition,
                offset: self.inbox,
                timestamp_us: 0,
                key: None,
                value: Some(Codec::fixed().encode_message(Context::Checkout, &message)),
                headers: Headers::default(),
            });
            self.inbox += 1;
        }
        self.step(Inputs {
            inbox,
            ..Inputs::default()
        })
    }

    fn step(&mut self, inputs: Inputs<CheckoutCommand>) -> anyhow::Result<()> {
        let mut inputs = Some(inputs);
        loop {
            match self.shard.step(inputs.take().unwrap_or_default()) {
                Step::TakeOver => serve(&mut self.shard)?,
                Step::Ended => anyhow::bail!("{}", *self.shard.ownership().borrow()),
                Step::Committed | Step::Idle => {}
            }
            let archive = answers(self.log, self.partition, &self.shard.take_asks())?;
            if archive.is_empty() && !self.shard.has_backlog() {
                return Ok(());
            }
            inputs = Some(Inputs {
                archive,
                ..Inputs::default()
            });
        }
    }
}

fn take_over(log: &KafkaLog, partition: u32, snapshots: bool) -> anyhow::Result<()> {
    let mut heir = shard(log, partition, snapshots)?;
    let before = resident_kib()?;
    let begun = Instant::now();
    serve(&mut heir)?;
    let served = begun.elapsed();
    let live = resident_kib()?;
    println!(
        "  take-over: live aggregates served after {served:.2?}, {} MiB",
        (live - before) >> 10
    );
    let asks = heir.take_asks();
    heir.step(Inputs {
        archive: answers(log, partition, &asks)?,
        ..Inputs::default()
    });
    if !asks.is_empty() {
        println!(
            "  all commands served after {:.2?}, the index of finished orders takes {} MiB more",
            begun.elapsed(),
            (resident_kib()? - live) >> 10
        );
    }
    let at = TopicPartition::new(Context::Checkout.snapshots_topic(), partition);
    let (_, end) = log.reader(ReaderPurpose::Recovery)?.watermarks(&at)?;
    println!("  {end} offsets in the snapshots topic");
    ensure!(heir.aggregates().is_some(), "it serves");
    Ok(())
}

fn answers(
    log: &KafkaLog,
    partition: u32,
    asks: &[ArchiveAsk],
) -> anyhow::Result<Vec<ArchiveAnswer>> {
    let at = TopicPartition::new(Context::Checkout.snapshots_topic(), partition);
    let answer = |ask: &ArchiveAsk| ask.answer(log, &at, Duration::from_secs(60));
    Ok(asks.iter().map(answer).collect::<Result<_, _>>()?)
}

/// Memory of this process.
fn resident_kib() -> anyhow::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("no VmRSS")?.parse()?)
}
