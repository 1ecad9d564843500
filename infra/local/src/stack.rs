//! One stack: up, down, and what is to be seen of it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Instant;

use futures::future::join_all;

use crate::boot::{log_length, wait_until_ready};
use crate::config::StackConfig;
use crate::download::{self, Library};
use crate::error::{Result, StackError, at, remove};
use crate::launch::{self, REGISTRY_DATABASE};
use crate::part::{MAX_NODES, Part};
use crate::ports::Ports;
use crate::preflight;
use crate::process::{self, Identity};
use crate::progress::Progress;
use crate::render::{self, READ_MODEL_NAME};
use crate::{health, topics};

/// What `up` did.
#[derive(Debug, Default, Clone)]
pub struct UpReport {
    /// Parts that were started.
    pub started: Vec<Part>,
    /// Parts that ran already.
    pub found_running: Vec<Part>,
    /// Parts that had been killed, with the process that was gone; they were started again.
    pub found_killed: Vec<(Part, u32)>,
}

fn nodes_file(config: &StackConfig) -> PathBuf {
    config.state_dir.join("run").join("nodes")
}

/// How many nodes the stack was last started with.
fn noted_nodes(config: &StackConfig) -> u8 {
    let noted = fs::read_to_string(nodes_file(config)).ok();
    let noted = noted.and_then(|text| text.trim().parse().ok());
    noted.unwrap_or(1).clamp(1, MAX_NODES)
}

fn killed_line(part: Part, pid: u32) -> String {
    format!("{part} had been killed: its process {pid} is gone; starting it again")
}

/// A stack on one base port with one state folder.
#[derive(Debug)]
pub struct Stack {
    pub(crate) config: StackConfig,
    ports: Ports,
    pub(crate) progress: Progress,
}

impl Stack {
    /// Takes hold of a stack and makes its folders; starts nothing.
    ///
    /// # Errors
    /// [`StackError::BasePort`], or [`StackError::Io`] when a folder cannot be made.
    pub fn new(config: StackConfig) -> Result<Self> {
        Self::with_progress(config, Progress::Silent)
    }

    /// The same, showing what happens.
    ///
    /// # Errors
    /// As [`Stack::new`].
    pub fn with_progress(mut config: StackConfig, progress: Progress) -> Result<Self> {
        let ports = Ports::new(config.base_port)?;
        config.make_folders()?;
        if config.nodes == 0 {
            config.nodes = noted_nodes(&config);
        }
        Ok(Self {
            config,
            ports,
            progress,
        })
    }

    /// Every part of this stack, in the order in which they are shown.
    pub fn parts(&self) -> Vec<Part> {
        let further = Part::command_nodes(self.config.nodes).into_iter().skip(1);
        Part::ALL.into_iter().chain(further).collect()
    }

    pub(crate) fn services(&self) -> Vec<Part> {
        let all = self.parts().into_iter();
        all.filter(|part| part.is_service()).collect()
    }

    /// What this stack is.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// Where everything listens.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// `host:port` of Kafka.
    pub fn bootstrap(&self) -> String {
        Part::Kafka.address(self.ports)
    }

    /// URL of the schema registry; the Confluent-compatible API is below `/apis/ccompat/v7`.
    pub fn registry_url(&self) -> String {
        Part::Registry.address(self.ports)
    }

    /// URL of the read model's database.
    pub fn postgres_url(&self) -> String {
        format!(
            "postgres://postgres@{}/{READ_MODEL_NAME}",
            Part::Postgres.address(self.ports)
        )
    }

    /// `host:port` of Cassandra's CQL; the keyspace is [`READ_MODEL_NAME`].
    pub fn cassandra_node(&self) -> String {
        Part::Cassandra.address(self.ports)
    }

    /// URL of command-api.
    pub fn command_url(&self) -> String {
        Part::CommandApi.address(self.ports)
    }

    /// URL of query-api.
    pub fn query_url(&self) -> String {
        Part::QueryApi.address(self.ports)
    }

