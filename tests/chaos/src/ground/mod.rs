//! What a run stands on: three brokers and one that joins, the stores, the registry, the nodes, the
//! projectors, query-api, and proxies before every listener that one of them is told of.

mod disks;
mod late;
mod look;
mod services;
mod ways;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cartwright_local::{BrokerLaunch, Brokers, ClusterLayout, Part, Stack, StackConfig};
use tokio::process::Command;

pub(crate) use disks::{Disks, have_own_mounts};
pub(crate) use ways::Ways;

use crate::Arguments;
use crate::process::Process;
use crate::skew;
use late::Assignment;

pub(crate) const BROKERS: u16 = 3;
pub(crate) const PROJECTORS: u16 = 2;
/// The stores of the read model.
pub(crate) const STORES: [Part; 2] = [Part::Postgres, Part::Cassandra];
/// What is started and watched as in the local stack. The registry's database is PostgreSQL's.
const FROM_THE_STACK: [Part; 3] = [Part::Postgres, Part::Registry, Part::Cassandra];
/// How long the parts may take to answer, on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(240);
/// How far above the local stack's base port the cluster's is.
const BESIDE: u16 = 200;
/// An order that is not paid by then expires: soon, so that runs see it happen.
pub(crate) const PAYMENT_DEADLINE: Duration = Duration::from_secs(10);
/// PostgreSQL's log, in MiB: little, since its data lies in memory.
const MAX_WAL_MIB: u32 = 128;
/// How long nodes remember the result of a command by its key: less than a run, so that results are
/// forgotten in it; longer than clients try, and what they sent may wait for its turn.
pub(crate) const RESULTS_REMEMBERED: Duration = Duration::from_secs(100);
/// How long an order that is over stays in a node's memory after it was last touched.
pub(crate) const ORDERS_STAY: Duration = Duration::from_secs(3);

