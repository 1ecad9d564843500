//! Processes of the stack: started apart from the terminal, recognised for certain, ended for certain.
//!
//! A pid alone proves nothing, since pids are used again. A process is ours when its start time and the boot it
//! belongs to are those we noted, or when its environment carries the mark every part is started with.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::{Result, StackError, at};
use crate::part::Part;

/// Environment variable that marks a process with the state folder it runs for.
pub const STACK_MARK: &str = "CARTWRIGHT_STACK";
/// Environment variable that marks a process with the part it is.
pub const PART_MARK: &str = "CARTWRIGHT_PART";

/// Closes what was inherited beside the three streams, and becomes the program: a lock or a pipe of whoever called
/// would be held for as long as the part runs.
const ALONE: &str = r#"for fd in /proc/self/fd/*; do
    [ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-"
done; exec "$@""#;

/// A log larger than this is put aside when its part starts, in bytes.
const LOG_ROTATE_BYTES: u64 = 16 << 20;

/// One process, told apart from any later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// The boot it belongs to.
    pub boot_id: String,
}

impl Identity {
    /// The process that has this pid now; `None` when there is none or it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        let (identity, stat) = Self::look(pid)?;
        (!stat.has_ended()).then_some(identity)
    }

    fn look(pid: u32) -> Option<(Self, ProcessStat)> {
        let stat = ProcessStat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let identity = Self {
            pid,
            start_ticks: stat.start_ticks,
            boot_id: boot_id(),
        };
        Some((identity, stat))
    }

    /// Whether nothing of it is left that could hold a port or a file. A killed process with many threads takes a
    /// while from the one to the other.
    fn is_gone(&self) -> bool {
        Self::look(self.pid).is_none_or(|(now, stat)| now != *self || stat.has_released_all())
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now == *self)
    }

    /// Whether it has taken a SIGSTOP, or is gone.
    pub fn stands_still(&self) -> bool {
        Self::look(self.pid).is_none_or(|(now, stat)| now != *self || stat.state == 'T')
    }

    /// Sends a signal, unless the process is gone.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may end between the look and the signal: that is what was wanted anyway.
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end, waits at most `limit`, then kills it. Returns whether it had to be killed.
    pub async fn stop(&self, ask: Signal, limit: Duration) -> bool {
        self.signal(ask);
        if self.gone_within(limit).await {
            return false;
        }
        self.kill().await;
        true
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.gone_within(Duration::from_secs(10)).await;
    }

    /// Waits a moment for the system to take an ended process off its list, which some containers never do.
    pub async fn reaped(&self) {
        const LIMIT: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + LIMIT;
        while Self::look(self.pid).is_some_and(|(now, _)| now == *self) && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing of it is left, at most `limit`; whether that came to be.
    pub async fn gone_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.is_gone() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// The settings it was started with: every variable of its environment that begins with `prefix`.
    pub fn settings(&self, prefix: &str) -> BTreeMap<String, String> {
        let environ = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        variables(&environ)
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Whether the program it runs was replaced on disk since (a rebuild).
    pub fn runs_replaced_program(&self) -> bool {
        fs::read_link(format!("/proc/{}/exe", self.pid))
            .is_ok_and(|exe| exe.to_string_lossy().ends_with(" (deleted)"))
    }
}

/// What `/proc/PID/stat` says that matters here.
#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    state: char,
    threads: u32,
    start_ticks: u64,
}

impl ProcessStat {
    /// Reads one line of proc(5) `stat`. The program's name may hold spaces and brackets: the fields are counted
    /// from its last closing bracket.
    fn parse(line: &str) -> Option<Self> {
        const FIRST_FIELD: usize = 3;
        const NUM_THREADS: usize = 20;
        const STARTTIME: usize = 22;
        let fields: Vec<&str> = line[line.rfind(')')? + 1..].split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            threads: fields.get(NUM_THREADS - FIRST_FIELD)?.parse().ok()?,
            start_ticks: fields.get(STARTTIME - FIRST_FIELD)?.parse().ok()?,
        })
    }

    /// It only waits to be reaped, or to let go of its last threads.
    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    fn has_released_all(&self) -> bool {
        self.has_ended() && self.threads <= 1
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// How to start one process.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Additional environment.
    pub env: Vec<(String, String)>,
    /// Its working folder.
    pub cwd: PathBuf,
}

