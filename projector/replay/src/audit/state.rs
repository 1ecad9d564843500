//! The file that a watch is kept in.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cartwright_events::Timestamp;
use serde::Deserialize;

use super::watch::Watch;

/// What tells whether the rest can be read.
#[derive(Deserialize)]
struct Head {
    /// Files of the first form do not tell theirs.
    #[serde(default)]
    format: u32,
    generation: u32,
}

/// How often it is looked whether another audit has ended.
const POLL: Duration = Duration::from_millis(100);

/// Keeps every other audit from the same file, for as long as this is there.
#[derive(Debug)]
#[must_use]
pub struct Held {
    _lock: File,
}

/// Waits until nobody else has the file, from before it is loaded until after it is saved: of two audits
/// at once, the one that saves first would be forgotten, with what an operator acknowledged in it.
///
/// What is locked is a file beside it, which stays: the file itself is replaced. The system lets go of it
/// when the process ends, however it does.
///
/// # Errors
/// When another one has it for longer than `wait`; names its process.
pub fn hold(file: &Path, wait: Duration) -> anyhow::Result<Held> {
    let beside = beside(file, ".lock");
    let named = || beside.display().to_string();
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut lock = options.open(&beside).with_context(named)?;
    let deadline = Instant::now() + wait;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(POLL);
            }
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&beside).unwrap_or_default();
                bail!(
                    "another audit has {} ({}): try again when it has ended, or give this one a file of \
                     its own",
                    file.display(),
                    holder.trim_end()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(named),
        }
    }
    // For whoever waits for it.
    lock.set_len(0).with_context(named)?;
    let (pid, now) = (std::process::id(), Timestamp::now());
    writeln!(lock, "process {pid}, since {now}").with_context(named)?;
    Ok(Held { _lock: lock })
}

/// What the file held the last time; an empty watch where there is none.
///
/// # Errors
/// A file that cannot be read, is no such file, is of another log, or was written by another version of
/// this tool.
pub fn load(file: &Path, generation: u32) -> anyhow::Result<Watch> {
    if !file.exists() {
        return Ok(Watch::new(generation));
    }
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let no_state = || format!("{} is no audit's state", file.display());
    let head: Head = serde_json::from_str(&text).with_context(no_state)?;
    ensure!(
        head.generation == generation,
        "{} is of generation {} of the log, this log is of generation {generation}: remove it",
        file.display(),
        head.generation
    );
    ensure!(
        head.format == Watch::FORMAT,
        "{} was written by another version of this tool: remove it, and the next audit reads the log from \
         its beginning",
        file.display(),
    );
    serde_json::from_str(&text).with_context(no_state)
}

/// Replaces the file at once: one that was cut off would be worse than an old one, also after the machine
/// has lost its power.
///
/// # Errors
/// When it cannot be written.
pub fn save(file: &Path, watch: &Watch) -> anyhow::Result<()> {
    let new = beside(file, ".new");
    let text = serde_json::to_vec(watch)?;
    write(&new, &text).with_context(|| new.display().to_string())?;
    fs::rename(&new, file).with_context(|| file.display().to_string())
}

fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(file)?;
    file.write_all(text)?;
    file.sync_all()
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
