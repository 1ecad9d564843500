//! Transactions a second of one writer on a broker, closed loop.
//!
//! `txn_rate BROKERS [SECONDS] [RECORDS] [GAP_US] [WRITERS]`
//!
//! Creates a topic of its own, with a partition for each writer, and leaves it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| {
        args.get(index)
            .map_or(Ok(default), |text| text.parse::<u64>())
    };
    let brokers = args.first().ok_or("BROKERS is needed")?;
    let duration = Duration::from_secs(number(1, 5)?);
    let records = usize::try_from(number(2, 10)?)?;
    let mut options = KafkaOptions::new(brokers.as_str());
    options.transaction_gap = Duration::from_micros(number(3, 0)?);
    let writers = u32::try_from(number(4, 1)?)?;
    let topic = create_topic(brokers, writers)?;
    let log = KafkaLog::new(options)?;

    let threads: Vec<_> = (0..writers)
        .map(|partition| {
            let log = log.clone();
            let topic: Arc<str> = Arc::from(topic.as_str());
            thread::spawn(move || run(&log, &topic, partition, records, duration))
        })
        .collect();
    let mut times = Vec::new();
    let mut doubtful = 0;
    for thread in threads {
        let outcome = thread.join().map_err(|_| "a writer panicked")??;
        times.extend(outcome.0);
        doubtful += outcome.1;
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{writers} writers, {records} records: {:.0} transactions/s, p50 {:?}, p90 {:?}, p99 {:?}, max {:?}, {doubtful} doubtful",
        times.len() as f64 / duration.as_secs_f64(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
    );
    Ok(())
}

fn create_topic(brokers: &str, partitions: u32) -> Result<String, Box<dyn std::error::Error>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let name = format!("txn-rate.{}", since.as_micros());
    let admin: AdminClient<_> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    let topic = NewTopic::new(
        &name,
        i32::try_from(partitions)?,
        TopicReplication::Fixed(1),
    );
    for created in block_on(admin.create_topics([&topic], &AdminOptions::new()))? {
        created.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(name)
}

type Outcome = Result<(Vec<Duration>, u32), String>;

fn run(
    log: &KafkaLog,
    topic: &Arc<str>,
    partition: u32,
    records: usize,
    time: Duration,
) -> Outcome {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let id = format!("txn-rate-{topic}-{partition}");
    let mut writer = log.writer(&id).map_err(|error| text(&error))?;
    let started = Instant::now();
    writer.take_over().map_err(|error| text(&error))?;
    println!("take-over of {id}: {:?}", started.elapsed());
    let batch: Vec<NewRecord> = (0..records)
        .map(|index| NewRecord {
            topic: Arc::clone(topic),
            partition,
            key: format!("key-{index}").into_bytes(),
            value: Some(vec![b'x'; 250]),
            headers: vec![("ce_id", b"0123456789".to_vec())],
        })
        .collect();
    let mut times = Vec::new();
    let mut doubtful = 0;
    let started = Instant::now();
    while started.elapsed() < time {
        let begun = Instant::now();
        let receipt = writer.commit(batch.clone()).map_err(|error| text(&error))?;
        times.push(begun.elapsed());
        if receipt.doubtful {
            doubtful += 1;
            writer.take_over().map_err(|error| text(&error))?;
        }
    }
    Ok((times, doubtful))
}
