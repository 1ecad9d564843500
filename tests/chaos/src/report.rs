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
use crate::history::Answers;
use crate::load::{BROKE, Load};
use crate::process::output_of;

/// Successes without which a verdict says nothing.
const ENOUGH: u64 = 100;
/// A fault in which a command can be expected to have a success.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
/// Such faults, below which one busy moment of the machine would decide.
const FEW: usize = 3;
/// The share of the run's mean rate of success that commands have to keep up in such a fault: little, since
/// what strikes the read side keeps the machine busy too.
const LEAST_SHARE: f64 = 0.1;
/// What the checker or the audit may take beyond the time that the run took.
const JUDGE_LIMIT: Duration = Duration::from_secs(600);
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

/// Whether nothing broke that no client would see, since another process goes on or a repeat is answered: no
/// shard found in its log what it must not write after, nobody panicked, and nobody answered that something
/// inside had failed.
pub(crate) fn nothing_broke(ground: &Ground, load: &Load) -> anyhow::Result<bool> {
    let mut found = ground.logged("refuses to serve")?;
    found.extend(ground.logged("panicked at")?);
    if !found.is_empty() {
        println!(
            "{} times a process refused its log or panicked:",
            found.len()
        );
        for line in found.iter().take(MOST_PRINTED) {
            println!("  {line}");
        }
    }
    let count = |reads| load.outcomes(reads).get(BROKE).copied().unwrap_or_default();
    let broke = count(false) + count(true);
    if broke > 0 {
        println!("{broke} answers said that something had broken inside");
    }
    Ok(found.is_empty() && broke == 0)
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
    let (Some(first), Some(last)) = (nemesis.struck.first(), nemesis.struck.last()) else {
        return true;
    };
    let mean = rate(&load.commands, first.from, last.to);
    let struck = nemesis.struck.iter();
    let alone: Vec<_> = struck
        .filter(|struck| struck.alone && struck.fault.spares_commands())
        .filter(|struck| struck.lasted >= LONG_ENOUGH)
        .collect();
    let served = alone
        .iter()
        .filter(|one| went_on(&load.commands, one.from, one.lasted, mean));
    let served = served.count();
    println!(
        "commands had success in {served} of {} faults that struck the read side alone for a while",
        alone.len()
    );
    alone.len() < FEW || served * 2 > alone.len()
}

/// Whether there was success in the second half of a fault: in the first one it may not have struck yet.
fn went_on(commands: &Answers, from: Instant, lasted: Duration, mean: f64) -> bool {
    rate(commands, from + lasted / 2, from + lasted) > LEAST_SHARE * mean
}

/// Successes a second.
fn rate(commands: &Answers, from: Instant, to: Instant) -> f64 {
    commands.count(from, to) as f64 / to.saturating_duration_since(from).as_secs_f64()
}

/// Has the history judged of a run that took `so_long`. Returns whether the verdict is clean.
pub(crate) async fn judge(
    ground: &Ground,
    python: &Path,
    so_long: Duration,
) -> anyhow::Result<bool> {
    let mut checker = Command::new(python);
    checker
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
        .kill_on_drop(true);
    let status = within(so_long + JUDGE_LIMIT, checker.status())
        .await
        .context("running the checker")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        other => anyhow::bail!("the checker ended with {other:?}"),
    }
}

/// Has the project's own audit look at the whole log and at every row of the read model. Returns whether
/// it found nothing. The run took `so_long`.
pub(crate) async fn audit(ground: &Ground, so_long: Duration) -> anyhow::Result<bool> {
    let mut audit = Command::new(ground.config.program("cartwright-replay"));
    audit
        .arg("--config")
        .arg(ground.tool_settings()?)
        .args(["--json", "audit", "--full", "--rows"])
        .kill_on_drop(true);
    let output = within(so_long + JUDGE_LIMIT, audit.output())
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

/// What a program comes to that has so long to end.
async fn within<T>(
    limit: Duration,
    running: impl Future<Output = std::io::Result<T>>,
) -> anyhow::Result<T> {
    let ended = tokio::time::timeout(limit, running).await;
    Ok(ended.with_context(|| format!("it has not ended within {limit:?}"))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_stop_with_a_fault_did_not_go_on() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let lasted = Duration::from_secs(4);
        let went_on = |tenths: std::ops::Range<u64>| {
            went_on(&Answers::at(tenths.map(at).collect()), start, lasted, 10.0)
        };
        assert!(went_on(0..40));
        assert!(went_on(30..33));
        // Before it struck for real, and one by chance.
        assert!(!went_on(0..15));
        assert!(!went_on(30..31));
        assert!(!went_on(0..0));
    }

    #[tokio::test]
    async fn a_checker_that_does_not_end_is_no_verdict() {
        let never = std::future::pending::<std::io::Result<()>>();
        let error = within(Duration::ZERO, never).await.unwrap_err();
        assert!(error.to_string().contains("has not ended"), "{error}");
    }
}
