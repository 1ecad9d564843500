//! Driving a build: what `start` and `resume` do once a version is registered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cartwright_event_log::EventLog;
use cartwright_events::Timestamp;
use cartwright_projector::{Limits, Plan};
use cartwright_read_model::builds::Builder;
use cartwright_read_model::versions::{Build, State, Version};
use cartwright_sinks::Sink;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;

use super::builder::{forget, living_builder, say};
use super::finish::{ended_elsewhere, finish};
use crate::build::{self, Board, PartitionProgress, Phase, Rate, Signal, Work};
use crate::context::Context;
use crate::exit::Exit;
use crate::given_up::{carry_over, with_given_up};
use crate::registry::Home;

/// How often a build says how it stands and looks what it is to do.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// What a build came to.
#[derive(Debug, Serialize)]
pub struct Report {
    projection: &'static str,
    version: u32,
    state: &'static str,
    /// Whether it has read to the end.
    pub finished: bool,
    /// Records read.
    pub records: u64,
    dropped: u64,
    parked: u64,
    /// Records that were given up under the current version, and so in this one.
    given_up: u64,
    /// Row operations.
    pub rows: u64,
    seconds: f64,
    /// The most memory that this process held, where the system tells.
    peak_rss_bytes: Option<u64>,
    /// What stands in the way, by partition.
    pub errors: Vec<String>,
}

/// Builds a registered version to its end, or until it is cancelled, and says what it came to.
///
/// # Errors
/// As [`build_version`].
pub fn drive(
    context: &Context,
    home: &Home<'_>,
    number: u32,
    parallel: usize,
) -> anyhow::Result<Exit> {
    let report = match build_version(context, home, number, parallel)? {
        Built::Here(report) => report,
        Built::Elsewhere(builder) => {
            let value = json!({
                "projection": home.projection.name, "version": number, "finished": false,
                "builder_pid": builder.pid,
            });
            let (label, pid) = (home.label(number), builder.pid);
            context.output.result(&value, |_| {
                format!("{label} is being built by process {pid} already")
            });
            return Ok(Exit::Unfinished);
        }
    };
    context.output.result(&report, text);
    Ok(match report.finished {
        true => Exit::Done,
        false => Exit::Unfinished,
    })
}

/// What came of a wish to build.
pub enum Built {
    /// It was built here, as far as this says.
    Here(Report),
    /// Another process builds it already.
    Elsewhere(Builder),
}

/// The same without a word about the outcome.
///
/// # Errors
/// What stands in the way from the start; later it is told beside the progress, and waited for.
pub fn build_version(
    context: &Context,
    home: &Home<'_>,
    number: u32,
    parallel: usize,
) -> anyhow::Result<Built> {
    let versions = home.versions()?;
    let version = versions.get(number).context("the version is gone")?;
    let me = Builder {
        pid: std::process::id(),
        began_at: Timestamp::now(),
    };
    if let Some(other) = living_builder(home, number)? {
        return Ok(Built::Elsewhere(other));
    }
    let begun = Instant::now();
    let board = Board::default();
    let given_up = match number == versions.current {
        true => 0,
        false => carry_over(context, home, versions.current, number)?,
    };
    if given_up > 0 {
        let (from, to) = (home.label(versions.current), home.label(number));
        context.output.remark(format!(
            "{given_up} records that were given up under {from} are given up in {to} too"
        ));
    }
    let plan = home.plan(version)?;
    let done = supervised(context, home, version, &me, &board, parallel)?
        && finish(context, home, &plan, &me, &board, begun)?;
    let versions = home.versions()?;
    let version = versions.get(number);
    // Another process may have come to the end first; this one was told to stop then.
    let done = done || ended_elsewhere(version) == Some(true);
    match version {
        // Who cancelled it removes it too, but may have taken this process for dead before it had ended.
        None => context.wait(home.control.remove_version(plan.projection, number))?,
        Some(_) => forget(home, number, done)?,
    }
    let report = report(home, number, version, &board, done, begun);
    Ok(Built::Here(Report { given_up, ..report }))
}

