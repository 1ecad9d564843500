//! What a run stands on: three brokers, the registry with its database, the nodes, and proxies before
//! every listener.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_local::{ClusterLayout, Part, Ports, Stack, StackConfig, prepare_brokers};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::Arguments;
use crate::process::Process;
use crate::proxy::{Proxy, Way};
use crate::skew;

pub(crate) const BROKERS: u16 = 3;
/// How long the parts may take to answer, on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How far above the local stack's base port the cluster's is.
const BESIDE: u16 = 200;
/// An order that is not paid by then expires: soon, so that runs see it happen.
pub(crate) const PAYMENT_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Ground {
    pub(crate) layout: ClusterLayout,
    pub(crate) config: StackConfig,
    pub(crate) stack: Stack,
    pub(crate) brokers: Vec<Process>,
    pub(crate) nodes: Vec<Process>,
    pub(crate) ways: Ways,
    /// Shifts a process's clock; `None` where it can't be made.
    pub(crate) skew: Option<PathBuf>,
    http: reqwest::Client,
}

/// The proxies.
#[derive(Default)]
pub(crate) struct Ways {
    /// By node, then broker.
    pub(crate) to_broker: Vec<Vec<Proxy>>,
    /// By broker, to it from all other brokers: the broker, and its controller.
    pub(crate) between_brokers: Vec<[Proxy; 2]>,
    /// By node, to it from all other nodes.
    pub(crate) between_nodes: Vec<Proxy>,
}

impl Ways {
    async fn build(layout: ClusterLayout) -> anyhow::Result<Self> {
        let mut ways = Self::default();
        for broker in 0..layout.brokers {
            let (from, to) = (
                layout.broker_advertised(broker),
                layout.broker_listener(broker),
            );
            let data = Proxy::start(from, to).await?;
            let (from, to) = (
                layout.controller_advertised(broker),
                layout.controller_listener(broker),
            );
            let control = Proxy::start(from, to).await?;
            ways.between_brokers.push([data, control]);
        }
        for node in 0..layout.clients {
            let mut to_broker = Vec::new();
            for broker in 0..layout.brokers {
                let from = layout.advertised(broker, node);
                to_broker.push(Proxy::start(from, layout.listener(broker, node)).await?);
            }
            ways.to_broker.push(to_broker);
            let (from, to) = (layout.node_advertised(node), layout.node_listener(node));
            ways.between_nodes.push(Proxy::start(from, to).await?);
        }
        Ok(ways)
    }

    fn open(&self) {
        let all = self.to_broker.iter().flatten();
        let all = all.chain(self.between_brokers.iter().flatten());
        for proxy in all.chain(&self.between_nodes) {
            proxy.set(Way::Open);
        }
    }
}

