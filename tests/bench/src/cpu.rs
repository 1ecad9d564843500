//! How long work takes, and the CPU time it uses: on a busy machine the latter says more.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// Linux counts in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// What something took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    /// CPU time of this process.
    own: Duration,
    /// CPU time of the server beside it, where one is watched.
    server: Option<Duration>,
}

impl Took {
    /// Each of the three by itself.
    pub(crate) fn median(of: &[Took]) -> Took {
        let median = |part: &dyn Fn(&Took) -> Duration| {
            let mut parts: Vec<Duration> = of.iter().map(part).collect();
            parts.sort();
            parts.get(parts.len() / 2).copied().unwrap_or_default()
        };
        let watched = of.iter().any(|took| took.server.is_some());
        Took {
            wall: median(&|took| took.wall),
            own: median(&|took| took.own),
            server: watched.then(|| median(&|took| took.server.unwrap_or_default())),
        }
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, own) = (self.wall.as_secs_f64(), self.own.as_secs_f64());
        write!(f, "{wall:.2} s, CPU {own:.2}")?;
        match self.server {
            Some(server) => write!(f, " + {:.2}", server.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// A server and this process, each on cores of its own until this is dropped. What a server can do is told by
/// one that nobody takes the CPU from.
pub(crate) struct Apart {
    server: String,
    cores: usize,
}

impl Apart {
    /// The server that has a child of this number on the first half of this machine's cores, this process on
    /// the others.
    ///
    /// # Errors
    /// Where there is no such child or a single core, or `taskset` says no.
    pub(crate) fn from(backend: i32) -> anyhow::Result<Self> {
        let server = stat(&backend.to_string()).as_deref().and_then(parent);
        let server = server.context("the server is not on this machine")?;
        let cores = std::thread::available_parallelism()?.get();
        ensure!(cores > 1, "there is one core only");
        let apart = Self { server, cores };
        apart.keep(0..cores / 2, cores / 2..cores)?;
        Ok(apart)
    }

    fn keep(&self, server: Range<usize>, own: Range<usize>) -> anyhow::Result<()> {
        for pid in family(&self.server) {
            keep_on(&pid, &server)?;
        }
        keep_on(&std::process::id().to_string(), &own)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // What can't be undone ends with the server.
        let _ = self.keep(0..self.cores, 0..self.cores);
    }
}

/// Keeps all threads of a process on these cores.
fn keep_on(pid: &str, cores: &Range<usize>) -> anyhow::Result<()> {
    let list = format!("{}-{}", cores.start, cores.end - 1);
    let said = Command::new("taskset")
        .args(["-acp", &list, pid])
        .output()?;
    let complaint = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "taskset: {}", complaint.trim());
    Ok(())
}

/// Measures work.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    backend: Option<i32>,
}

impl Meter {
    /// Watches the server too that has a child of this number on this machine.
    pub(crate) fn beside(backend: i32) -> Self {
        let backend = Some(backend);
        Self { backend }
    }

    pub(crate) fn time(
        &self,
        times: &mut Vec<Took>,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let server = || self.backend.map(server_of);
        let (begun, own_before, server_before) = (Instant::now(), own(), server());
        work()?;
        times.push(Took {
            wall: begun.elapsed(),
            own: own().saturating_sub(own_before),
            server: server()
                .zip(server_before)
                .map(|(now, before)| now.saturating_sub(before)),
        });
        Ok(())
    }
}

/// The fields of `/proc/<pid>/stat` from the third on; `None` where there is no such process, or no
/// Linux.
fn stat(pid: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second is a name in brackets, which may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn ticks(stat: &[String], fields: std::ops::RangeInclusive<usize>) -> u32 {
    let fields = stat.get(fields).unwrap_or_default();
    fields
        .iter()
        .filter_map(|each| each.parse::<u32>().ok())
        .sum()
}

/// User and system time; with those of its children that have ended.
fn used(stat: &[String]) -> u32 {
    ticks(stat, 11..=14)
}

/// Of this process, so far.
fn own() -> Duration {
    let used = stat("self").map_or(0, |stat| ticks(&stat, 11..=12));
    TICK * used
}

fn parent(stat: &[String]) -> Option<String> {
    stat.get(1).cloned()
}

/// Of the server that has a child called `backend` on this machine, and of all its children.
fn server_of(backend: i32) -> Duration {
    let Some(server) = stat(&backend.to_string()).as_deref().and_then(parent) else {
        return Duration::ZERO;
    };
    let spent = family(&server)
        .into_iter()
        .filter_map(|pid| Some(used(&stat(&pid)?)));
    TICK * spent.sum::<u32>()
}

/// A process and its children.
fn family(server: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| {
        let pid = process.file_name().into_string().ok()?;
        let is_number = pid.bytes().all(|byte| byte.is_ascii_digit());
        let is_child = || stat(&pid).as_deref().and_then(parent).as_deref() == Some(server);
        (is_number && (pid == server || is_child())).then_some(pid)
    });
    pids.collect()
}
