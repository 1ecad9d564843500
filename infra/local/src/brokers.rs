//! The brokers of a cluster and the tools that come with them, ready to be started.

use std::fs;
use std::path::PathBuf;

use tokio::process::Command;

use crate::cluster::ClusterLayout;
use crate::config::StackConfig;
use crate::download;
use crate::error::{Result, at};
use crate::launch::{new_cluster_id, run, words};
use crate::part::Part;
use crate::preflight;
use crate::progress::Progress;
use crate::render::KAFKA_LOGGING;

/// A broker that is killed every few seconds is never old enough for the second compiler to pay.
const FLAGS: &str = "-Xms192m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true";
/// A tool is over before it has warmed up.
const TOOL_FLAGS: &str = "-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1";

/// A cluster's brokers.
#[derive(Debug, Clone)]
pub struct Brokers {
    /// Those that are there from the beginning, with formatted storage.
    pub first: Vec<BrokerLaunch>,
    /// The one that joins later: its storage is to be formatted each time.
    pub late: BrokerLaunch,
    /// For operating on them.
    pub tools: KafkaTools,
}

/// A broker, ready to be started.
#[derive(Debug, Clone)]
pub struct BrokerLaunch {
    /// What it is called.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where its data lies, and its working folder.
    pub data: PathBuf,
    /// Its log.
    pub log: PathBuf,
    settings: PathBuf,
}

/// Kafka's own tools, run with the brokers' Java and classes.
#[derive(Debug, Clone)]
pub struct KafkaTools {
    program: PathBuf,
    logging: String,
    class_path: String,
    cluster_id: String,
}

impl KafkaTools {
    /// The tool of this class, to be told what to do.
    #[must_use]
    pub fn command(&self, class: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words(TOOL_FLAGS));
        command.args([&self.logging, "-cp", &self.class_path, class]);
        command.kill_on_drop(true);
        command
    }

    /// Makes a broker's storage anew, with nothing in it.
    ///
    /// # Errors
    /// [`crate::StackError`]: what could not be made, by name.
    pub async fn format(&self, broker: &BrokerLaunch) -> Result<()> {
        if broker.data.exists() {
            at(&broker.data, fs::remove_dir_all(&broker.data))?;
        }
        at(&broker.data, fs::create_dir_all(&broker.data))?;
        let mut format = self.command("kafka.tools.StorageTool");
        format
            .args(["format", "-t", &self.cluster_id, "-c"])
            .arg(&broker.settings);
        run("formatting a broker's storage", format).await
    }
}

impl Brokers {
    /// Writes the brokers' settings, formats the storage of those that are there from the beginning, and
    /// says how to start them.
    ///
    /// # Errors
    /// [`crate::StackError`]: what could not be made, by name.
    pub async fn prepare(config: &StackConfig, layout: ClusterLayout) -> Result<Self> {
        let java = preflight::find_java()?;
        let library = download::fetch(&config.cache_dir, &Progress::Silent).await?;
        let logging = config.config_dir().join("kafka-log4j2.xml");
        at(&logging, fs::write(&logging, KAFKA_LOGGING))?;
        let tools = KafkaTools {
            program: java.program.clone(),
            logging: format!("-Dlog4j2.configurationFile=file:{}", logging.display()),
            class_path: library.class_path(Part::Kafka),
            cluster_id: new_cluster_id()?,
        };
        let archive = library.class_archive(Part::Kafka, &java.version);
        let mut java = vec![
            java.program.display().to_string(),
            "-Xshare:auto".to_owned(),
        ];
        java.push("-Xlog:cds=off,cds+dynamic=off".to_owned());
        if archive.exists() {
            java.push(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        java.extend(words(FLAGS));
        java.extend([tools.logging.clone(), "-cp".to_owned()]);
        java.extend([tools.class_path.clone(), "kafka.Kafka".to_owned()]);
        let launch = |broker: u16| {
            let name = format!("broker-{}", broker + 1);
            let data = config.state_dir.join("data").join(&name);
            let settings = config.config_dir().join(format!("{name}.properties"));
            let text = layout.properties(broker, &data.display().to_string());
            at(&settings, fs::write(&settings, text))?;
            let mut command = java.clone();
            command.push(settings.display().to_string());
            Ok(BrokerLaunch {
                command,
                data,
                log: config.state_dir.join("logs").join(format!("{name}.log")),
                settings,
                name,
            })
        };
        let first: Vec<_> = (0..layout.brokers).map(launch).collect::<Result<_>>()?;
        for broker in &first {
            tools.format(broker).await?;
        }
        Ok(Self {
            first,
            late: launch(layout.late_broker())?,
            tools,
        })
    }
}
