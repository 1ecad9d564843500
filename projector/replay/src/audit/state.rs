//! The file that a watch is kept in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::watch::Watch;

/// What the file held the last time; an empty watch where there is none.
///
/// # Errors
/// A file that cannot be read, is no such file, or is of another log.
pub fn load(file: &Path, generation: u32) -> anyhow::Result<Watch> {
    if !file.exists() {
        return Ok(Watch::new(generation));
    }
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let watch: Watch = serde_json::from_str(&text)
        .with_context(|| format!("{} is no audit's state", file.display()))?;
    ensure!(
        watch.generation == generation,
        "{} is of generation {} of the log, this log is of generation {generation}: remove it",
        file.display(),
        watch.generation
    );
    Ok(watch)
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