    /// Starts what does not run, and waits until everything answers. What runs already is left alone, unless its
    /// program was rebuilt since it started.
    ///
    /// # Errors
    /// The first thing that stands in the way, by name; what was started before stays up.
    pub async fn up(&self) -> Result<UpReport> {
        let _lock = self.lock().await?;
        let parts = if self.config.with_services {
            self.parts()
        } else {
            Part::INFRASTRUCTURE.to_vec()
        };
        self.keep_base_port()?;
        if self.config.with_services {
            self.stop_nodes_beyond().await?;
            let path = nodes_file(&self.config);
            at(&path, fs::write(&path, self.config.nodes.to_string()))?;
        }
        let (library, report) = self.prepare_to_start(&parts).await?;
        let starts = |part: Part| report.started.contains(&part);
        self.ensure_infrastructure(&library, &Part::INFRASTRUCTURE, &report)
            .await?;
        topics::apply(self, &self.progress).await?;
        if self.config.with_services {
            let services = self.services().into_iter();
            let services = services.map(|part| self.ensure(&library, part, starts(part)));
            join_all(services)
                .await
                .into_iter()
                .collect::<Result<Vec<()>>>()?;
        }
        Ok(report)
    }

    /// Notes the base port in the state folder, unless what runs there has another.
    fn keep_base_port(&self) -> Result<()> {
        self.check_base_port()?;
        let path = self.base_port_file();
        at(&path, fs::write(&path, self.config.base_port.to_string()))
    }

    /// Makes sure that what runs from this state folder listens where this stack looks.
    ///
    /// # Errors
    /// [`StackError::OtherBasePort`] when it was started with another base port and still runs.
    pub fn check_base_port(&self) -> Result<()> {
        let noted = fs::read_to_string(self.base_port_file()).ok();
        let noted: Option<u16> = noted.and_then(|text| text.trim().parse().ok());
        match noted {
            Some(running)
                if running != self.config.base_port
                    && Part::ALL.iter().any(|part| self.pid(*part).is_some()) =>
            {
                Err(StackError::OtherBasePort {
                    state_dir: self.config.state_dir.clone(),
                    running,
                    asked: self.config.base_port,
                })
            }
            _ => Ok(()),
        }
    }

    /// The next start is with one node again.
    pub(crate) fn forget_nodes(&self) -> Result<()> {
        remove(&nodes_file(&self.config))
    }

    fn base_port_file(&self) -> PathBuf {
        self.config.state_dir.join("run").join("base-port")
    }

    /// Finds out what has to be started, and stops services whose program was rebuilt.
    async fn survey(&self, parts: &[Part]) -> Result<UpReport> {
        let mut report = UpReport::default();
        for part in parts.iter().copied() {
            let known = process::read_pid_file(&self.config.pid_file(part));
            match known {
                Some(identity) if identity.is_alive() => {
                    let outdated = part
                        .is_service()
                        .then(|| launch::outdated(&self.config, self.ports, part, &identity))
                        .flatten();
                    if let Some(reason) = outdated {
                        self.progress.step(part.name(), reason);
                        identity.stop(part.stop_signal(), part.stop_limit()).await;
                        self.forget(part)?;
                        report.started.push(part);
                    } else {
                        report.found_running.push(part);
                    }
                }
                Some(identity) => {
                    self.progress.note(&killed_line(part, identity.pid));
                    identity.gone_within(part.stop_limit()).await;
                    report.found_killed.push((part, identity.pid));
                    report.started.push(part);
                }
                None => report.started.push(part),
            }
        }
        // Whatever still runs for a part that is to be started would hold its ports and its data.
        for (part, identity) in process::processes_of(&self.config.state_dir) {
            if report.started.contains(&part) {
                identity.stop(part.stop_signal(), part.stop_limit()).await;
            }
        }
        Ok(report)
    }

    /// Brings these parts of the infrastructure to where they answer, at once but for what one needs of
    /// another.
    async fn ensure_infrastructure(
        &self,
        library: &Library,
        parts: &[Part],
        report: &UpReport,
    ) -> Result<()> {
        let ensure = async |part: Part| {
            if !parts.contains(&part) {
                return Ok(());
            }
            let must_start = report.started.contains(&part);
            self.ensure(library, part, must_start).await
        };
        let database = async {
            ensure(Part::Postgres).await?;
            ensure(Part::Registry).await
        };
        // All are waited for: one failure must not leave another half watched.
        let (kafka, cassandra, database) =
            tokio::join!(ensure(Part::Kafka), ensure(Part::Cassandra), database);
        kafka.and(cassandra).and(database)
    }

