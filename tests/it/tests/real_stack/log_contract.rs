//! The contract suite of the event log, on Kafka.

use std::cell::Cell;
use std::sync::Arc;

use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_harness::TestStack;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

pub(crate) async fn kafka_keeps_the_contract_of_the_event_log(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let bootstrap = stack.stack.bootstrap();
    let suite = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let log = KafkaLog::new(KafkaOptions::new(&bootstrap))?;
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .create()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let made_topics = Cell::new(0);
        let make_topic = |hint: &str, partitions: u32| {
            made_topics.set(made_topics.get() + 1);
            let name = format!("contract.{hint}.{}", made_topics.get());
            let count = i32::try_from(partitions).expect("a few partitions");
            let topic = NewTopic::new(&name, count, TopicReplication::Fixed(1));
            let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
            made.expect("the broker answers")[0]
                .as_ref()
                .expect("a new topic");
            name
        };
        cartwright_event_log::contract::run_all(&log, &make_topic);
        Ok(())
    });
    suite.await?
}
