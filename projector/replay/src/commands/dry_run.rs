//! `dry-run`: fold the whole log and write nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use cartwright_event_log::Record;
use cartwright_event_log::kafka::KafkaLog;
use cartwright_projector::Plan;
use cartwright_read_model::PROJECTIONS;
use cartwright_read_model::tables::OLDER;
use cartwright_read_model::versions::State;
use indicatif::ProgressBar;

use crate::context::Context;
use crate::dry_run::{Report, dry_run};
use crate::exit::Exit;
use crate::given_up::{given_up, without};
use crate::output::table;
use crate::reading;
use crate::registry::Home;

/// Records between two looks of those who watch.
const TELL_EVERY: u64 = 1_000;

/// Arguments of `dry-run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projections to fold for; none: all.
    projections: Vec<String>,
    /// Problems that are listed one by one; all are counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    max_problems: usize,
}

/// Folds the whole log; refused when any record no longer decodes, upcasts or folds, but for those that
/// were given up under the current version, as they would be in a version built now.
///
/// # Errors
/// An unknown projection, or a log or registry that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let names: Vec<&str> = match arguments.projections.is_empty() {
        true => PROJECTIONS.map(|each| each.name).to_vec(),
        false => arguments.projections.iter().map(String::as_str).collect(),
    };
    let mut plans = Vec::new();
    for name in names {
        let newest = Plan::named(name, context.generation())?;
        match Home::open(context, name).and_then(|home| stored(context, &home, newest)) {
            Ok(with_older) => plans.extend(with_older),
            Err(error) => {
                context.output.warn(format!(
                    "of {name} only the newest version is folded, and all of its records, since its \
                     store can't be asked what it has: {error:#}"
                ));
                plans.push(newest);
            }
        }
    }
    let (log, codec) = (context.log()?, context.codec()?);
    let mut progress = Progress::new(context, &log, &plans)?;
    let report = dry_run(&log, &codec, &plans, arguments.max_problems, |record| {
        progress.take(record);
    });
    progress.bar.finish_and_clear();
    let report = report?;
    context.output.result(&report, text);
    Ok(match report.problem_count {
        0 => Exit::Done,
        _ => Exit::Refused,
    })
}

/// A plan with what was given up under the current version, and those of the older declarations by which
/// versions were built that still have rows: their folds go on being used, so they have to go on working.
fn stored(context: &Context, home: &Home<'_>, newest: Plan) -> anyhow::Result<Vec<Plan>> {
    let Some(versions) = home.find()? else {
        return Ok(vec![newest]);
    };
    let given_up = given_up(context, home, versions.current)?;
    let there = versions.versions.into_iter();
    let there: BTreeSet<u32> = there
        .filter(|version| version.state != State::Retired)
        .map(|version| version.declared)
        .collect();
    let mut plans = vec![newest];
    for declared in OLDER {
        if declared.name == home.projection.name && there.contains(&declared.version) {
            plans.push(Plan::of(declared, declared.version, context.generation())?);
        }
    }
    let plans = plans.into_iter();
    Ok(plans.map(|plan| without(plan, given_up.clone())).collect())
}

/// How far the log is read, for people.
struct Progress {
    bar: ProgressBar,
    begun: Instant,
    records: u64,
    /// Offsets read, by topic and partition.
    read: BTreeMap<(Arc<str>, u32), u64>,
}

impl Progress {
    fn new(context: &Context, log: &KafkaLog, plans: &[Plan]) -> anyhow::Result<Self> {
        let mut ends = BTreeMap::new();
        for plan in plans {
            ends.extend(reading::ends(log, plan.projection)?);
        }
        let bar = context.output.bar("dry-run");
        bar.set_length(ends.values().sum());
        Ok(Self {
            bar,
            begun: Instant::now(),
            records: 0,
            read: BTreeMap::new(),
        })
    }

    fn take(&mut self, record: &Record) {
        self.records += 1;
        let place = (Arc::clone(&record.topic), record.partition);
        self.read.insert(place, record.offset + 1);
        if self.records.is_multiple_of(TELL_EVERY) {
            let rate = self.records as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
            self.bar.set_position(self.read.values().sum());
            self.bar.set_message(format!("{rate:.0} records/s"));
        }
    }
}

fn text(report: &Report) -> String {
    let types: Vec<Vec<String>> = report
        .types
        .iter()
        .map(|each| {
            vec![
                each.topic.to_owned(),
                each.event_type.clone(),
                each.schema_id.map_or("-".to_owned(), |id| id.to_string()),
                each.records.to_string(),
            ]
        })
        .collect();
    let folds: Vec<Vec<String>> = report
        .projections
        .iter()
        .map(|each| {
            vec![
                format!("{}@{}", each.projection, each.version),
                each.emitted.to_string(),
                each.row_operations.to_string(),
                each.dropped.to_string(),
                each.rejected.to_string(),
                each.given_up.to_string(),
            ]
        })
        .collect();
    let outcomes: Vec<Vec<String>> = report
        .outcomes
        .iter()
        .map(|each| {
            let mut cells = vec![
                each.projection.clone(),
                each.event_type.to_owned(),
                each.schema_id.map_or("-".to_owned(), |id| id.to_string()),
            ];
            let ends = &each.ends;
            let counts = [
                ends.emitted,
                ends.dropped,
                ends.rejected,
                ends.undecodable,
                ends.given_up,
            ];
            cells.extend(counts.map(|count| count.to_string()));
            cells
        })
        .collect();
    let header = [
        "declaration",
        "event",
        "schema",
        "emitted",
        "dropped",
        "rejected",
        "undecodable",
        "given up",
    ];
    let mut text = format!(
        "{}\n\n{}\n\n{}\n\n{} records, {} problems",
        table(&["topic", "event", "schema", "records"], &types),
        table(&header, &outcomes),
        table(
            &[
                "declaration",
                "emitted",
                "rows",
                "dropped",
                "rejected",
                "given up"
            ],
            &folds
        ),
        report.records,
        report.problem_count,
    );
    for problem in &report.problems {
        let at = format!("{}[{}]", problem.topic, problem.partition);
        let whose = problem.projection.unwrap_or("any");
        text += &format!(
            "\n{at} offset {} key {}: {} ({whose}): {}",
            problem.offset, problem.key, problem.stage, problem.reason
        );
    }
    text
}
