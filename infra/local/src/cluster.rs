//! A cluster of several brokers on this machine, for runs that take brokers away.
//!
//! Every broker is a controller too. Every listener advertises another address than it listens on, and
//! there is one for each client, one for the brokers among themselves and one for the controllers: a
//! proxy stands between, so that the way of one client to one broker, or of all others to a broker, can
//! be cut or slowed down by itself.

use std::fs;
use std::path::PathBuf;

use tokio::process::Command;

use crate::config::StackConfig;
use crate::download;
use crate::error::{Result, at};
use crate::launch::{new_cluster_id, run, words};
use crate::part::Part;
use crate::preflight;
use crate::progress::Progress;
use crate::render::{KAFKA_LOGGING, fill};

const BROKER: &str = include_str!("../templates/kafka-broker.properties");

/// A broker that is killed every few seconds is never old enough for the second compiler to pay.
const FLAGS: &str = "-Xms192m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true";

/// Where a cluster listens: brokers from 0, clients from 0, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterLayout {
    /// The first port; the layout takes 100 from it upwards, the stack's own among them.
    pub base_port: u16,
    /// Brokers, at most 4.
    pub brokers: u16,
    /// Clients with a listener of their own, at most 4.
    pub clients: u16,
}

/// A broker, ready to be started.
#[derive(Debug, Clone)]
pub struct BrokerLaunch {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its working folder.
    pub cwd: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

impl ClusterLayout {
    /// Where a broker listens for the other brokers and for tools.
    #[must_use]
    pub fn broker_listener(&self, broker: u16) -> u16 {
        self.base_port + 76 + broker
    }

    /// What it tells them instead.
    #[must_use]
    pub fn broker_advertised(&self, broker: u16) -> u16 {
        self.base_port + 12 + broker
    }

    /// Where a broker's controller listens for the other controllers.
    #[must_use]
    pub fn controller_listener(&self, broker: u16) -> u16 {
        self.base_port + 96 + broker
    }

    /// What it tells them instead.
    #[must_use]
    pub fn controller_advertised(&self, broker: u16) -> u16 {
        self.base_port + 16 + broker
    }

    /// Where a client that is a server too listens: HTTP of a node.
    #[must_use]
    pub fn node_listener(&self, client: u16) -> u16 {
        self.base_port + 4 + client
    }

    /// Where the other nodes are told to reach it.
    #[must_use]
    pub fn node_advertised(&self, client: u16) -> u16 {
        self.base_port + 52 + client
    }

    /// Where a broker listens for one client.
    #[must_use]
    pub fn listener(&self, broker: u16, client: u16) -> u16 {
        self.base_port + 60 + broker * 4 + client
    }

    /// What the broker tells that client instead.
    #[must_use]
    pub fn advertised(&self, broker: u16, client: u16) -> u16 {
        self.base_port + 80 + broker * 4 + client
    }

    /// The brokers as they see each other, for tools.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let seen = |broker| format!("127.0.0.1:{}", self.broker_advertised(broker));
        (0..self.brokers).map(seen).collect::<Vec<_>>().join(",")
    }

    /// The brokers as one client sees them.
    #[must_use]
    pub fn bootstrap_of(&self, client: u16) -> String {
        let seen = |broker| format!("127.0.0.1:{}", self.advertised(broker, client));
        (0..self.brokers).map(seen).collect::<Vec<_>>().join(",")
    }

    fn properties(&self, broker: u16, data_dir: &str) -> String {
        let each = |text: &dyn Fn(u16) -> String| (0..self.clients).map(text).collect::<String>();
        let voters: Vec<String> = (0..self.brokers)
            .map(|one| format!("{}@127.0.0.1:{}", one + 1, self.controller_advertised(one)))
            .collect();
        let listen = |client| {
            format!(
                ",CLIENT{client}://127.0.0.1:{}",
                self.listener(broker, client)
            )
        };
        let tell = |client| {
            format!(
                ",CLIENT{client}://127.0.0.1:{}",
                self.advertised(broker, client)
            )
        };
        fill(
            BROKER,
            &[
                ("id", &(broker + 1).to_string()),
                ("voters", &voters.join(",")),
                ("port", &self.broker_listener(broker).to_string()),
                ("address", &self.broker_advertised(broker).to_string()),
                (
                    "controller_port",
                    &self.controller_listener(broker).to_string(),
                ),
                (
                    "controller_address",
                    &self.controller_advertised(broker).to_string(),
                ),
                ("client_listeners", &each(&listen)),
                ("client_addresses", &each(&tell)),
                (
                    "client_protocols",
                    &each(&|client| format!(",CLIENT{client}:PLAINTEXT")),
                ),
                ("data_dir", data_dir),
            ],
        )
    }
}

