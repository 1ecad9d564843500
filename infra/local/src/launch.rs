//! How each part is prepared and started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::config::StackConfig;
use crate::download::Library;
use crate::error::{Result, StackError, at};
use crate::part::Part;
use crate::ports::Ports;
use crate::postgres;
use crate::preflight::{self, Java};
use crate::process::{Identity, Launch};

const KAFKA_FLAGS: &str = "-Xms512m -Xmx512m -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true";

const REGISTRY_FLAGS: &str =
    "-Xms64m -Xmx192m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=256m";

const CASSANDRA_FLAGS: &str = "-Xms192m -Xmx512m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -Xss256k \
    -XX:-UsePerfData -Djdk.attach.allowAttachSelf=true -Djava.net.preferIPv4Stack=true \
    -Dio.netty.tryReflectionSetAccessible=true -Dcassandra-foreground=yes \
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=0 -Dcassandra.load_ring_state=false \
    -Dcassandra.skip_schema_check=true";

/// What Cassandra finds when it measures how much memory a row takes beside its cells.
const ROW_OVERHEAD_BYTES: u32 = 125;

/// Packages Cassandra reaches into, as its own start script opens them.
const CASSANDRA_EXPORTS: [&str; 9] = [
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.base/jdk.internal.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
];
const CASSANDRA_OPENS: [&str; 18] = [
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.net",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "jdk.management.agent/jdk.internal.agent",
];

/// Makes what a part needs before its first start and says how to start it.
///
/// # Errors
/// What could not be made, by name.
pub async fn prepare(
    config: &StackConfig,
    ports: Ports,
    library: &Library,
    part: Part,
) -> Result<Launch> {
    match part {
        Part::Kafka => kafka(config, ports, library).await,
        Part::Cassandra => cassandra(config, ports, library),
        Part::Postgres => postgres::prepare(config, library).await,
        Part::Registry => registry(config, ports, library),
        Part::CommandApi | Part::CommandNode(_) | Part::Projector | Part::QueryApi => {
            service(config, ports, part)
        }
    }
}

async fn kafka(config: &StackConfig, ports: Ports, library: &Library) -> Result<Launch> {
    let java = preflight::find_java()?;
    let data = data_folder(config, Part::Kafka)?;
    let settings = config.config_dir().join("kafka.properties");
    let class_path = library.class_path(Part::Kafka);
    let logging = format!(
        "-Dlog4j2.configurationFile=file:{}",
        config.config_dir().join("kafka-log4j2.xml").display()
    );
    if !data.join("meta.properties").exists() {
        // What an interrupted formatting left behind would be refused.
        at(&data, fs::remove_dir_all(&data))?;
        at(&data, fs::create_dir_all(&data))?;
        let mut format = Command::new(&java.program);
        format
            .args([
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xmx128m",
                &logging,
                "-cp",
                &class_path,
            ])
            .args([
                "kafka.tools.StorageTool",
                "format",
                "--standalone",
                "-t",
                &new_cluster_id()?,
                "-c",
            ])
            .arg(&settings);
        run("formatting kafka's storage", format).await?;
    }
    let mut command = java_command(&java, library, Part::Kafka, ports);
    command.extend(words(KAFKA_FLAGS));
    command.extend([
        logging,
        "-cp".to_owned(),
        class_path,
        "kafka.Kafka".to_owned(),
    ]);
    command.push(settings.display().to_string());
    Ok(Launch {
        command,
        env: Vec::new(),
        cwd: data,
    })
}

/// Java with the archive of the part's classes, or told to write one as it ends.
fn java_command(java: &Java, library: &Library, part: Part, ports: Ports) -> Vec<String> {
    let archive = library.class_archive(part, &java.version);
    let sharing = if archive.exists() {
        format!("-XX:SharedArchiveFile={}", archive.display())
    } else {
        let fresh = library.fresh_class_archive(part, &java.version, ports.base());
        format!("-XX:ArchiveClassesAtExit={}", fresh.display())
    };
    vec![
        java.program.display().to_string(),
        "-Xshare:auto".to_owned(),
        "-Xlog:cds=off,cds+dynamic=off".to_owned(),
        sharing,
    ]
}