/// Runs the build on threads of its own and tells it what the registry says.
fn supervised(
    context: &Context,
    home: &Home<'_>,
    version: &Version,
    me: &Builder,
    board: &Board,
    parallel: usize,
) -> anyhow::Result<bool> {
    let build = version.build.clone().unwrap_or_default();
    let plan = with_given_up(context, home, home.plan(version)?)?;
    let plan = with_keys(plan, &build);
    let log = context.log()?;
    let sink = || -> Box<dyn Sink> { context.stores.rebuild_sink(&plan) };
    let rate = Arc::new(Rate::new(build.max_rate));
    let work = Work {
        partitions: build::partitions_of(&log, &plan, &build)?,
        log,
        codec: context.codec()?,
        plan,
        limits: limits(context),
        sink: &sink,
        parallel,
        rate: Some(Arc::clone(&rate)),
    };
    if build.paused {
        board.tell(Signal::Hold);
    }
    // Before anybody asks whether it is done.
    board.begin(&work.partitions);
    let bar = context.output.bar(plan.label());
    std::thread::scope(|scope| {
        let building = scope.spawn(|| build::run(&work, board));
        scope.spawn(|| expect_ends(&work, board));
        while !building.is_finished() {
            if let Err(error) = round(home, version.number, me, board, &rate) {
                // The store that is built into may be the one that does not answer.
                bar.suspend(|| context.output.remark(format!("{error:#}")));
            }
            let end = Instant::now() + ROUND;
            while Instant::now() < end && !building.is_finished() {
                show(&bar, board);
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        bar.finish_and_clear();
        let built = building.join();
        let _ = say(home, version.number, me, board);
        built.map_err(|_| anyhow::anyhow!("building has ended in a panic"))
    })
}

/// Looks where a build of a point in time will end, for those who watch: until it is known, and where the log
/// does not tell, they see the log's end.
fn expect_ends<L: EventLog>(work: &Work<'_, L>, board: &Board) {
    let cut = work.partitions.iter().filter(|(_, end)| end.cut.is_some());
    for (at, end) in cut {
        if board.is_done() || board.signal() == Signal::Stop {
            return;
        }
        if let Ok(end) = build::first_beyond(&work.log, at, end) {
            board.expect(at, end);
        }
    }
}

/// One round: say how it stands, and hear what is to be done and how fast.
fn round(
    home: &Home<'_>,
    number: u32,
    me: &Builder,
    board: &Board,
    rate: &Rate,
) -> anyhow::Result<()> {
    say(home, number, me, board)?;
    let versions = home.versions()?;
    let version = versions.get(number);
    let Some(version) = version.filter(|version| version.state == State::Building) else {
        board.tell(Signal::Stop);
        return Ok(());
    };
    let build = version.build.as_ref();
    board.tell(match build.is_some_and(|build| build.paused) {
        true => Signal::Hold,
        false => Signal::Go,
    });
    rate.set(build.and_then(|build| build.max_rate));
    Ok(())
}

fn limits(context: &Context) -> Limits {
    Limits {
        max_records: 20_000,
        max_rows: 100_000,
        linger: Duration::from_secs(1),
        heartbeat: None,
        ..context.settings.projector.limits()
    }
}

/// The set lives as long as the process, which builds one version.
fn with_keys(plan: Plan, build: &Build) -> Plan {
    if build.only_keys.is_empty() {
        return plan;
    }
    let keys: BTreeSet<String> = build.only_keys.iter().cloned().collect();
    Plan {
        keys: Some(Box::leak(Box::new(keys))),
        ..plan
    }
}

pub(super) fn show(bar: &ProgressBar, board: &Board) {
    let partitions = board.partitions();
    let total: u64 = partitions.values().map(|each| each.end).sum();
    let behind: u64 = partitions.values().map(|each| each.behind).sum();
    let rate: f64 = partitions
        .values()
        .filter(|each| each.phase == Phase::Reading)
        .map(|each| each.records_per_s)
        .sum();
    bar.set_length(total);
    bar.set_position(total.saturating_sub(behind));
    let parked: u64 = partitions.values().map(|each| each.parked).sum();
    let error = partitions.iter().find_map(|(at, each)| {
        let error = each.error.as_ref()?;
        Some(format!(", {at}: {error}"))
    });
    let paused = match board.signal() {
        Signal::Hold => ", paused",
        _ => "",
    };
    let eta = match rate > 0.0 {
        true => format!("{:.0} s left", behind as f64 / rate),
        false => "waiting".to_owned(),
    };
    bar.set_message(format!(
        "{rate:.0} records/s, {eta}, {parked} parked{paused}{}",
        error.unwrap_or_default()
    ));
}

fn report(
    home: &Home<'_>,
    number: u32,
    version: Option<&Version>,
    board: &Board,
    finished: bool,
    begun: Instant,
) -> Report {
    let partitions = board.partitions();
    let sum = |of: fn(&PartitionProgress) -> u64| partitions.values().map(of).sum();
    let errors = partitions.iter().filter_map(|(at, each)| {
        let error = each.error.as_ref()?;
        Some(format!("{at}: {error}"))
    });
    Report {
        projection: home.projection.name,
        version: number,
        state: version.map_or("cancelled", |version| version.state.word()),
        finished,
        records: sum(|each| each.records),
        dropped: sum(|each| each.dropped),
        parked: sum(|each| each.parked),
        given_up: 0,
        rows: sum(|each| each.rows),
        seconds: (begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0,
        peak_rss_bytes: peak_rss_bytes(),
        errors: errors.collect(),
    }
}

fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn text(report: &Report) -> String {
    let Report {
        projection,
        version,
        state,
        records,
        rows,
        parked,
        seconds,
        ..
    } = report;
    let mut text = format!(
        "{projection}@{version} is {state}: {records} records read, {rows} row operations, \
         {parked} records parked, in {seconds} s"
    );
    for error in &report.errors {
        text.push_str(&format!("\n  {error}"));
    }
    text
}
