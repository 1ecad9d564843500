//! What a run came to, and who judges it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::faults::{Fault, Nemesis};
use crate::ground::Ground;
use crate::load::Load;

/// The checker's own Python, with what it needs.
pub(crate) async fn prepare_checker(ground: &Ground, python: &str) -> anyhow::Result<PathBuf> {
    let folder = ground.config.state_dir.join("checker");
    let program = folder.join("bin/python");
    let requirements = ground
        .config
        .root
        .join("tests/chaos/checker/requirements.txt");
    let mut make = Command::new(python);
    make.args(["-m", "venv"]).arg(&folder);
    if !program.exists() {
        run(make).await.context("making a Python environment")?;
    }
    let mut install = Command::new(&program);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(requirements);
    run(install)
        .await
        .context("installing what the checker needs")?;
    Ok(program)
}

async fn run(mut command: Command) -> anyhow::Result<()> {
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(())
}

/// Prints faults by kind with the longest unavailability, and requests by outcome.
pub(crate) fn print(load: &Load, nemesis: &Nemesis) {
    let mut kinds: BTreeMap<Fault, (u64, Duration)> = BTreeMap::new();
    for struck in &nemesis.struck {
        let (count, longest) = kinds.entry(struck.fault).or_default();
        *count += 1;
        *longest = (*longest).max(struck.unavailable(load));
    }
    println!("\nfaults, and the longest time without any success around them:");
    for (fault, (count, longest)) in &kinds {
        println!(
            "{count:>6}  {:>5.1} s  {}",
            longest.as_secs_f64(),
            fault.name()
        );
    }
    println!("attempts by outcome:");
    for (outcome, count) in load.outcomes() {
        println!("{count:>6}  {outcome}");
    }
}

/// Whether enough happened for a verdict to say anything.
pub(crate) fn enough(load: &Load, nemesis: &Nemesis) -> bool {
    let ok = load.outcomes().get("ok").copied().unwrap_or_default();
    let enough = ok > 100 && !nemesis.struck.is_empty();
    if !enough {
        println!(
            "too little happened: {ok} successes, {} faults",
            nemesis.struck.len()
        );
    }
    enough
}

/// Has the history judged. Returns whether the verdict is clean.
pub(crate) async fn judge(ground: &Ground, python: &PathBuf) -> anyhow::Result<bool> {
    let status = Command::new(python)
        .arg(ground.config.root.join("tests/chaos/checker/check.py"))
        .arg("--history")
        .arg(ground.history())
        .arg("--bootstrap")
        .arg(ground.layout.bootstrap())
        .arg("--registry")
        .arg(ground.registry_url()?)
        .status()
        .await
        .context("running the checker")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        other => anyhow::bail!("the checker ended with {other:?}"),
    }
}