/// A cluster id is 16 bytes in URL-safe base64: 22 characters, of which the last carries two bits only.
pub(crate) fn new_cluster_id() -> Result<String> {
    let source = Path::new("/proc/sys/kernel/random/uuid");
    let uuid = at(source, fs::read_to_string(source))?;
    let digits: String = uuid
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(21)
        .collect();
    Ok(digits + "A")
}

fn cassandra(config: &StackConfig, ports: Ports, library: &Library) -> Result<Launch> {
    let java = preflight::find_java()?;
    let data = data_folder(config, Part::Cassandra)?;
    let file_url = |name: &str| format!("file://{}", config.config_dir().join(name).display());
    let mut command = java_command(&java, library, Part::Cassandra, ports);
    command.extend(words(CASSANDRA_FLAGS));
    if config.short_lived {
        command.push("-XX:TieredStopAtLevel=1".to_owned());
        // Of a log that met a full disk the last piece is torn, and was acknowledged to nobody.
        command.push("-Dcassandra.commitlog.ignorereplayerrors=true".to_owned());
        // Otherwise it measures this at every start, which takes seconds of a processor.
        command.push(format!(
            "-Dcassandra.memtable.row_overhead_size={ROW_OVERHEAD_BYTES}"
        ));
    }
    // Later Javas want to be told that a program may set its own security manager.
    if java.feature() >= 18 {
        command.push("-Djava.security.manager=allow".to_owned());
    }
    for package in CASSANDRA_EXPORTS {
        command.extend(["--add-exports".to_owned(), format!("{package}=ALL-UNNAMED")]);
    }
    for package in CASSANDRA_OPENS {
        command.extend(["--add-opens".to_owned(), format!("{package}=ALL-UNNAMED")]);
    }
    command.extend([
        format!("-Dcassandra.config={}", file_url("cassandra.yaml")),
        format!(
            "-Dlogback.configurationFile={}",
            file_url("cassandra-logback.xml")
        ),
        format!("-Dcassandra.storagedir={}", data.display()),
        format!("-Dcassandra.logdir={}", data.join("logs").display()),
        "-cp".to_owned(),
        library.class_path(Part::Cassandra),
        "org.apache.cassandra.service.CassandraDaemon".to_owned(),
    ]);
    let env = vec![("MALLOC_ARENA_MAX".to_owned(), "2".to_owned())];
    Ok(Launch {
        command,
        env,
        cwd: data,
    })
}

fn registry(config: &StackConfig, ports: Ports, library: &Library) -> Result<Launch> {
    let java = preflight::find_java()?;
    let mut command = java_command(&java, library, Part::Registry, ports);
    command.extend(words(REGISTRY_FLAGS));
    command.extend([
        "-Dquarkus.http.host=127.0.0.1".to_owned(),
        format!("-Dquarkus.http.port={}", ports.registry()),
        "-Dquarkus.management.host=127.0.0.1".to_owned(),
        format!("-Dquarkus.management.port={}", ports.registry_management()),
        "-Dapicurio.storage.kind=sql".to_owned(),
        "-Dapicurio.storage.sql.kind=postgresql".to_owned(),
        format!(
            "-Dapicurio.datasource.url=jdbc:postgresql://127.0.0.1:{}/{REGISTRY_DATABASE}",
            config.registry_database_port.unwrap_or(ports.postgres())
        ),
        "-Dapicurio.datasource.username=postgres".to_owned(),
        // Nothing asks for it: the database trusts loopback. The pool insists on one.
        "-Dapicurio.datasource.password=x".to_owned(),
        "-Dapicurio.datasource.jdbc.initial-size=1".to_owned(),
        "-Dapicurio.datasource.jdbc.min-size=1".to_owned(),
        "-Dapicurio.datasource.jdbc.max-size=4".to_owned(),
        "-jar".to_owned(),
        library.registry_jar()?.display().to_string(),
    ]);
    Ok(Launch {
        command,
        env: Vec::new(),
        cwd: data_folder(config, Part::Registry)?,
    })
}

