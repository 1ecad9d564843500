//! What is looked at before anything is started: ports, memory, disk, Java.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::StackConfig;
use crate::error::{Result, StackError};
use crate::part::{Part, names};
use crate::ports::Ports;
use crate::process::{all_pids, marks};

/// Free disk that the data of a stack may come to take, in MiB.
const DISK_MIB: u64 = 2048;
/// The Java versions that Kafka 4, Cassandra 5 and the registry all run on.
const JAVA_VERSIONS: std::ops::RangeInclusive<u32> = 17..=23;

/// Whether there is memory and disk for the parts to be started.
///
/// # Errors
/// The first that is short, by name.
pub fn check_room(config: &StackConfig, to_start: &[Part]) -> Result<()> {
    check_memory(to_start, available_memory_mib())?;
    check_disk(&config.state_dir)
}

/// Whether nobody listens where the parts to be started are to.
///
/// # Errors
/// The first port that is taken, with its owner.
pub fn check_ports(ports: Ports, to_start: &[Part]) -> Result<()> {
    to_start
        .iter()
        .try_for_each(|part| check_ports_of(*part, ports))
}

fn check_memory(to_start: &[Part], available_mib: Option<u64>) -> Result<()> {
    let needed_mib = to_start.iter().map(|part| part.memory_mib()).sum();
    match available_mib {
        Some(available_mib) if available_mib < needed_mib => Err(StackError::Memory {
            parts: names(to_start),
            needed_mib,
            available_mib,
        }),
        _ => Ok(()),
    }
}

/// What the machine and the control group this runs in leave over; `None` where neither tells.
fn available_memory_mib() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| meminfo_available_mib(&text));
    let group = group_available_mib(Path::new("/sys/fs/cgroup"));
    [machine, group].into_iter().flatten().min()
}

fn meminfo_available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Control groups, version 2, as seen from inside a container.
fn group_available_mib(dir: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
    };
    let (max, current) = (number("memory.max")?, number("memory.current")?);
    // File pages count as used but are given back on demand.
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let reclaimable: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok())
        .unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(reclaimable)) >> 20)
}

fn check_disk(path: &Path) -> Result<()> {
    let Ok(stat) = rustix::fs::statvfs(path) else {
        return Ok(());
    };
    let available_mib = (stat.f_bavail * stat.f_frsize) >> 20;
    if available_mib >= DISK_MIB {
        return Ok(());
    }
    Err(StackError::Disk {
        path: path.to_path_buf(),
        needed_mib: DISK_MIB,
        available_mib,
    })
}

fn check_ports_of(part: Part, ports: Ports) -> Result<()> {
    for port in part.ports(ports) {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return Err(StackError::PortInUse {
                port,
                part,
                owner: owner_of(port),
            });
        }
    }
    Ok(())
}

/// Who listens on a port, as far as /proc lets us see.
fn owner_of(port: u16) -> String {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .filter_map(|table| listening_inode(&table, port))
        .collect();
    let owner = all_pids().find(|pid| inodes.iter().any(|inode| holds_socket(*pid, inode)));
    owner.map_or_else(
        || "a process that cannot be seen from here".to_owned(),
        describe,
    )
}

/// The socket that listens on `port`, from a proc(5) table of TCP sockets.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == LISTEN;
        is_it
            .then(|| fields.get(9).map(|inode| (*inode).to_owned()))
            .flatten()
    })
}

fn holds_socket(pid: u32, inode: &str) -> bool {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == wanted))
}

fn describe(pid: u32) -> String {
    if let Some((stack, part)) = fs::read(format!("/proc/{pid}/environ"))
        .ok()
        .as_deref()
        .and_then(marks)
    {
        return format!("process {pid}, {part} of the stack in {stack}");
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let short: String = command.trim().chars().take(60).collect();
    format!("process {pid} ({short})")
}

/// A Java that all parts run on.
#[derive(Debug, Clone)]
pub struct Java {
    /// The program.
    pub program: PathBuf,
    /// Its whole version, such as `17.0.15`.
    pub version: String,
}

impl Java {
    /// The first number of the version that counts.
    pub fn feature(&self) -> u32 {
        feature_of(&self.version).unwrap_or(0)
    }
}

/// The Java to run the parts with: `CARTWRIGHT_JAVA`, `JAVA_HOME`, the path, then what is installed; the first whose
/// version all parts run on.
///
/// # Errors
/// [`StackError::Missing`] when there is none.
pub fn find_java() -> Result<Java> {
    java_candidates()
        .into_iter()
        .filter_map(|program| {
            let version = java_version(&program)?;
            Some(Java { program, version })
        })
        .find(|java| JAVA_VERSIONS.contains(&java.feature()))
        .ok_or_else(|| StackError::Missing {
            what: format!("Java {} to {}", JAVA_VERSIONS.start(), JAVA_VERSIONS.end()),
            remedy: "install it with: apt-get install -y openjdk-17-jre-headless, or name one in CARTWRIGHT_JAVA"
                .to_owned(),
        })
}

fn java_candidates() -> Vec<PathBuf> {
    let mut candidates: Vec<PathBuf> = env::var_os("CARTWRIGHT_JAVA")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    candidates.extend(env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")));
    candidates.push(PathBuf::from("java"));
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let mut installed: Vec<_> = installed
        .map(|entry| entry.path().join("bin/java"))
        .collect();
    installed.sort();
    candidates.extend(installed);
    candidates
}

fn java_version(java: &Path) -> Option<String> {
    let output = Command::new(java).arg("-version").output().ok()?;
    quoted_version(&String::from_utf8_lossy(&output.stderr))
}

/// The version from `java -version`: its first quoted word.
fn quoted_version(text: &str) -> Option<String> {
    text.split('"').nth(1).map(str::to_owned)
}

fn feature_of(version: &str) -> Option<u32> {
    version.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_of_every_style_are_read() {
        let feature = |text| quoted_version(text).as_deref().and_then(feature_of);
        assert_eq!(feature("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(feature("openjdk version \"21\" 2023"), Some(21));
        assert_eq!(feature("openjdk version \"24-ea\" 2025"), Some(24));
        assert_eq!(feature("java version \"1.8.0_301\""), Some(1));
        assert_eq!(feature("not java"), None);
    }

    #[test]
    fn too_little_memory_names_the_parts_and_both_figures() {
        let error = check_memory(&[Part::Kafka, Part::Cassandra], Some(1000))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("kafka, cassandra") && error.contains("1000") && error.contains("1750"),
            "{error}"
        );
        assert!(check_memory(&[Part::Kafka], Some(1000)).is_ok());
        assert!(check_memory(&[Part::Kafka], None).is_ok());
    }

    #[test]
    fn meminfo_gives_what_is_available() {
        let text = "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable:    2097152 kB\n";
        assert_eq!(meminfo_available_mib(text), Some(2048));
    }

    #[test]
    fn only_a_listening_socket_of_that_port_is_found() {
        let table = "  sl  local_address rem_address st tx rx tr tm retr uid timeout inode\n\
             0: 0100007F:1B58 00000000:0000 01 0:0 0:0 0 0 0 111 1\n\
             1: 0100007F:1B58 00000000:0000 0A 0:0 0:0 0 0 0 222 1\n";
        assert_eq!(listening_inode(table, 7000).as_deref(), Some("222"));
        assert_eq!(listening_inode(table, 7001), None);
    }

    #[test]
    fn a_port_in_use_is_told_with_its_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = owner_of(listener.local_addr().unwrap().port());
        assert!(owner.contains(&std::process::id().to_string()), "{owner}");
    }
}
