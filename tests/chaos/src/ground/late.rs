//! A broker that joins, takes over all partitions of another one, and gives them back.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::json;
use tokio::process::Command;

use super::Ground;
use crate::process::output_of;
use crate::wait::complete_within;

/// How long partitions may take to move, on a busy machine.
const MOVE_LIMIT: Duration = Duration::from_secs(180);
/// How long brokers may take to tell of their partitions.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// By topic and partition, the ids of the brokers that hold it, whom it is meant to be led by first.
pub(crate) type Assignment = BTreeMap<(String, u32), Vec<u16>>;

/// A partition, as the brokers tell of it.
struct Told {
    at: (String, u32),
    leader: u16,
    replicas: Vec<u16>,
}

impl Ground {
    /// Starts a broker with an empty disk and moves everything to it that the broker `replaced` holds,
    /// counted from 0. Returns when it holds that, leads some of it, and the other one nothing.
    pub(crate) async fn add_a_broker(&mut self, replaced: usize) -> anyhow::Result<()> {
        let late = self.layout.late_broker();
        self.kafka()?.tools.format(&self.kafka()?.late).await?;
        let broker = self.late_broker.as_mut().context("no broker to add")?;
        broker.start(&[])?;
        super::look::listens(broker, Instant::now(), self.layout.broker_listener(late)).await?;
        let brokers = self.brokers_client()?;
        let before: Assignment = all_partitions(&brokers)
            .await?
            .into_iter()
            .map(|told| (told.at, told.replicas))
            .collect();
        let (from, to) = (id_of(u16::try_from(replaced)?), id_of(late));
        let instead = |replicas: &Vec<u16>| -> Vec<u16> {
            let each = replicas.iter();
            each.map(|one| if *one == from { to } else { *one })
                .collect()
        };
        let after = before
            .iter()
            .map(|(at, replicas)| (at.clone(), instead(replicas)));
        let after = after.collect();
        self.moved = Some(before);
        self.move_partitions(&after, |leaders| {
            leaders.contains(&to) && !leaders.contains(&from)
        })
        .await
    }

    /// Gives back what a broker has taken over that was added, and stops it.
    pub(super) async fn remove_the_broker(&mut self) -> anyhow::Result<()> {
        let Some(before) = self.moved.take() else {
            return Ok(());
        };
        let late = id_of(self.layout.late_broker());
        self.move_partitions(&before, |leaders| !leaders.contains(&late))
            .await?;
        let broker = self.late_broker.as_mut().context("no broker to remove")?;
        broker.stop(MOVE_LIMIT).await?;
        Ok(())
    }

    /// Asks for partitions to be where `wanted` says, and waits until they are and their leaders are as
    /// they should be.
    async fn move_partitions(
        &self,
        wanted: &Assignment,
        are_led_well: impl Fn(&[u16]) -> bool,
    ) -> anyhow::Result<()> {
        let partitions: Vec<_> = wanted
            .iter()
            .map(|((topic, partition), replicas)| {
                json!({ "topic": topic, "partition": partition, "replicas": replicas })
            })
            .collect();
        let plan = self.config.config_dir().join("partitions.json");
        let text = json!({ "version": 1, "partitions": partitions }).to_string();
        fs::write(&plan, text)?;
        let mut ask = self.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand")?;
        ask.args(["--execute", "--reassignment-json-file"])
            .arg(&plan);
        let answer = output_of(ask).await.context("moving partitions")?;
        ensure!(
            answer.contains("Successfully started"),
            "moving partitions: {answer}"
        );
        let brokers = self.brokers_client()?;
        complete_within(MOVE_LIMIT, async || {
            let told = all_partitions(&brokers).await?;
            let is_elsewhere = |told: &&Told| wanted.get(&told.at) != Some(&told.replicas);
            let elsewhere = told.iter().filter(is_elsewhere).count();
            let leaders: Vec<u16> = told.iter().map(|told| told.leader).collect();
            let done = elsewhere == 0 && are_led_well(&leaders);
            Ok((!done).then(|| {
                format!("{elsewhere} partitions have not moved within {MOVE_LIMIT:?}; leaders: {leaders:?}")
            }))
        })
        .await
    }

    /// Asks brokers about partitions.
    fn brokers_client(&self) -> anyhow::Result<Arc<BaseConsumer>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.layout.bootstrap());
        Ok(Arc::new(config.create()?))
    }

    /// One of Kafka's tools, told where the brokers are.
    fn tool(&self, class: &str) -> anyhow::Result<Command> {
        let mut tool = self.kafka()?.tools.command(class);
        tool.arg("--bootstrap-server").arg(self.layout.bootstrap());
        Ok(tool)
    }
}

/// Every partition of every topic.
async fn all_partitions(brokers: &Arc<BaseConsumer>) -> anyhow::Result<Vec<Told>> {
    let client = Arc::clone(brokers);
    let asked = tokio::task::spawn_blocking(move || client.fetch_metadata(None, ANSWER_LIMIT));
    let metadata = asked.await?.context("asking for partitions")?;
    let mut told = Vec::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            let replicas = partition.replicas().iter();
            told.push(Told {
                at: (topic.name().to_owned(), u32::try_from(partition.id())?),
                // Where nobody leads now, it is -1.
                leader: u16::try_from(partition.leader()).unwrap_or_default(),
                replicas: replicas
                    .map(|id| u16::try_from(*id))
                    .collect::<Result<_, _>>()?,
            });
        }
    }
    ensure!(!told.is_empty(), "the brokers tell of no partition");
    Ok(told)
}

fn id_of(broker: u16) -> u16 {
    broker + 1
}
