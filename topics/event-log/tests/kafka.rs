//! Kafka keeps the contract, and what only Kafka can show. Runs when `CARTWRIGHT_TEST_KAFKA` names a broker
//! (`127.0.0.1:7010`); starts nothing by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cartwright_event_log::contract;
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{
    EventLog, LogError, LogReader, LogWriter, NewRecord, ReaderPurpose, Start, TopicPartition,
    read_to,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const PATIENCE: Duration = Duration::from_secs(30);

struct Topics {
    admin: AdminClient<DefaultClientContext>,
    run: u128,
    created: AtomicU32,
}

impl Topics {
    fn new(brokers: &str) -> Self {
        let run = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970")
            .as_micros();
        Self {
            admin: ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .create()
                .expect("an admin client"),
            run,
            created: AtomicU32::new(0),
        }
    }

    fn create(&self, hint: &str, partitions: u32) -> String {
        self.create_with(hint, partitions, &[])
    }

    fn create_with(&self, hint: &str, partitions: u32, config: &[(&str, &str)]) -> String {
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let name = format!("contract.{}.{number}.{hint}", self.run);
        let partitions = i32::try_from(partitions).expect("few partitions");
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let topic = config
            .iter()
            .fold(topic, |topic, (name, value)| topic.set(name, value));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let created = futures::executor::block_on(self.admin.create_topics([&topic], &options))
            .expect("to ask for a topic");
        assert!(created.iter().all(Result::is_ok), "{created:?}");
        self.await_leaders(&name);
        name
    }

    /// The controller answers before the brokers know what it has decided.
    fn await_leaders(&self, topic: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_leaders(topic) {
            assert!(Instant::now() < deadline, "{topic} has no leaders");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn has_leaders(&self, topic: &str) -> bool {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), PATIENCE);
        metadata.expect("metadata").topics().iter().all(|topic| {
            let partitions = topic.partitions();
            !partitions.is_empty() && partitions.iter().all(|found| found.leader() >= 0)
        })
    }
}

/// What production does within seconds may take longer on a busy machine, and is not what is tested.
fn patient(brokers: &str) -> KafkaOptions {
    KafkaOptions {
        transaction_timeout: PATIENCE,
        commit_timeout: PATIENCE,
        take_over_timeout: PATIENCE,
        request_timeout: PATIENCE,
        ..KafkaOptions::new(brokers)
    }
}

/// The brokers to test against, or a line that says that nothing was tested.
fn brokers() -> Option<String> {
    let brokers = std::env::var("CARTWRIGHT_TEST_KAFKA").ok();
    if brokers.is_none() {
        eprintln!("NOT RUN: set CARTWRIGHT_TEST_KAFKA=host:port to run this against a broker");
    }
    brokers
}

#[test]
fn kafka_keeps_the_contract() {
    let Some(brokers) = brokers() else {
        return;
    };
    let topics = Topics::new(&brokers);
    let log = KafkaLog::new(patient(&brokers)).expect("a client");
    let make_topic = |hint: &str, partitions: u32| topics.create(hint, partitions);
    let passed = contract::run_all(&log, &make_topic);
    assert_eq!(passed, contract::names::<KafkaLog>());
}

/// A shard reads back up to the high watermark that counts what its predecessor
/// left open, which is only safe because its take-over has ended that.
#[test]
fn an_open_transaction_counts_for_the_high_watermark_until_a_take_over_ends_it() {
    let Some(brokers) = brokers() else {
        return;
    };
    let topics = Topics::new(&brokers);
    let at = TopicPartition::new(topics.create("open", 1), 0);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("transactional.id", &*at.topic)
        .set("transaction.timeout.ms", "60000")
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("to init");
    producer.begin_transaction().expect("to begin");
    let left_open = BaseRecord::<[u8], [u8]>::to(&at.topic).payload(b"left open");
    assert!(producer.send(left_open).is_ok());
    producer.flush(PATIENCE).expect("to flush");

    let log = KafkaLog::new(patient(&brokers)).expect("a client");
    let mut reader = log.reader(ReaderPurpose::Recovery).expect("a reader");
    reader
        .assign(&[(at.clone(), Start::Beginning)])
        .expect("an assignment");
    assert_eq!(reader.watermarks(&at), Ok((0, 1)));
    assert_eq!(reader.stable_end(&at), Ok(0));
    let end = [(at.clone(), 1)];
    let nothing = |_| Ok::<(), LogError>(());
    let stalled = read_to(&mut reader, &end, Duration::from_millis(300), nothing);
    assert!(matches!(
        stalled,
        Err(LogError::Stalled { position: 0, .. })
    ));

    // Whoever looks for what holds the readers up finds whose it is.
    let open = log.open_transactions(&at).expect("an answer");
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].first_offset, 0);
    assert_eq!(open[0].transactional_id.as_deref(), Some(&*at.topic));
    assert!(open[0].open_ms.is_some_and(|ms| ms < 60_000), "{open:?}");

    let mut writer = log.writer(&at.topic).expect("a writer");
    writer.take_over().expect("a take-over");
    assert_eq!(log.open_transactions(&at), Ok(Vec::new()));
    let mut shown = 0;
    read_to(&mut reader, &end, PATIENCE, |_| {
        shown += 1;
        Ok::<(), LogError>(())
    })
    .expect("to read past the aborted record");
    assert_eq!(shown, 0);
    assert_eq!(reader.stable_end(&at), Ok(2));
}

