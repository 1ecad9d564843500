//! Writes while somebody kills and restarts the broker, and checks what is in
//! the log against what was answered.
//!
//! `broker_outage BROKERS [SECONDS]`
//!
//! One writer, five records a transaction; after every error or doubt it takes
//! over until that works. At the end everything is read back: each acknowledged
//! transaction has to be there once and whole, each that was certainly not
//! committed must not show, and none may show in part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{
    CommitError, EventLog, LogError, LogReader, LogWriter, NewRecord, ReaderPurpose, Start,
    TopicPartition, read_to,
};
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};

const RECORDS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Committed,
    Doubtful,
    NotCommitted,
    Unknown,
    Fenced,
    TakeOverFirst,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let brokers = args.first().ok_or("BROKERS is needed")?;
    let seconds = args.get(1).map_or(Ok(20), |text| text.parse())?;
    let at = TopicPartition::new(create_topic(brokers)?, 0);
    let log = KafkaLog::new(KafkaOptions::new(brokers.as_str()))?;

    let answers = write(&log, &at, Duration::from_secs(seconds))?;
    let mut counts: BTreeMap<Answer, u32> = BTreeMap::new();
    for answer in &answers {
        *counts.entry(*answer).or_default() += 1;
    }
    println!("answers: {counts:?}");

    let seen = read(&log, &at)?;
    let mut wrong = 0;
    for (transaction, answer) in answers.iter().enumerate() {
        let visible = seen.get(&transaction).copied().unwrap_or(0);
        let right = match answer {
            Answer::Committed | Answer::Doubtful => visible == RECORDS,
            Answer::NotCommitted | Answer::TakeOverFirst => visible == 0,
            Answer::Unknown | Answer::Fenced => visible == 0 || visible == RECORDS,
        };
        if !right {
            wrong += 1;
            println!("transaction {transaction}: {answer:?}, but {visible} of its records show");
        } else if *answer == Answer::Unknown {
            println!("transaction {transaction}: Unknown, {visible} records show");
        }
    }
    if wrong > 0 {
        return Err(format!("{wrong} answers were wrong").into());
    }
    println!("{} transactions, every answer was right", answers.len());
    Ok(())
}

fn write(
    log: &KafkaLog,
    at: &TopicPartition,
    time: Duration,
) -> Result<Vec<Answer>, Box<dyn std::error::Error>> {
    let mut writer = log.writer(&at.topic)?;
    writer.take_over()?;
    let mut answers = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let answer = match writer.commit(transaction(at, answers.len())) {
            Ok(receipt) if receipt.doubtful => Answer::Doubtful,
            Ok(_) => Answer::Committed,
            Err(CommitError::NotCommitted { reason }) => {
                println!("not committed: {reason}");
                Answer::NotCommitted
            }
            Err(CommitError::Unknown { reason }) => {
                println!("unknown: {reason}");
                Answer::Unknown
            }
            Err(CommitError::Fenced) => Answer::Fenced,
            Err(CommitError::TakeOverFirst) => Answer::TakeOverFirst,
            Err(error) => return Err(error.into()),
        };
        answers.push(answer);
        if answer != Answer::Committed {
            let asked = Instant::now();
            while let Err(error) = writer.take_over() {
                println!("take-over: {error}");
                thread::sleep(Duration::from_millis(100));
            }
            println!("{answer:?}, then a take-over in {:?}", asked.elapsed());
        }
    }
    Ok(answers)
}

fn transaction(at: &TopicPartition, number: usize) -> Vec<NewRecord> {
    let record = NewRecord {
        topic: Arc::clone(&at.topic),
        partition: at.partition,
        key: b"key".to_vec(),
        value: Some(number.to_string().into_bytes()),
        headers: Vec::new(),
    };
    vec![record; RECORDS]
}

/// How many records of each transaction are visible.
fn read(
    log: &KafkaLog,
    at: &TopicPartition,
) -> Result<BTreeMap<usize, usize>, Box<dyn std::error::Error>> {
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    reader.assign(&[(at.clone(), Start::Beginning)])?;
    let (_, high) = reader.watermarks(at)?;
    let mut seen = BTreeMap::new();
    let end = [(at.clone(), high)];
    read_to(&mut reader, &end, Duration::from_secs(30), |record| {
        let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"")).into_owned();
        *seen.entry(text.parse().unwrap_or(usize::MAX)).or_default() += 1;
        Ok::<(), LogError>(())
    })?;
    Ok(seen)
}

fn create_topic(brokers: &str) -> Result<String, Box<dyn std::error::Error>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let name = format!("broker-outage.{}", since.as_micros());
    let admin: AdminClient<_> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    for created in block_on(admin.create_topics([&topic], &AdminOptions::new()))? {
        created.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(name)
}
