//! What can keep the local stack from doing what it was asked for.

use std::path::PathBuf;

use crate::part::Part;

/// One clear line per cause; each names the part, the path or the process it is about.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A port a part wants is taken by another process.
    #[error(
        "port {port} ({part}) is in use by {owner}; stop it, or choose other ports with CARTWRIGHT_BASE_PORT"
    )]
    PortInUse {
        /// The port, on loopback.
        port: u16,
        /// The part that wanted it.
        part: Part,
        /// Who listens there, as far as /proc tells.
        owner: String,
    },
    /// The base port leaves no room for the layout, or is not a number.
    #[error(
        "CARTWRIGHT_BASE_PORT={0} is not usable: it must be a number from 1024 to {max}",
        max = crate::ports::MAX_BASE_PORT
    )]
    BasePort(String),
    /// The state folder belongs to a stack that runs on other ports.
    #[error(
        "the stack in {state_dir} runs on base port {running}, asked for was {asked}: set CARTWRIGHT_BASE_PORT={running}, \
         or stop it first with ./cartwright down",
        state_dir = state_dir.display()
    )]
    OtherBasePort {
        /// The state folder.
        state_dir: PathBuf,
        /// The base port of what runs.
        running: u16,
        /// The base port that was asked for.
        asked: u16,
    },
    /// Not enough free memory for the parts that have to be started.
    #[error(
        "too little memory: starting {parts} needs {needed_mib} MiB, {available_mib} MiB are available"
    )]
    Memory {
        /// Names of the parts to be started.
        parts: String,
        /// What they need, in MiB.
        needed_mib: u64,
        /// What there is, in MiB.
        available_mib: u64,
    },
    /// Not enough free disk where the state or the downloads go.
    #[error("too little disk: {path} needs {needed_mib} MiB free, {available_mib} MiB are", path = path.display())]
    Disk {
        /// The folder that was looked at.
        path: PathBuf,
        /// What is needed, in MiB.
        needed_mib: u64,
        /// What there is, in MiB.
        available_mib: u64,
    },
    /// A program the stack runs is not installed or too old.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// The program.
        what: String,
        /// The command that gets it.
        remedy: String,
    },
    /// Maven could not bring the parts.
    #[error("downloading the parts failed: {reason}; the whole output: {log}", log = log.display())]
    Download {
        /// Maven's first error line.
        reason: String,
        /// Maven's output.
        log: PathBuf,
    },
    /// A part's process ended while it was starting.
    #[error("{part} ended during its start: {reason}; its log: {log}", log = log.display())]
    Died {
        /// The part.
        part: Part,
        /// The last telling line of its log.
        reason: String,
        /// Where its log is.
        log: PathBuf,
    },
    /// A part runs but did not answer in time.
    #[error(
        "{part} (pid {pid}) runs but did not answer on {address} within {waited_s} s: {reason}; its log: {log}",
        log = log.display()
    )]
    NotReady {
        /// The part.
        part: Part,
        /// Its process.
        pid: u32,
        /// Where it should answer.
        address: String,
        /// How long was waited, in seconds.
        waited_s: u64,
        /// What the last attempt said.
        reason: String,
        /// Where its log is.
        log: PathBuf,
    },
    /// A helper program (initdb, tar, the topics tool) failed.
    #[error("{what} failed: {reason}")]
    Tool {
        /// What was run and for what.
        what: String,
        /// Its last words.
        reason: String,
    },
    /// A folder or file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name that is no part of the stack.
    #[error("no part is called `{0}`; there are: {names}", names = crate::part::all_names())]
    UnknownPart(String),
}

/// Result of the local stack's operations.
pub type Result<T> = std::result::Result<T, StackError>;

/// Attaches the path to an I/O error.
pub(crate) fn at<T>(path: &std::path::Path, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|source| StackError::Io {
        path: path.to_path_buf(),
        source,
    })
}

/// Removes a file, unless it is not there.
pub(crate) fn remove(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => at(path, Err(error)),
        _ => Ok(()),
    }
}