    /// Brings one part to where it answers.
    async fn ensure(&self, library: &Library, part: Part, must_start: bool) -> Result<()> {
        let outcome = self.ensure_quietly(library, part, must_start).await;
        if outcome.is_err() {
            self.progress.failed(part.name());
        }
        outcome
    }

    async fn ensure_quietly(&self, library: &Library, part: Part, must_start: bool) -> Result<()> {
        let began = Instant::now();
        let address = part.address(self.ports);
        let known = process::read_pid_file(&self.config.pid_file(part)).filter(|_| !must_start);
        if let Some(identity) = known {
            let log_start = log_length(&self.config.log_file(part));
            match self.wait_and_make(part, &identity, log_start).await {
                Ok(()) => {
                    self.progress
                        .done(part.name(), &format!("runs already on {address}"));
                    return Ok(());
                }
                // Its end was on the way when it was looked at.
                Err(StackError::Died { .. }) => {
                    self.progress.note(&killed_line(part, identity.pid));
                    identity.gone_within(part.stop_limit()).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.progress.step(part.name(), "starting");
        let log = self.config.log_file(part);
        let log_start = log_length(&log);
        let launch = launch::prepare(&self.config, self.ports, library, part).await?;
        let pid_file = self.config.pid_file(part);
        let identity = process::spawn(part, &launch, &self.config.state_dir, &log, &pid_file)?;
        let ready = self.wait_and_make(part, &identity, log_start).await;
        if let Err(StackError::Died { .. }) = &ready {
            // It ended by itself: nobody is to be told later that it was killed.
            self.forget(part)?;
        }
        ready?;
        let seconds = began.elapsed().as_secs_f64();
        self.progress.done(
            part.name(),
            &format!("ready after {seconds:.1} s on {address}"),
        );
        Ok(())
    }

    async fn wait_and_make(&self, part: Part, identity: &Identity, log_start: u64) -> Result<()> {
        wait_until_ready(&self.config, self.ports, part, identity, log_start).await?;
        self.make_what_others_need(part).await
    }

    /// Databases and keyspace, where they are missing.
    async fn make_what_others_need(&self, part: Part) -> Result<()> {
        let outcome = match part {
            Part::Postgres => {
                let port = self.ports.postgres();
                match health::create_database(port, REGISTRY_DATABASE).await {
                    Ok(()) => health::create_database(port, READ_MODEL_NAME).await,
                    failed => failed,
                }
            }
            Part::Cassandra => {
                health::create_keyspace(&self.cassandra_node(), READ_MODEL_NAME).await
            }
            _ => Ok(()),
        };
        outcome.map_err(|reason| StackError::Tool {
            what: format!("making the database for the read model in {part}"),
            reason,
        })
    }

    /// Starts one part that does not run, and waits until it answers.
    ///
    /// # Errors
    /// As [`Stack::up`].
    pub async fn start(&self, part: Part) -> Result<()> {
        let _lock = self.lock().await?;
        let (library, report) = self.prepare_to_start(&[part]).await?;
        self.ensure(&library, part, report.started.contains(&part))
            .await
    }

    /// The same for several parts of the infrastructure at once.
    ///
    /// # Errors
    /// As [`Stack::up`].
    pub async fn start_infrastructure(&self, parts: &[Part]) -> Result<()> {
        let _lock = self.lock().await?;
        self.keep_base_port()?;
        let (library, report) = self.prepare_to_start(parts).await?;
        self.ensure_infrastructure(&library, parts, &report).await
    }

    async fn prepare_to_start(&self, parts: &[Part]) -> Result<(Library, UpReport)> {
        // Before anything is stopped that could not be started again.
        let mut missing = parts.to_vec();
        missing.retain(|part| self.pid(*part).is_none());
        preflight::check_room(&self.config, &missing)?;
        let report = self.survey(parts).await?;
        preflight::check_ports(self.ports, &report.started)?;
        render::write_all(&self.config, self.ports)?;
        let library = download::fetch(&self.config.cache_dir, &self.progress).await?;
        Ok((library, report))
    }

    /// One call changes the stack at a time; others wait.
    pub(crate) async fn lock(&self) -> Result<File> {
        download::lock(&self.config.state_dir.join("run").join("lock")).await
    }
}
