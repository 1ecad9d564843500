//! `dry-run`: fold the whole log and write nothing.

use std::time::Instant;

use cartwright_projector::Plan;
use cartwright_read_model::PROJECTIONS;

use crate::context::Context;
use crate::dry_run::{Report, dry_run};
use crate::exit::Exit;
use crate::output::table;

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
    let plans = names
        .into_iter()
        .map(|name| Plan::named(name, context.generation()))
        .collect::<Result<Vec<_>, _>>()?;
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
    let mut text = format!(
        "{}\n\n{}\n\n{} records, {} problems",
        table(&["topic", "event", "schema", "records"], &types),
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
