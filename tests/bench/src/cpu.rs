//! How long work takes, and the CPU time it uses: on a busy machine the latter says more.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

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

/// Of the server that has a child called `backend` on this machine, and of all its children.
fn server_of(backend: i32) -> Duration {
    let parent = |stat: &[String]| stat.get(1).cloned();
    let Some(server) = stat(&backend.to_string()).as_deref().and_then(parent) else {
        return Duration::ZERO;
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let family = processes.filter_map(|process| {
        let name = process.file_name();
        let pid = name
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
        let stat = stat(pid)?;
        (pid == server || parent(&stat).as_ref() == Some(&server)).then(|| used(&stat))
    });
    TICK * family.sum::<u32>()
}