pub(crate) struct Ground {
    pub(crate) layout: ClusterLayout,
    pub(crate) config: StackConfig,
    pub(crate) stack: Arc<Stack>,
    /// How brokers are started and operated on; `None` until they are.
    kafka: Option<Brokers>,
    pub(crate) brokers: Vec<Process>,
    late_broker: Option<Process>,
    /// Where partitions were before they were moved to the broker that joined.
    moved: Option<Assignment>,
    pub(crate) nodes: Vec<Process>,
    pub(crate) projectors: Vec<Process>,
    pub(crate) query: Option<Process>,
    pub(crate) ways: Ways,
    /// The stores' own file systems; `None` where they can't be mounted.
    pub(crate) disks: Option<Disks>,
    /// Shifts a process's clock; `None` where it can't be made.
    pub(crate) skew: Option<PathBuf>,
    http: reqwest::Client,
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
            nodes: arguments.nodes,
            projectors: PROJECTORS,
        };
        let own = beside.state_dir.join("chaos");
        let state_dir = arguments.state_dir.clone().unwrap_or(own);
        let mut config = StackConfig::new(base_port, &state_dir)?;
        config.max_wal_mib = MAX_WAL_MIB;
        config.short_lived = true;
        config.registry_database_port = Some(layout.registry_database_advertised());
        config.make_folders()?;
        Stack::new(config.clone())?.down().await?;
        for old in ["data", "disks", "logs", "config", "history.jsonl"] {
            let old = config.state_dir.join(old);
            let _ = fs::remove_dir_all(&old).or_else(|_| fs::remove_file(&old));
        }
        config.make_folders()?;
        let disks = Disks::mount(&config.state_dir.join("disks"), &STORES);
        if let Some(disks) = &disks {
            config.data_dirs = disks.data_dirs();
        }
        let skew = skew::library(&config.config_dir()).await;
        Ok(Self {
            layout,
            stack: Arc::new(Stack::new(config.clone())?),
            disks,
            skew,
            config,
            kafka: None,
            brokers: Vec::new(),
            late_broker: None,
            moved: None,
            nodes: Vec::new(),
            projectors: Vec::new(),
            query: None,
            ways: Ways::build(layout)
                .await
                .context("listening for the proxies")?,
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(3))
                .build()?,
        })
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.config.state_dir.join("history.jsonl")
    }

    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        let logs = self.config.state_dir.join("logs");
        logs.join(format!("{name}.log"))
    }

    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let kafka = Brokers::prepare(&self.config, self.layout).await?;
        let process = |launch: BrokerLaunch| {
            Process::new(&launch.name, launch.command, launch.data, launch.log)
        };
        self.brokers = kafka.first.iter().cloned().map(process).collect();
        self.late_broker = Some(process(kafka.late.clone()));
        self.kafka = Some(kafka);
        for broker in &mut self.brokers {
            broker.start(&[])?;
        }
        self.stack.start_infrastructure(&FROM_THE_STACK).await?;
        self.wait_for_brokers().await?;
        self.apply_topics().await?;
        for node in 0..self.layout.nodes {
            self.nodes.push(self.node(node)?);
        }
        for projector in 0..self.layout.projectors {
            self.projectors.push(self.projector(projector)?);
        }
        self.query = Some(self.query()?);
        for process in self.services() {
            process.start(&[])?;
        }
        self.wait_until_ready().await
    }

    fn kafka(&self) -> anyhow::Result<&Brokers> {
        self.kafka.as_ref().context("the brokers are not started")
    }

    /// The project's own processes.
    fn services(&mut self) -> impl Iterator<Item = &mut Process> {
        let writing = self.nodes.iter_mut();
        writing.chain(&mut self.projectors).chain(&mut self.query)
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

    /// Ends every fault but that a store is away: all ways open, room on every disk, everything thawed and
    /// started, with the right time, and what a broker has taken over that was added given back. Returns when
    /// the brokers listen.
    ///
    /// # Errors
    /// When one of the project's own processes has ended by itself: no fault is a reason for that.
    pub(crate) async fn mend(&mut self) -> anyhow::Result<()> {
        for process in self.services() {
            let ended = process.has_ended_by_itself();
            ensure!(!ended, "{} has ended by itself; see its log", process.name);
        }
        for broker in &mut self.brokers {
            if broker.has_ended_by_itself() {
                println!("          {} has ended by itself", broker.name);
            }
        }
        self.ways.open();
        if let Some(disks) = &self.disks {
            disks.free()?;
        }
        STORES.into_iter().for_each(|store| self.stack.thaw(store));
        let writing = self.brokers.iter_mut().chain(&mut self.nodes);
        for process in writing.chain(&mut self.projectors).chain(&mut self.query) {
            if process.is_disguised() {
                process.kill().await?;
            }
            if process.runs() {
                process.thaw()?;
            } else {
                process.start(&[]).context("starting again")?;
            }
        }
        self.wait_for_brokers().await?;
        self.remove_the_broker().await
    }

    /// Starts the stores and the registry where they do not run, and waits until they answer. It holds on to
    /// nothing, so that other things can be done meanwhile.
    pub(crate) fn start_stores(
        &self,
    ) -> impl Future<Output = Result<(), cartwright_local::StackError>> + use<> {
        let stack = Arc::clone(&self.stack);
        async move { stack.start_infrastructure(&FROM_THE_STACK).await }
    }

    /// Starts stores that have ended late of what was done to them.
    async fn restart_stores(&self) -> anyhow::Result<()> {
        if STORES.into_iter().any(|store| !self.stack.runs(store)) {
            self.start_stores().await?;
        }
        Ok(())
    }

    /// Stops everything: nothing of it is needed any more.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        for process in self.services() {
            process.end().await;
        }
        for process in self.brokers.iter_mut().chain(&mut self.late_broker) {
            process.end().await;
        }
        STORES.into_iter().for_each(|store| self.stack.thaw(store));
        self.stack.down().await?;
        Ok(())
    }
}
