//! Configuration files of the parts, from the templates beside this crate.

use std::fs;

use crate::config::StackConfig;
use crate::error::{Result, at};
use crate::part::Part;
use crate::ports::Ports;

const KAFKA: &str = include_str!("../templates/kafka.properties");
pub(crate) const KAFKA_LOGGING: &str = include_str!("../templates/kafka-log4j2.xml");
const CASSANDRA: &str = include_str!("../templates/cassandra.yaml");
const CASSANDRA_LOGGING: &str = include_str!("../templates/cassandra-logback.xml");
const POSTGRES: &str = include_str!("../templates/postgresql.conf");

/// The database and keyspace of the read model.
pub const READ_MODEL_NAME: &str = "cartwright";

/// How long carts and unpaid orders of the local stack live, in milliseconds: 30 days.
const PATIENT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Writes every generated file into the state folder.
///
/// # Errors
/// [`crate::StackError::Io`] when a file cannot be written.
pub fn write_all(config: &StackConfig, ports: Ports) -> Result<()> {
    for (name, text) in files(config, ports) {
        let path = config.config_dir().join(name);
        at(&path, fs::write(&path, text))?;
    }
    Ok(())
}

fn files(config: &StackConfig, ports: Ports) -> Vec<(String, String)> {
    let mut files = vec![
        ("kafka.properties".to_owned(), kafka(config, ports)),
        ("kafka-log4j2.xml".to_owned(), KAFKA_LOGGING.to_owned()),
        ("cassandra.yaml".to_owned(), cassandra(config, ports)),
        (
            "cassandra-logback.xml".to_owned(),
            CASSANDRA_LOGGING.to_owned(),
        ),
        ("postgresql.conf".to_owned(), postgres(config, ports)),
    ];
    let nodes = Part::command_nodes(config.nodes).into_iter().skip(1);
    for service in Part::SERVICES.into_iter().chain(nodes) {
        files.push((
            format!("{service}.toml"),
            service_toml(config, ports, service),
        ));
    }
    files
}

fn kafka(config: &StackConfig, ports: Ports) -> String {
    let data_dir = config.data_dir(Part::Kafka).display().to_string();
    fill(
        KAFKA,
        &[
            ("kafka_port", &ports.kafka().to_string()),
            ("controller_port", &ports.kafka_controller().to_string()),
            ("data_dir", &data_dir),
        ],
    )
}

/// Answers wait until the log says that what they stand for belongs to it. Otherwise Cassandra marks that
/// ten times a second, and one that is killed loses what it has acknowledged since the last mark.
const MAPPED_LOG: &str = "commitlog_sync: batch";

/// A mapped file that can't grow because the disk is full loses what is written to it, also what has been
/// acknowledged. This one is written, and answers wait for that.
const WRITTEN_LOG: &str =
    "commitlog_sync: batch\ncommitlog_compression:\n  - class_name: LZ4Compressor";

fn cassandra(config: &StackConfig, ports: Ports) -> String {
    let commit_log = match config.short_lived {
        true => WRITTEN_LOG,
        false => MAPPED_LOG,
    };
    let data_dir = config.data_dir(Part::Cassandra).display().to_string();
    fill(
        CASSANDRA,
        &[
            ("cql_port", &ports.cassandra().to_string()),
            ("storage_port", &ports.cassandra_storage().to_string()),
            ("commit_log", commit_log),
            ("data_dir", &data_dir),
        ],
    )
}

fn postgres(config: &StackConfig, ports: Ports) -> String {
    fill(
        POSTGRES,
        &[
            ("postgres_port", &ports.postgres().to_string()),
            ("max_wal_mib", &config.max_wal_mib.to_string()),
        ],
    )
}

/// Where a service finds what it stands on, all on 127.0.0.1. It is told only what it uses.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Kafka, as `host:port`, several separated by commas.
    pub bootstrap: String,
    /// The schema registry's port.
    pub registry: u16,
    /// PostgreSQL's port.
    pub postgres: u16,
    /// The port of Cassandra's CQL.
    pub cassandra: u16,
}

