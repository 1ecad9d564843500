//! What a run came to, and who judges it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::faults::{Family, Fault, Nemesis, coordinator_moves, left_out};
use crate::ground::{Ground, RESULTS_REMEMBERED};
use crate::load::Load;
use crate::process::output_of;

/// Successes without which a verdict says nothing.
const ENOUGH: u64 = 100;
/// A fault in which a command can be expected to have a success.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
/// Such faults, below which one busy moment of the machine would decide.
const FEW: usize = 3;
/// Findings of a kind that are printed.
const MOST_PRINTED: usize = 40;
/// Reads without which it says nothing of them.
const ENOUGH_READ: u64 = 50;

/// The checker's own Python with what it needs, made once in the folder of downloads.
pub(crate) async fn prepare_checker(ground: &Ground, python: &str) -> anyhow::Result<PathBuf> {
    let requirements = ground
        .config
        .root
        .join("tests/chaos/checker/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("reading {}", requirements.display()))?;
    let folder = ground.config.cache_dir.join("checker");
    let (program, installed) = (folder.join("bin/python"), folder.join("installed"));
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(program);
    }
    println!("installing what the checker needs (once)");
    let mut make = Command::new(python);
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    output_of(make)
        .await
        .context("making a Python environment (Debian: apt-get install python3-venv)")?;
    let mut install = Command::new(&program);
    install.args(["-m", "pip", "install", "--quiet"]);
    install.args(["--disable-pip-version-check", "-r"]);
    install.arg(&requirements);
    output_of(install)
        .await
        .context("installing what the checker needs")?;
    fs::write(installed, wanted)?;
    Ok(program)
}

/// Faults of one kind.
#[derive(Default)]
struct Kind {
    count: u64,
    /// Without a success of anybody.
    gap: Duration,
    /// For one command.
    wait: Duration,
    /// Without a read that was answered from one of the stores.
    unread: Duration,
}

/// Prints faults by kind with the longest unavailability, and attempts by outcome.
pub(crate) fn print(ground: &Ground, load: &Load, nemesis: &Nemesis) -> anyhow::Result<()> {
    let mut kinds: BTreeMap<Fault, Kind> = BTreeMap::new();
    for struck in &nemesis.struck {
        let kind = kinds.entry(struck.fault).or_default();
        kind.count += 1;
        kind.gap = kind
            .gap
            .max(load.commands.longest_gap(struck.from, struck.to));
        kind.wait = kind.wait.max(load.longest_wait(struck.from, struck.to));
        let unread = load.longest_unread(struck.from, struck.to);
        kind.unread = kind.unread.max(unread);
    }
    println!("\n{} faults:", nemesis.struck.len());
    println!("        the longest, in seconds:");
    println!("  times  no success  one command  no read");
    for (fault, kind) in &kinds {
        println!(
            "{:>7}  {:>10.1}  {:>11.1}  {:>7.1}  {}",
            kind.count,
            kind.gap.as_secs_f64(),
            kind.wait.as_secs_f64(),
            kind.unread.as_secs_f64(),
            fault.name()
        );
    }
    println!("by family:");
    for family in Family::ALL {
        let of_it = nemesis.struck.iter();
        let of_it = of_it.filter(|struck| struck.fault.family() == family);
        println!("{:>7}  {}", of_it.count(), family.name());
    }
    println!(
        "transaction coordinators moved {} times in all",
        coordinator_moves(ground)?
    );
    for (fault, why) in left_out(ground) {
        println!("left out, {why}: {fault}");
    }
    for (what, reads) in [("attempts", false), ("reads", true)] {
        println!("{what} by outcome:");
        for (outcome, count) in load.outcomes(reads) {
            println!("{count:>7}  {outcome}");
        }
    }
    if let (Some(first), Some(last)) = (nemesis.struck.first(), nemesis.struck.last()) {
        let seconds = (last.to - first.from).as_secs_f64();
        let rate = load.commands.count(first.from, last.to) as f64 / seconds;
        println!("{rate:>7.0}  successes a second, over {seconds:.0} s");
    }
    Ok(())
}