/// Writes the brokers' settings, formats their storage where it is not, and says how to start them.
///
/// # Errors
/// [`crate::StackError`]: what could not be made, by name.
pub async fn prepare_brokers(
    config: &StackConfig,
    layout: ClusterLayout,
) -> Result<Vec<BrokerLaunch>> {
    let java = preflight::find_java()?;
    let library = download::fetch(&config.cache_dir, &Progress::Silent).await?;
    let class_path = library.class_path(Part::Kafka);
    let logging = config.config_dir().join("kafka-log4j2.xml");
    at(&logging, fs::write(&logging, KAFKA_LOGGING))?;
    let logging = format!("-Dlog4j2.configurationFile=file:{}", logging.display());
    let cluster_id = new_cluster_id()?;
    let mut launches = Vec::new();
    for broker in 0..layout.brokers {
        let name = format!("broker-{}", broker + 1);
        let data = config.state_dir.join("data").join(&name);
        at(&data, fs::create_dir_all(&data))?;
        let settings = config.config_dir().join(format!("{name}.properties"));
        let text = layout.properties(broker, &data.display().to_string());
        at(&settings, fs::write(&settings, text))?;
        let program = java.program.display().to_string();
        if !data.join("meta.properties").exists() {
            let mut format = Command::new(&program);
            format
                .args(["-XX:TieredStopAtLevel=1", "-Xmx128m", &logging, "-cp"])
                .args([&class_path, "kafka.tools.StorageTool", "format"])
                .args(["-t", &cluster_id, "-c"])
                .arg(&settings);
            run("formatting a broker's storage", format).await?;
        }
        let archive = library.class_archive(Part::Kafka, &java.version);
        let mut command = vec![program, "-Xshare:auto".to_owned()];
        command.push("-Xlog:cds=off,cds+dynamic=off".to_owned());
        if archive.exists() {
            command.push(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        command.extend(words(FLAGS));
        command.extend([logging.clone(), "-cp".to_owned(), class_path.clone()]);
        command.extend(["kafka.Kafka".to_owned(), settings.display().to_string()]);
        launches.push(BrokerLaunch {
            command,
            cwd: data,
            log: config.state_dir.join("logs").join(format!("{name}.log")),
        });
    }
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LAYOUT: ClusterLayout = ClusterLayout {
        base_port: 7600,
        brokers: 3,
        clients: 3,
    };

    #[test]
    fn no_two_listeners_share_a_port() {
        let mut ports = Vec::new();
        for broker in 0..4 {
            ports.push(LAYOUT.broker_listener(broker));
            ports.push(LAYOUT.broker_advertised(broker));
            ports.push(LAYOUT.controller_listener(broker));
            ports.push(LAYOUT.controller_advertised(broker));
            ports.push(LAYOUT.node_listener(broker));
            ports.push(LAYOUT.node_advertised(broker));
            ports.extend((0..4).map(|client| LAYOUT.listener(broker, client)));
            ports.extend((0..4).map(|client| LAYOUT.advertised(broker, client)));
        }
        let stack = crate::ports::Ports::new(LAYOUT.base_port).unwrap();
        ports.extend([
            stack.postgres(),
            stack.registry(),
            stack.registry_management(),
        ]);
        let distinct: BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len());
        assert!(ports.iter().all(|port| (7600..7700).contains(port)));
    }

    #[test]
    fn a_client_is_told_of_its_proxies() {
        let text = LAYOUT.properties(1, "/data");
        assert!(!text.contains("{{"), "{text}");
        assert!(text.contains(",CLIENT2://127.0.0.1:7666\n"), "{text}");
        assert!(text.contains(",CLIENT2://127.0.0.1:7686\n"), "{text}");
        assert!(
            text.contains(
                "controller.quorum.voters=1@127.0.0.1:7616,2@127.0.0.1:7617,3@127.0.0.1:7618"
            ),
            "{text}"
        );
    }
}