/// The registry's own database.
pub const REGISTRY_DATABASE: &str = "registry";

/// The program of one of the project's own parts.
pub fn service_program(config: &StackConfig, part: Part) -> PathBuf {
    config.program(&format!("cartwright-{}", part.kind()))
}

/// Variables with this prefix override a service's configuration file.
const SETTING_PREFIX: &str = "CARTWRIGHT__";

/// Why a running service has to be started again to be what this stack would start: a rebuild, or other settings in
/// its environment. `None` when it is just that.
pub fn outdated(
    config: &StackConfig,
    ports: Ports,
    part: Part,
    running: &Identity,
) -> Option<&'static str> {
    if running.runs_replaced_program() {
        return Some("rebuilt since it started: starting it again");
    }
    let inherited = std::env::vars().filter(|(name, _)| name.starts_with(SETTING_PREFIX));
    let mut wanted: BTreeMap<String, String> = inherited.collect();
    wanted.extend(service_env(config, ports, part));
    (wanted != running.settings(SETTING_PREFIX))
        .then_some("runs with other settings: starting it again")
}

/// How long a node of several goes on taking requests after it has withdrawn its readiness.
const NODE_DRAIN_DELAY_MS: u64 = 500;

/// What a service is told by its environment: what was asked for, and which of several nodes it is.
fn service_env(config: &StackConfig, ports: Ports, part: Part) -> Vec<(String, String)> {
    let asked = config.service_env.get(&part.kind());
    let mut env = asked.cloned().unwrap_or_default();
    if config.nodes > 1
        && let Some(number) = part.node_number()
    {
        env.extend([
            (
                format!("{SETTING_PREFIX}NODES__ID"),
                format!("node-{number}"),
            ),
            (
                format!("{SETTING_PREFIX}NODES__ADDRESS"),
                part.address(ports),
            ),
            // Whoever spreads requests over the nodes looks at their readiness now and then.
            (
                format!("{SETTING_PREFIX}HTTP__DRAIN_DELAY_MS"),
                NODE_DRAIN_DELAY_MS.to_string(),
            ),
        ]);
    }
    env
}

fn service(config: &StackConfig, ports: Ports, part: Part) -> Result<Launch> {
    let program = service_program(config, part);
    if !program.exists() {
        return Err(StackError::Missing {
            what: program.display().to_string(),
            remedy: "build it with: cargo build --workspace --bins".to_owned(),
        });
    }
    let file = config.service_config_file(part);
    let command = vec![
        program.display().to_string(),
        "--config".to_owned(),
        file.display().to_string(),
    ];
    Ok(Launch {
        command,
        env: service_env(config, ports, part),
        cwd: config.state_dir.clone(),
    })
}

fn data_folder(config: &StackConfig, part: Part) -> Result<PathBuf> {
    let folder = config.data_dir(part);
    at(&folder, fs::create_dir_all(&folder))?;
    Ok(folder)
}

/// The words of a line of flags.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

/// Runs a helper program to its end.
pub(crate) async fn run(what: &str, mut command: Command) -> Result<()> {
    let failed = |reason: String| StackError::Tool {
        what: what.to_owned(),
        reason,
    };
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    Err(failed(format!("{} ({last})", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_22_characters_whose_spare_bits_are_zero() {
        let id = new_cluster_id().unwrap();
        assert_eq!(id.len(), 22);
        assert!(id.ends_with('A'));
        assert_ne!(id, new_cluster_id().unwrap());
    }
}