impl Ground {
    /// Makes the folders, and stops what an earlier run that was killed left behind.
    pub(crate) async fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        ensure!((1..=4).contains(&arguments.nodes), "--nodes: 1 to 4");
        let beside = StackConfig::from_env()?;
        let base_port = arguments
            .base_port
            .unwrap_or(beside.base_port.saturating_add(BESIDE));
        let layout = ClusterLayout {
            base_port,
            brokers: BROKERS,
            clients: arguments.nodes,
        };
        let own = beside.state_dir.join("chaos");
        let state_dir = arguments.state_dir.clone().unwrap_or(own);
        let mut config = StackConfig::new(base_port, &state_dir)?;
        config.make_folders()?;
        let stack = Stack::new(config.clone())?;
        stack.down().await?;
        for old in ["data", "logs", "config", "history.jsonl"] {
            let old = config.state_dir.join(old);
            let _ = fs::remove_dir_all(&old).or_else(|_| fs::remove_file(&old));
        }
        config.make_folders()?;
        let skew = skew::library(&config.config_dir()).await;
        Ok(Self {
            layout,
            stack,
            skew,
            config,
            brokers: Vec::new(),
            nodes: Vec::new(),
            ways: Ways::default(),
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(3))
                .build()?,
        })
    }

    /// Where clients reach a node.
    pub(crate) fn node_url(&self, node: usize) -> String {
        let node = u16::try_from(node).unwrap_or_default();
        format!("http://127.0.0.1:{}", self.layout.node_listener(node))
    }

    fn registry(&self) -> anyhow::Result<String> {
        let ports = Ports::new(self.layout.base_port)?;
        Ok(format!("http://127.0.0.1:{}", ports.registry()))
    }

    /// The registry's Confluent-compatible API.
    pub(crate) fn registry_url(&self) -> anyhow::Result<String> {
        Ok(format!("{}/apis/ccompat/v7", self.registry()?))
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.config.state_dir.join("history.jsonl")
    }

    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        let logs = self.config.state_dir.join("logs");
        logs.join(format!("{name}.log"))
    }

    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.ways = Ways::build(self.layout)
            .await
            .context("listening for the proxies")?;
        for (number, launch) in (1..).zip(prepare_brokers(&self.config, self.layout).await?) {
            let name = format!("broker-{number}");
            let mut broker = Process::new(&name, launch.command, launch.cwd, launch.log);
            broker.start(&[])?;
            self.brokers.push(broker);
        }
        self.stack.start(Part::Postgres).await?;
        self.stack.start(Part::Registry).await?;
        self.wait_for_brokers().await?;
        self.apply_topics().await?;
        for node in 0..self.layout.clients {
            let mut process = self.node(node)?;
            process.start(&[])?;
            self.nodes.push(process);
        }
        self.wait_until_ready().await
    }

    fn node(&self, node: u16) -> anyhow::Result<Process> {
        let name = format!("node-{}", node + 1);
        let settings = self.config.config_dir().join(format!("{name}.toml"));
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:{}\"\n\n[kafka]\nbootstrap = \"{}\"\n\n[registry]\nurl = \
             \"{}\"\n\n[nodes]\nid = \"{name}\"\naddress = \"http://127.0.0.1:{}\"\n\n[checkout]\n\
             payment_deadline_ms = {}\n",
            self.layout.node_listener(node),
            self.layout.bootstrap_of(node),
            self.registry()?,
            self.layout.node_advertised(node),
            PAYMENT_DEADLINE.as_millis(),
        );
        fs::write(&settings, text)?;
        let program = self.config.program("cartwright-command-api");
        ensure!(program.exists(), "{} is not built", program.display());
        let command = vec![
            program.display().to_string(),
            "--config".to_owned(),
            settings.display().to_string(),
        ];
        let cwd = self.config.state_dir.clone();
        Ok(Process::new(&name, command, cwd, self.log_of(&name)))
    }

    async fn apply_topics(&self) -> anyhow::Result<()> {
        let program = self.config.program("cartwright-topics");
        ensure!(program.exists(), "{} is not built", program.display());
        let began = Instant::now();
        loop {
            let output = Command::new(&program)
                .args(["apply", "--profile", "cluster", "--bootstrap"])
                .arg(self.layout.bootstrap())
                .arg("--registry")
                .arg(self.registry()?)
                .arg("--topics")
                .arg(self.config.root.join("topics/topics.yaml"))
                .arg("--schemas")
                .arg(self.config.root.join("schemas/avro"))
                .kill_on_drop(true)
                .output()
                .await?;
            if output.status.success() {
                return Ok(());
            }
            // A broker that has just started may not know the others yet.
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(began.elapsed() < READY_LIMIT, "topics apply: {said}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn wait_for_brokers(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        for (broker, process) in (0..).zip(&mut self.brokers) {
            let port = self.layout.broker_listener(broker);
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                pause(process, began).await?;
            }
        }
        Ok(())
    }

    async fn is_ready(&self, node: usize) -> bool {
        let url = format!("{}/readyz", self.node_url(node));
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
        let url = format!("{}/subjects", self.registry_url()?);
        let answer = self.http.get(url).send().await;
        Ok(answer.is_ok_and(|answer| answer.status().is_success()))
    }

    /// Waits until every node takes commands.
    pub(crate) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        for node in 0..self.nodes.len() {
            while !self.is_ready(node).await {
                pause(&mut self.nodes[node], began).await?;
            }
        }
        Ok(())
    }

    /// Ends every fault: all ways open, everything thawed and started.
    pub(crate) async fn heal(&mut self) -> anyhow::Result<()> {
        self.ways.open();
        for process in self.brokers.iter_mut().chain(&mut self.nodes) {
            if process.runs() {
                process.thaw()?;
            } else {
                process.start(&[]).context("starting again")?;
            }
        }
        if !self.registry_answers().await? {
            self.stack.start(Part::Registry).await?;
        }
        self.wait_for_brokers().await?;
        self.wait_until_ready().await
    }

    /// Stops everything: nothing of it is needed any more.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        for process in self.nodes.iter_mut().chain(&mut self.brokers) {
            process.end().await;
        }
        self.stack.down().await?;
        Ok(())
    }
}

/// A little time for a process that is not ready yet, if it still can get so.
async fn pause(process: &mut Process, began: Instant) -> anyhow::Result<()> {
    ensure!(
        process.runs(),
        "{} has ended by itself; see its log",
        process.name
    );
    ensure!(
        began.elapsed() < READY_LIMIT,
        "{} is not ready after {READY_LIMIT:?}",
        process.name
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}