impl Surroundings {
    fn of(ports: Ports) -> Self {
        Self {
            bootstrap: format!("127.0.0.1:{}", ports.kafka()),
            registry: ports.registry(),
            postgres: ports.postgres(),
            cassandra: ports.cassandra(),
        }
    }
}

/// The settings of a service that say where it listens and what it stands on.
pub fn service_settings(part: Part, listen: u16, around: &Surroundings) -> String {
    let kafka = format!("\n[kafka]\nbootstrap = \"{}\"\n", around.bootstrap);
    let registry = format!(
        "\n[registry]\nurl = \"http://127.0.0.1:{}\"\n",
        around.registry
    );
    let stores = format!(
        "\n[postgres]\nurl = \"postgres://postgres@127.0.0.1:{}/{READ_MODEL_NAME}\"\n\
         \n[cassandra]\nnodes = [\"127.0.0.1:{}\"]\nkeyspace = \"{READ_MODEL_NAME}\"\n",
        around.postgres, around.cassandra,
    );
    let body = match part {
        Part::CommandApi | Part::CommandNode(_) => format!("{kafka}{registry}"),
        Part::Projector => format!("{kafka}{registry}{stores}"),
        _ => stores,
    };
    format!("[http]\nlisten = \"127.0.0.1:{listen}\"\n{body}")
}

/// What a service is told about its surroundings; everything else has its own default.
fn service_toml(config: &StackConfig, ports: Ports, part: Part) -> String {
    let settings = service_settings(part, part.ports(ports)[0], &Surroundings::of(ports));
    let format = if config.json_logs { "json" } else { "human" };
    let command = match part {
        // An import brings prices and times of its own; only the local stack believes them. It may be
        // interrupted and taken up days later: until then nothing of it expires.
        Part::CommandApi | Part::CommandNode(_) => format!(
            "\n[command]\nallow_quoted_prices = true\nallow_occurred_at = true\n\
             \n[checkout]\ncart_idle_ms = {PATIENT_MS}\npayment_deadline_ms = {PATIENT_MS}\n"
        ),
        _ => String::new(),
    };
    format!("{settings}\n[log]\nformat = \"{format}\"\n{command}")
}

pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> StackConfig {
        StackConfig::new(7100, std::path::Path::new("/state")).unwrap()
    }

    #[test]
    fn no_blank_of_a_template_stays_open() {
        let ports = Ports::new(7100).unwrap();
        for (name, text) in files(&config(), ports) {
            assert!(
                !text.contains("{{") && !text.contains("}}"),
                "{name}:\n{text}"
            );
        }
    }

    #[test]
    fn the_ports_of_the_layout_reach_the_files() {
        let ports = Ports::new(7100).unwrap();
        let kafka = kafka(&config(), ports);
        assert!(
            kafka.contains("PLAINTEXT://127.0.0.1:7110,CONTROLLER://127.0.0.1:7111"),
            "{kafka}"
        );
        assert!(kafka.contains("log.dirs=/state/data/kafka"), "{kafka}");
        assert!(cassandra(&config(), ports).contains("native_transport_port: 7120"));
        assert!(postgres(&config(), ports).contains("port = 7130"));
    }

    #[test]
    fn a_service_is_told_only_what_it_uses() {
        let ports = Ports::new(7100).unwrap();
        let query = service_toml(&config(), ports, Part::QueryApi);
        assert!(
            query.contains("7130/cartwright") && query.contains("127.0.0.1:7120"),
            "{query}"
        );
        assert!(!query.contains("[kafka]"), "{query}");
        let command = service_toml(&config(), ports, Part::CommandApi);
        assert!(command.contains("allow_quoted_prices = true"), "{command}");
        assert!(!command.contains("[postgres]"), "{command}");
    }
}