/// Starts a part in a session of its own, its output appended to `log`, and notes it in `pid_file`.
///
/// # Errors
/// [`StackError::Io`] when the program, the log or the pid file cannot be used.
pub fn spawn(
    part: Part,
    launch: &Launch,
    state_dir: &Path,
    log: &Path,
    pid_file: &Path,
) -> Result<Identity> {
    let out = open_log(log)?;
    let err = at(log, out.try_clone())?;
    // Each replaces itself with the next, so the pid is the program's own.
    let child = tokio::process::Command::new("setsid")
        .args(["bash", "-p", "-c", ALONE, "bash"])
        .args(&launch.command)
        .envs(launch.env.iter().map(|(key, value)| (key, value)))
        .env(STACK_MARK, state_dir)
        .env(PART_MARK, part.name())
        .current_dir(&launch.cwd)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn();
    let child = at(Path::new(&launch.command[0]), child)?;
    let identity = child
        .id()
        .and_then(Identity::of)
        .ok_or_else(|| StackError::Died {
            part,
            reason: "its process ended at once".to_owned(),
            log: log.to_path_buf(),
        })?;
    write_pid_file(pid_file, &identity)?;
    Ok(identity)
}

fn open_log(log: &Path) -> Result<File> {
    if fs::metadata(log).is_ok_and(|meta| meta.len() > LOG_ROTATE_BYTES) {
        at(log, fs::rename(log, log.with_extension("log.1")))?;
    }
    at(log, OpenOptions::new().create(true).append(true).open(log))
}

fn write_pid_file(path: &Path, identity: &Identity) -> Result<()> {
    let text = serde_json::to_string(identity).unwrap_or_default();
    let fresh = path.with_extension("new");
    at(&fresh, fs::write(&fresh, text))?;
    at(path, fs::rename(&fresh, path))
}

/// The process a pid file names, alive or not. A file that cannot be read as one counts as absent.
pub fn read_pid_file(path: &Path) -> Option<Identity> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Every living process that runs for `state_dir`, whatever the pid files say, with the part it belongs to.
pub fn processes_of(state_dir: &Path) -> Vec<(Part, Identity)> {
    let own = std::process::id();
    all_pids()
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let part = marked_part(pid, state_dir).or_else(|| postgres_child(pid, state_dir))?;
            Some((part, Identity::of(pid)?))
        })
        .collect()
}

/// All process ids there are.
pub(crate) fn all_pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn marked_part(pid: u32, state_dir: &Path) -> Option<Part> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let (stack, part) = marks(&environ)?;
    (Path::new(&stack) == state_dir).then_some(())?;
    part.parse().ok()
}

/// The two marks in a process environment as `/proc/PID/environ` gives it.
pub(crate) fn marks(environ: &[u8]) -> Option<(String, String)> {
    let value_of = |wanted: &str| {
        let found = variables(environ).find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.to_owned())
    };
    Some((value_of(STACK_MARK)?, value_of(PART_MARK)?))
}

/// Names and values of an environment as `/proc/PID/environ` gives it.
fn variables(environ: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    environ
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
}

/// PostgreSQL's children write their title over their environment; they stay in the data folder.
fn postgres_child(pid: u32, state_dir: &Path) -> Option<Part> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let is_child = exe.file_name()?.to_str()?.starts_with("postgres") && cwd.starts_with(state_dir);
    is_child.then_some(Part::Postgres)
}

#[cfg(test)]
mod tests;
