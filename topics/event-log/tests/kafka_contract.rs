//! Kafka keeps the contract. Runs when `CARTWRIGHT_TEST_KAFKA` names a broker
//! (`127.0.0.1:7010`); starts nothing by itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cartwright_event_log::contract;
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

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
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let name = format!("contract.{}.{number}.{hint}", self.run);
        let partitions = i32::try_from(partitions).expect("few partitions");
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let created = futures::executor::block_on(self.admin.create_topics([&topic], &options))
            .expect("to ask for a topic");
        assert!(created.iter().all(Result::is_ok), "{created:?}");
        name
    }
}

#[test]
fn kafka_keeps_the_contract() {
    let Ok(brokers) = std::env::var("CARTWRIGHT_TEST_KAFKA") else {
        eprintln!("NOT RUN: set CARTWRIGHT_TEST_KAFKA=host:port to run this against a broker");
        return;
    };
    let topics = Topics::new(&brokers);
    let log = KafkaLog::new(KafkaOptions::new(brokers)).expect("a client");
    let make_topic = |hint: &str, partitions: u32| topics.create(hint, partitions);
    match std::env::var("CARTWRIGHT_TEST_CONTRACT") {
        Ok(name) => contract::run_one(&log, &make_topic, &name),
        Err(_) => {
            let passed = contract::run_all(&log, &make_topic);
            assert_eq!(passed, contract::names::<KafkaLog>());
        }
    }
}
