//! What a run stands on: three brokers, the registry with its database, proxies, and the nodes.

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

const BROKERS: u16 = 3;
const READY_LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Ground {
    pub(crate) layout: ClusterLayout,
    pub(crate) config: StackConfig,
    pub(crate) stack: Stack,
    pub(crate) brokers: Vec<Process>,
    pub(crate) nodes: Vec<Process>,
    /// By node, then broker.
    pub(crate) proxies: Vec<Vec<Proxy>>,
    http: reqwest::Client,
}

impl Ground {
    pub(crate) fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        ensure!((1..=4).contains(&arguments.nodes), "--nodes: 1 to 4");
        let layout = ClusterLayout {
            base_port: arguments.base_port,
            brokers: BROKERS,
            clients: arguments.nodes,
        };
        let own = StackConfig::from_env()?
            .root
            .join(".cartwright")
            .join("chaos");
        let state_dir = arguments.state_dir.clone().unwrap_or(own);
        for old in ["data", "logs", "config", "history.jsonl"] {
            let old = state_dir.join(old);
            let _ = fs::remove_dir_all(&old).or_else(|_| fs::remove_file(&old));
        }
        let mut config = StackConfig::new(arguments.base_port, &state_dir)?;
        config.make_folders()?;
        Ok(Self {
            layout,
            stack: Stack::new(config.clone())?,
            config,
            brokers: Vec::new(),
            nodes: Vec::new(),
            proxies: Vec::new(),
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(3))
                .build()?,
        })
    }

    pub(crate) fn node_port(&self, node: usize) -> u16 {
        self.layout.base_port + 4 + u16::try_from(node).unwrap_or_default()
    }

    pub(crate) fn registry_url(&self) -> anyhow::Result<String> {
        let ports = Ports::new(self.layout.base_port)?;
        Ok(format!(
            "http://127.0.0.1:{}/apis/ccompat/v7",
            ports.registry()
        ))
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.config.state_dir.join("history.jsonl")
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.config
            .state_dir
            .join("logs")
            .join(format!("{name}.log"))
    }

    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        for (number, launch) in (1..).zip(prepare_brokers(&self.config, self.layout).await?) {
            let name = format!("broker-{number}");
            let mut broker = Process::new(&name, launch.command, launch.cwd, launch.log);
            broker.start()?;
            self.brokers.push(broker);
        }
        self.stack.start(Part::Postgres).await?;
        self.stack.start(Part::Registry).await?;
        for broker in 0..BROKERS {
            self.wait_for_port(self.layout.direct(broker)).await?;
        }
        self.apply_topics().await?;
        for node in 0..self.layout.clients {
            let mut proxies = Vec::new();
            for broker in 0..BROKERS {
                let from = self.layout.advertised(broker, node);
                proxies.push(Proxy::start(from, self.layout.listener(broker, node)).await?);
            }
            self.proxies.push(proxies);
            let mut process = self.node(node)?;
            process.start()?;
            self.nodes.push(process);
        }
        self.wait_until_ready().await
    }

    fn node(&self, node: u16) -> anyhow::Result<Process> {
        let name = format!("node-{}", node + 1);
        let port = self.node_port(usize::from(node));
        let settings = self.config.config_dir().join(format!("{name}.toml"));
        let registry = Ports::new(self.layout.base_port)?.registry();
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:{port}\"\n\n[kafka]\nbootstrap = \"{}\"\n\n[registry]\nurl = \
             \"http://127.0.0.1:{registry}\"\n\n[nodes]\nid = \"{name}\"\naddress = \
             \"http://127.0.0.1:{port}\"\n",
            self.layout.bootstrap_of(node)
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
        let registry = Ports::new(self.layout.base_port)?.registry();
        let began = Instant::now();
        loop {
            let output = Command::new(&program)
                .args(["apply", "--profile", "cluster", "--bootstrap"])
                .arg(self.layout.bootstrap())
                .arg("--registry")
                .arg(format!("http://127.0.0.1:{registry}"))
                .arg("--topics")
                .arg(self.config.root.join("topics/topics.yaml"))
                .arg("--schemas")
                .arg(self.config.root.join("schemas/avro"))
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

    async fn wait_for_port(&self, port: u16) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            ensure!(began.elapsed() < READY_LIMIT, "nothing listens on {port}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    pub(crate) async fn is_ready(&self, node: usize) -> bool {
        let url = format!("http://127.0.0.1:{}/readyz", self.node_port(node));
        let answer = self.http.get(url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) async fn registry_answers(&self) -> anyhow::Result<bool> {
        let url = format!("{}/subjects", self.registry_url()?);
        let answer = self.http.get(url).send().await;
        Ok(answer.is_ok_and(|answer| answer.status().is_success()))
    }

    /// Waits until every node serves.
    pub(crate) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        for node in 0..self.nodes.len() {
            while !self.is_ready(node).await {
                let process = &mut self.nodes[node];
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
            }
        }
        Ok(())
    }

    /// Ends every fault: all ways open, everything thawed and started.
    pub(crate) async fn heal(&mut self) -> anyhow::Result<()> {
        for proxy in self.proxies.iter().flatten() {
            proxy.set(Way::Open);
        }
        for process in self.brokers.iter_mut().chain(&mut self.nodes) {
            if process.runs() {
                process.thaw()?;
            } else {
                process.start().context("starting again")?;
            }
        }
        if !self.registry_answers().await? {
            self.stack.start(Part::Registry).await?;
        }
        self.wait_until_ready().await
    }

    pub(crate) async fn end(&mut self) {
        for process in self.nodes.iter_mut().chain(&mut self.brokers) {
            process.end().await;
        }
        let _ = self.stack.down().await;
    }
}