/// Whether no shard found in its log what it must not write after. Where one does another node goes on,
/// so that no client sees it.
pub(crate) fn no_shard_refused(ground: &Ground) -> anyhow::Result<bool> {
    let mut refused = Vec::new();
    for node in &ground.nodes {
        refused.extend(node.has_logged("refuses to serve")?);
    }
    if !refused.is_empty() {
        println!("{} times a shard refused its log:", refused.len());
        for line in refused.iter().take(MOST_PRINTED) {
            println!("  {line}");
        }
    }
    Ok(refused.is_empty())
}

/// Whether enough happened for a verdict to say anything.
pub(crate) fn enough(load: &Load, nemesis: &Nemesis) -> bool {
    let ok = |reads| load.outcomes(reads).get("ok").copied().unwrap_or_default();
    let (done, read) = (ok(false), ok(true));
    let enough = done >= ENOUGH && read >= ENOUGH_READ && !nemesis.struck.is_empty();
    if !enough {
        println!(
            "too little happened for a verdict: {done} successes, {read} reads, {} faults",
            nemesis.struck.len()
        );
    }
    enough
}

/// Whether commands went on while the read side alone was struck. A machine that is too busy stops them
/// now and then; if they waited for a store they would stand still in most of such faults.
pub(crate) fn commands_went_on(load: &Load, nemesis: &Nemesis) -> bool {
    let struck = nemesis.struck.iter();
    let alone: Vec<_> = struck
        .filter(|struck| struck.alone && struck.fault.spares_commands())
        .filter(|struck| struck.lasted >= LONG_ENOUGH)
        .collect();
    let went_on = |from: Instant, lasted| load.commands.count(from, from + lasted) > 0;
    let served = alone.iter().filter(|one| went_on(one.from, one.lasted));
    let served = served.count();
    println!(
        "commands had success in {served} of {} faults that struck the read side alone for a while",
        alone.len()
    );
    alone.len() < FEW || served * 2 > alone.len()
}

/// Has the history judged. Returns whether the verdict is clean.
pub(crate) async fn judge(ground: &Ground, python: &Path) -> anyhow::Result<bool> {
    let status = Command::new(python)
        .arg(ground.config.root.join("tests/chaos/checker/check.py"))
        .arg("--history")
        .arg(ground.history())
        .arg("--bootstrap")
        .arg(ground.layout.bootstrap())
        .arg("--registry")
        .arg(ground.registry_url()?)
        .arg("--query")
        .arg(ground.query_url()?)
        .arg("--remembered-s")
        .arg(RESULTS_REMEMBERED.as_secs().to_string())
        .kill_on_drop(true)
        .status()
        .await
        .context("running the checker")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        other => anyhow::bail!("the checker ended with {other:?}"),
    }
}

/// Has the project's own audit look at the whole log and at every row of the read model. Returns whether
/// it found nothing.
pub(crate) async fn audit(ground: &Ground) -> anyhow::Result<bool> {
    let output = Command::new(ground.config.program("cartwright-replay"))
        .arg("--config")
        .arg(ground.tool_settings()?)
        .args(["--json", "audit", "--full", "--rows"])
        .kill_on_drop(true)
        .output()
        .await
        .context("running the audit")?;
    let complained = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the audit said {}", complained.trim()))?;
    println!(
        "audit: {} records read, {} rows held against them: {} errors, {} warnings",
        told["records_read"], told["rows_checked"], told["errors"], told["warnings"]
    );
    // What is only told, such as money that is owed, is no finding.
    let findings = told["findings"].as_array().into_iter().flatten();
    let findings = findings.filter(|finding| finding["severity"] != "info");
    for finding in findings.take(MOST_PRINTED) {
        println!("FOUND  {finding}");
    }
    let rows = told["rows_checked"].as_u64().unwrap_or_default();
    ensure!(rows > 0, "the audit has looked at no row");
    Ok(output.status.success())
}
