//! Driving a build: what `start` and `resume` do once a version is registered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cartwright_event_log::TopicPartition;
use cartwright_events::{PositionToken, Stream, Timestamp};
use cartwright_projector::{Limits, Plan};
use cartwright_read_model::builds::Builder;
use cartwright_read_model::versions::{Build, State, Version};
use cartwright_sinks::Sink;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::builder::{forget_builder, living_builder, say};
use crate::build::{self, Board, Cut, PartitionProgress, Phase, Rate, Signal, Work};
use crate::context::Context;
use crate::exit::Exit;
use crate::given_up::{carry_over, with_given_up};
use crate::registry::Home;

/// How often a build says how it stands and looks what it is to do.
const ROUND: Duration = Duration::from_secs(1);
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

/// Builds a registered version to its end, or until it is cancelled or stopped by a signal, and
/// says what it came to.
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
    if let Some(other) = living_builder(context, home, number)? {
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
    let done = supervised(context, home, version, &me, &board, parallel)?;
    let versions = match done {
        true => {
            finish(context, home, version, &me, &board)?;
            home.change(|versions| versions.built(number))?
        }
        false => home.versions()?,
    };
    forget_builder(context, home, number)?;
    let version = versions.get(number);
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
    let cut = |at: &TopicPartition| cut_at(&build, at);
    let sink = || -> Box<dyn Sink> { context.stores.rebuild_sink(&plan) };
    let work = Work {
        partitions: build::partitions(&log, &plan, cut)?,
        log,
        codec: context.codec()?,
        plan,
        limits: limits(context),
        sink: &sink,
        parallel,
        rate: build.max_rate.map(|rate| Arc::new(Rate::new(rate))),
    };
    if build.paused {
        board.tell(Signal::Hold);
    }
    let bar = bar(context, &work);
    std::thread::scope(|scope| {
        let building = scope.spawn(|| build::run(&work, board));
        while !building.is_finished() {
            if let Err(error) = round(context, home, version.number, me, board) {
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
        let _ = say(context, home, version.number, me, board);
        built.map_err(|_| anyhow::anyhow!("building has ended in a panic"))
    })
}

/// One round: say how it stands, and hear what is to be done.
fn round(
    context: &Context,
    home: &Home<'_>,
    number: u32,
    me: &Builder,
    board: &Board,
) -> anyhow::Result<()> {
    say(context, home, number, me, board)?;
    let versions = home.versions()?;
    let version = versions
        .get(number)
        .filter(|version| version.state == State::Building);
    board.tell(match version.map(|version| version.build.as_ref()) {
        None => Signal::Stop,
        Some(Some(build)) if build.paused => Signal::Hold,
        Some(_) => Signal::Go,
    });
    Ok(())
}

/// What remains to be done when all rows are there: keys and indexes, which may take as long as the
/// rows did. It goes on saying that somebody builds.
fn finish(
    context: &Context,
    home: &Home<'_>,
    version: &Version,
    me: &Builder,
    board: &Board,
) -> anyhow::Result<()> {
    let plan = home.plan(version)?;
    let mut sink = context.stores.sink(&plan);
    std::thread::scope(|scope| {
        let finishing = scope.spawn(move || sink.prepare());
        while !finishing.is_finished() {
            // A store that does not answer now is the other thread's matter.
            let _ = say(context, home, version.number, me, board);
            let end = Instant::now() + ROUND;
            while Instant::now() < end && !finishing.is_finished() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        match finishing.join() {
            Ok(prepared) => prepared.map_err(Into::into),
            Err(_) => anyhow::bail!("making keys and indexes has ended in a panic"),
        }
    })
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

/// Where a build of a point in time ends in this partition.
pub(super) fn cut_at(build: &Build, at: &TopicPartition) -> Option<Cut> {
    let until = build.until.as_ref()?;
    if let Some(time) = until.time {
        return Some(Cut::Time(time.as_micros()));
    }
    let seq = until.ends.get(&place(&at.topic, at.partition))?;
    Some(Cut::Seq(*seq))
}

/// The seqs of a position, by partition.
#[must_use]
pub fn ends(token: &PositionToken) -> std::collections::BTreeMap<String, u64> {
    let seqs = token.seqs.iter();
    let place = |stream: Stream, partition| place(stream.topic(), partition);
    seqs.map(|(&(stream, partition), &seq)| (place(stream, partition), seq))
        .collect()
}

fn place(topic: &str, partition: u32) -> String {
    format!("{topic}-{partition}")
}

fn bar<L>(context: &Context, work: &Work<'_, L>) -> ProgressBar {
    if context.output.is_json() {
        return ProgressBar::hidden();
    }
    let offsets = work.partitions.iter().map(|(_, end)| end.offset);
    let bar = bar_style(ProgressBar::new(offsets.sum()));
    bar.set_prefix(work.plan.label());
    bar
}

/// The look of a bar that people watch.
pub fn bar_style(bar: ProgressBar) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{wide_bar}] {percent}% {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, board: &Board) {
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
