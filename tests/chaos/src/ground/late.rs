//! A broker that joins, takes over all partitions of another one, and gives them back.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::process::Command;

use super::Ground;
use crate::process::output_of;

/// How long partitions may take to move, on a busy machine.
const MOVE_LIMIT: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
        let before: Assignment = self
            .partitions()
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
        let began = Instant::now();
        loop {
            let told = self.partitions().await?;
            let is_elsewhere = |told: &&Told| wanted.get(&told.at) != Some(&told.replicas);
            let elsewhere = told.iter().filter(is_elsewhere).count();
            let leaders: Vec<u16> = told.iter().map(|told| told.leader).collect();
            if elsewhere == 0 && are_led_well(&leaders) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < MOVE_LIMIT,
                "{elsewhere} partitions have not moved within {MOVE_LIMIT:?}; leaders: {leaders:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Every partition of every topic.
    async fn partitions(&self) -> anyhow::Result<Vec<Told>> {
        let mut describe = self.tool("org.apache.kafka.tools.TopicCommand")?;
        describe.arg("--describe");
        let told = output_of(describe).await.context("asking for partitions")?;
        let partitions: Vec<Told> = told.lines().filter_map(Told::from_line).collect();
        ensure!(!partitions.is_empty(), "no partitions in {told}");
        Ok(partitions)
    }

    /// One of Kafka's tools, told where the brokers are.
    fn tool(&self, class: &str) -> anyhow::Result<Command> {
        let mut tool = self.kafka()?.tools.command(class);
        tool.arg("--bootstrap-server").arg(self.layout.bootstrap());
        Ok(tool)
    }
}

impl Told {
    /// From `Topic: … Partition: … Leader: … Replicas: …`, with tabs between; `None` of another line.
    fn from_line(line: &str) -> Option<Self> {
        let fields: BTreeMap<&str, &str> = line
            .split('\t')
            .filter_map(|field| field.split_once(": "))
            .collect();
        let replicas = fields.get("Replicas")?.trim().split(',');
        Some(Self {
            at: (
                fields.get("Topic")?.trim().to_owned(),
                fields.get("Partition")?.trim().parse().ok()?,
            ),
            // Of one that nobody leads now it says `none`.
            leader: fields.get("Leader")?.trim().parse().unwrap_or_default(),
            replicas: replicas.map(|id| id.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

fn id_of(broker: u16) -> u16 {
    broker + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_told_of_in_one_line() {
        let line =
            "\tTopic: a\tPartition: 3\tLeader: 2\tReplicas: 2,3,1\tIsr: 2,3\tElr: \tLastKnownElr: ";
        let told = Told::from_line(line).unwrap();
        assert_eq!((told.at, told.leader), (("a".to_owned(), 3), 2));
        assert_eq!(told.replicas, [2, 3, 1]);
        let of_the_topic =
            "Topic: a\tTopicId: x\tPartitionCount: 4\tReplicationFactor: 3\tConfigs: a=b";
        assert!(Told::from_line(of_the_topic).is_none());
    }
}
