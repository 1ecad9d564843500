//! `dry-run`: fold the whole log and write nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use cartwright_projector::Plan;
use cartwright_read_model::PROJECTIONS;
use cartwright_read_model::tables::OLDER;
use cartwright_read_model::versions::State;

use crate::context::Context;
use crate::dry_run::{Report, dry_run};
use crate::exit::Exit;
use crate::output::table;
use crate::registry::Home;

/// Records between two lines of progress.
const TELL_EVERY: u64 = 250_000;

/// Arguments of `dry-run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projections to fold for; none: all.
    projections: Vec<String>,
    /// Problems that are listed one by one; all are counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    max_problems: usize,
}

/// Folds the whole log; refused when any record no longer decodes, upcasts or folds.
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
        plans.push(Plan::named(name, context.generation())?);
        plans.extend(older(context, name)?);
    }
    let (log, codec) = (context.log()?, context.codec()?);
    let begun = Instant::now();
    let report = dry_run(&log, &codec, &plans, arguments.max_problems, |records| {
        if records.is_multiple_of(TELL_EVERY) {
            let seconds = begun.elapsed().as_secs_f64();
            context
                .output
                .remark(format!("{records} records in {seconds:.1} s"));
        }
    })?;
    context.output.result(&report, text);
    Ok(match report.problem_count {
        0 => Exit::Done,
        _ => Exit::Refused,
    })
}

/// The older declarations of a projection by which versions were built that still have rows: their folds
/// go on being used, so they have to go on working.
fn older(context: &Context, name: &str) -> anyhow::Result<Vec<Plan>> {
    let versions = match Home::open(context, name).and_then(|home| home.find()) {
        Ok(versions) => versions,
        Err(error) => {
            context.output.warn(format!(
                "of {name} only the newest version is folded, since its store can't be asked for others: \
                 {error:#}"
            ));
            return Ok(Vec::new());
        }
    };
    let there = versions.into_iter().flat_map(|versions| versions.versions);
    let there: BTreeSet<u32> = there
        .filter(|version| version.state != State::Retired)
        .map(|version| version.declared)
        .collect();
    let mut plans = Vec::new();
    for declared in OLDER {
        if declared.name == name && there.contains(&declared.version) {
            plans.push(Plan::of(declared, declared.version, context.generation())?);
        }
    }
    Ok(plans)
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
            let counts = [ends.emitted, ends.dropped, ends.rejected, ends.undecodable];
            cells.extend(counts.map(|count| count.to_string()));
            cells
        })
        .collect();
    let header = [
        "projection",
        "event",
        "schema",
        "emitted",
        "dropped",
        "rejected",
        "undecodable",
    ];
    let mut text = format!(
        "{}\n\n{}\n\n{}\n\n{} records, {} problems",
        table(&["topic", "event", "schema", "records"], &types),
        table(&header, &outcomes),
        table(
            &["projection", "emitted", "rows", "dropped", "rejected"],
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
