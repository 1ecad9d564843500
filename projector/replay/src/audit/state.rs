//! The file that a watch is kept in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
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

/// Replaces the file at once: one that was cut off would be worse than an old one.
///
/// # Errors
/// When it cannot be written.
pub fn save(file: &Path, watch: &Watch) -> anyhow::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let text = serde_json::to_vec(watch)?;
    fs::write(&new, text).with_context(|| new.display().to_string())?;
    fs::rename(&new, file).with_context(|| file.display().to_string())
}
