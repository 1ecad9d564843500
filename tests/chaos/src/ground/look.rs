//! What the processes say of themselves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_local::Ports;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Ground, READY_LIMIT};
use crate::process::Process;

impl Ground {
    /// Where clients reach a node.
    pub(crate) fn node_url(&self, node: usize) -> String {
        let node = u16::try_from(node).unwrap_or_default();
        format!("http://127.0.0.1:{}", self.layout.node_listener(node))
    }

    fn projector_url(&self, projector: usize) -> String {
        let projector = u16::try_from(projector).unwrap_or_default();
        let port = self.layout.projector_listener(projector);
        format!("http://127.0.0.1:{port}")
    }

    /// Where clients reach query-api.
    pub(crate) fn query_url(&self) -> anyhow::Result<String> {
        let ports = Ports::new(self.layout.base_port)?;
        Ok(format!("http://127.0.0.1:{}", ports.query_api()))
    }

    pub(super) fn registry(&self) -> anyhow::Result<String> {
        let ports = Ports::new(self.layout.base_port)?;
        Ok(format!("http://127.0.0.1:{}", ports.registry()))
    }

    /// The registry's Confluent-compatible API.
    pub(crate) fn registry_url(&self) -> anyhow::Result<String> {
        Ok(format!("{}/apis/ccompat/v7", self.registry()?))
    }

    async fn is_success(&self, url: String) -> bool {
        let answer = self.http.get(url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The time that a node tells.
    pub(crate) async fn date_of(&self, node: usize) -> Option<String> {
        let url = format!("{}/livez", self.node_url(node));
        let answer = self.http.get(url).send().await.ok()?;
        let date = answer.headers().get("date")?;
        Some(date.to_str().ok()?.to_owned())
    }

    pub(crate) async fn registry_answers(&self) -> anyhow::Result<bool> {
        Ok(self
            .is_success(format!("{}/subjects", self.registry_url()?))
            .await)
    }

    /// The partitions that a projector has, as `projection topic partition`.
    pub(crate) async fn partitions_of(&self, projector: usize) -> anyhow::Result<BTreeSet<String>> {
        let url = format!("{}/v1/projections", self.projector_url(projector));
        let told: Value = self.http.get(url).send().await?.json().await?;
        let projections = told["projections"].as_array().context("no projections")?;
        let all = projections.iter().flat_map(|projection| {
            let partitions = projection["partitions"].as_array();
            partitions.into_iter().flatten().map(|partition| {
                format!(
                    "{} {} {}",
                    projection["projection"], partition["topic"], partition["partition"]
                )
            })
        });
        Ok(all.collect())
    }

    pub(super) async fn wait_for_brokers(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        for (broker, process) in (0..).zip(&mut self.brokers) {
            listens(process, began, self.layout.broker_listener(broker)).await?;
        }
        Ok(())
    }

    /// Waits until every node takes commands and hears all others: one that can't say that it lives
    /// still answers.
    pub(crate) async fn wait_for_nodes(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        for node in 0..self.nodes.len() {
            let url = format!("{}/readyz?verbose", self.node_url(node));
            while let Some(reason) = self.unheard(&url).await {
                pause(&mut self.nodes[node], began, &reason).await?;
            }
        }
        Ok(())
    }

    /// What keeps a node from taking commands, or that it does not hear itself and all others.
    async fn unheard(&self, url: &str) -> Option<String> {
        let told = match self.told(url).await {
            Ok(told) => told,
            Err(missing) => return Some(missing),
        };
        let all = format!("{} other nodes", self.nodes.len() - 1);
        (!told.contains(&all) || told.contains("its beats do not arrive")).then_some(told)
    }

    /// How many shards a node owns, and how many there are; `None` while it does not say.
    pub(crate) async fn shards_of(&self, node: usize) -> Option<(u64, u64)> {
        let url = format!("{}/readyz?verbose", self.node_url(node));
        owned(&self.told(&url).await.ok()?)
    }

    /// Waits until every node takes commands, every projection is followed and reads are answered. A
    /// store that ends meanwhile of what was done to it is started again.
    pub(crate) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        self.wait_for_nodes().await?;
        let began = Instant::now();
        for projector in 0..self.projectors.len() {
            let url = format!("{}/readyz", self.projector_url(projector));
            while let Some(reason) = self.missing(&url).await {
                self.restart_stores().await?;
                pause(&mut self.projectors[projector], began, &reason).await?;
            }
        }
        let url = format!("{}/readyz", self.query_url()?);
        while let Some(reason) = self.missing(&url).await {
            self.restart_stores().await?;
            let query = self.query.as_mut().context("query-api")?;
            pause(query, began, &reason).await?;
        }
        Ok(())
    }

    /// What somebody says of its not being ready; `None` when it is.
    async fn missing(&self, url: &str) -> Option<String> {
        self.told(url).await.err()
    }

    /// What somebody says of its being ready.
    ///
    /// # Errors
    /// What it says of its not being ready.
    async fn told(&self, url: &str) -> Result<String, String> {
        let failed = |error| format!("{:#}", anyhow::Error::from(error));
        let answer = self.http.get(url).send().await.map_err(failed)?;
        let is_ready = answer.status().is_success();
        let told = answer.text().await.map_err(failed)?;
        if is_ready { Ok(told) } else { Err(told) }
    }
}

/// From what a node says of itself: `owner of 2 of 6 shards`.
fn owned(told: &str) -> Option<(u64, u64)> {
    let (_, rest) = told.split_once("owner of ")?;
    let (owned, rest) = rest.split_once(" of ")?;
    let (all, _) = rest.split_once(" shards")?;
    Some((owned.parse().ok()?, all.parse().ok()?))
}

/// Waits until a process listens, which it has to not long after `began`.
pub(super) async fn listens(
    process: &mut Process,
    began: Instant,
    port: u16,
) -> anyhow::Result<()> {
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        pause(process, began, "it does not listen").await?;
    }
    Ok(())
}

/// A little time for a process that is not ready yet, if it still can get so.
async fn pause(process: &mut Process, began: Instant, reason: &str) -> anyhow::Result<()> {
    ensure!(
        process.runs(),
        "{} has ended by itself; see its log",
        process.name
    );
    ensure!(
        began.elapsed() < READY_LIMIT,
        "{} is not ready after {READY_LIMIT:?}: {reason}",
        process.name
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_how_many_shards_it_owns() {
        let told = r#"{"detail":"owner of 2 of 6 shards, 2 other nodes, allocator"}"#;
        assert_eq!(owned(told), Some((2, 6)));
        assert_eq!(owned("reading who owns which shard"), None);
    }
}