/// The cleaner looks every 15 s what there is to do.
#[test]
fn reading_goes_on_over_what_compaction_has_taken() {
    let Some(brokers) = brokers() else {
        return;
    };
    let topics = Topics::new(&brokers);
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    let at = TopicPartition::new(topics.create_with("compacted", 1, &config), 0);
    let log = KafkaLog::new(patient(&brokers)).expect("a client");
    let mut writer = log.writer(&at.topic).expect("a writer");
    let mut write = |key: &str| {
        writer.take_over().expect("a take-over");
        let record = NewRecord {
            topic: Arc::clone(&at.topic),
            partition: 0,
            key: key.as_bytes().to_vec(),
            value: Some(b"state".to_vec()),
            headers: Vec::new(),
        };
        let receipt = writer.commit(vec![record]).expect("to commit");
        receipt.offsets[0]
    };
    let (superseded, stays) = (write("a"), write("b"));
    let deadline = Instant::now() + 4 * PATIENCE;
    loop {
        // What is written next closes the segment before, which can be cleaned then.
        write("a");
        let mut reader = log.reader(ReaderPurpose::Recovery).expect("a reader");
        let start = [(at.clone(), Start::Beginning)];
        reader.assign(&start).expect("an assignment");
        let first = reader.poll(1, PATIENCE).expect("a poll");
        if first.first().is_some_and(|first| first.offset == stays) {
            break;
        }
        assert!(Instant::now() < deadline, "nothing was compacted");
        thread::sleep(Duration::from_millis(200));
    }
    contract::reading_goes_on_over_gaps(&log, &at, superseded, stays);
}

/// Needs no broker, and least of all one that answers.
#[test]
fn calls_to_a_broker_that_is_not_there_fail_in_bounded_time() {
    let mut options = KafkaOptions::new("127.0.0.1:1");
    options.request_timeout = Duration::from_millis(300);
    let started = Instant::now();
    let log = KafkaLog::new(options).expect("a client");
    let unavailable = |error: Option<LogError>| {
        assert!(
            matches!(error, Some(LogError::Unavailable { .. })),
            "{error:?}"
        );
    };
    unavailable(log.partition_count("any").err());
    unavailable(log.writer("any").err());
    unavailable(log.group_reader("any", &["any"]).err());
    let mut reader = log.reader(ReaderPurpose::Tailing).expect("a reader");
    let at = TopicPartition::new("any", 0);
    unavailable(reader.assign(&[(at, Start::Beginning)]).err());
    drop((reader, log));
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}
