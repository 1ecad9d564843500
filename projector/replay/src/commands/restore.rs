//! `restore`: everything back from the log after a store was lost.
//!
//! A store that holds no versions of a projection, or not the current one, has lost it. The database, the
//! control tables and a revision of its versions are made, with the current one being built: projectors
//! that run leave it alone, and query-api answers nothing from it. Then it is built as any version is,
//! and projectors go on from there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cartwright_event_log::TopicPartition;
use cartwright_event_log::kafka::KafkaLog;
use cartwright_events::Timestamp;
use cartwright_projector::{Plan, connect};
use cartwright_read_model::tables::PARKED;
use cartwright_read_model::versions::{State, Versions};
use cartwright_read_model::{PROJECTIONS, ParkedRow, Projection, Row, declaration};
use serde::Serialize;

use super::damage::look_for_damage;
use super::drive::{Built, build_version};
use crate::audit::Finding;
use crate::context::{Context, known};
use crate::exit::Exit;
use crate::output::table;
use crate::reached::{Missing, missing};
use crate::reading;
use crate::registry::Home;

/// How often a version that projectors feed is looked at.
const POLL: Duration = Duration::from_millis(500);
/// Rows told to people; programs get up to a thousand.
const TOLD: usize = 10;

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these projections. Default: all.
    projections: Vec<String>,
    /// Partitions read at a time.
    #[arg(long, default_value_t = 4)]
    parallel: usize,
    /// Hold every row of what is there against the log, and look for rows that are missing or that no event
    /// made, which takes as long as reading both. Without it, tables are found that are empty and should not
    /// be.
    #[arg(long)]
    rows: bool,
    /// How long to wait for what projectors feed to hold what the log holds now, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait_s: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether every projection holds every record that the log held at `as_of`.
    complete: bool,
    as_of: Timestamp,
    /// Whether the database was not there.
    database_made: bool,
    seconds: f64,
    projections: Vec<Restored>,
}

#[derive(Debug, Serialize)]
struct Restored {
    projection: &'static str,
    version: u32,
    state: &'static str,
    store: &'static str,
    /// Whether it was built by this run; otherwise it was there.
    built: bool,
    /// By its positions.
    events: u64,
    /// Records that wait because they cannot be folded.
    parked: usize,
    /// Partitions of which something is missing.
    missing: Vec<Missing>,
    missing_tables: Vec<String>,
    /// Tables that are empty although the log says that they hold rows.
    emptied_tables: Vec<&'static str>,
    /// Rows that were held against the log, and those that are not what it says.
    rows_checked: u64,
    wrong_rows: Vec<Finding>,
    errors: Vec<String>,
    /// Whether tables are missing that were written to: nobody makes them anew.
    #[serde(skip)]
    gone: bool,
}

/// What is asked of one projection.
struct Wanted<'a> {
    home: Home<'a>,
    ends: BTreeMap<TopicPartition, u64>,
    built: bool,
    errors: Vec<String>,
}

/// Brings back what is lost, waits until the rest has caught up, and says how it all stands.
///
/// # Errors
/// An unknown projection, or what the stores and the log say.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let (begun, as_of) = (Instant::now(), Timestamp::now());
    let projections: Vec<&'static Projection> = match arguments.projections.as_slice() {
        [] => PROJECTIONS.to_vec(),
        names => names
            .iter()
            .map(|name| known(name))
            .collect::<Result<_, _>>()?,
    };
    let log = context.log()?;
    // Before anything is there that a worker could write its position to.
    let groups = log.groups()?;
    let database_made = context.wait(connect::make_database(&context.settings))?;
    let mut wanted = Vec::with_capacity(projections.len());
    for projection in projections {
        let home = Home::open(context, projection.name)?;
        begin(context, &home, &groups)?;
        wanted.push(Wanted {
            ends: reading::ends(&log, projection)?,
            home,
            built: false,
            errors: Vec::new(),
        });
    }
    for each in &mut wanted {
        build(context, each, arguments.parallel)?;
    }
    let deadline = Instant::now() + Duration::from_secs(arguments.wait_s);
    let mut restored = Vec::with_capacity(wanted.len());
    for each in wanted {
        let mut held = until_held(context, &log, each, deadline)?;
        if held.is_complete() {
            let home = Home::open(context, held.projection)?;
            let damage = look_for_damage(context, home, &log, held.version, arguments.rows)?;
            held.emptied_tables = damage.emptied_tables;
            held.rows_checked = damage.rows_checked;
            held.wrong_rows = damage.wrong_rows;
        }
        restored.push(held);
    }
    let report = Report {
        complete: restored.iter().all(Restored::is_complete),
        as_of,
        database_made,
        seconds: (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        projections: restored,
    };
    context.output.result(&report, text);
    Ok(exit(&report))
}

/// Begins the versions of a projection whose store holds none, or not the current one.
fn begin(context: &Context, home: &Home<'_>, groups: &[(String, usize)]) -> anyhow::Result<()> {
    let known = home.find()?;
    if known.as_ref().is_some_and(has_current) {
        return Ok(());
    }
    // Groups were looked at before: a worker that was no member then writes nothing more.
    let positioned = context.wait(home.control.positioned(home.projection))?;
    let used = running(home.projection, groups).chain(positioned);
    let used = used.chain(known.as_ref().map(|versions| versions.highest));
    let number = Versions::first_number(home.projection, used);
    let now = Timestamp::now();
    let label = home.label(number);
    let begun = match known {
        None => home.begin(&Versions::begin_anew(home.projection, number, now))?,
        Some(_) => match home.change(|known| known.begin_again(home.projection, number, now)) {
            Ok(_) => true,
            Err(_) if has_current(&home.versions()?) => false,
            Err(error) => return Err(error),
        },
    };
    match begun {
        true => context
            .output
            .remark(format!("{label} is built from the log")),
        false => context
            .output
            .remark(format!("somebody else has begun {}", home.projection.name)),
    }
    Ok(())
}

fn has_current(versions: &Versions) -> bool {
    versions.get(versions.current).is_some()
}

/// The versions of a projection that somebody works for.
fn running(projection: &Projection, groups: &[(String, usize)]) -> impl Iterator<Item = u32> {
    groups
        .iter()
        .filter_map(|(name, _)| Plan::version_of_group(projection, name))
}

fn build(context: &Context, wanted: &mut Wanted<'_>, parallel: usize) -> anyhow::Result<()> {
    let versions = wanted.home.versions()?;
    let current = versions.get(versions.current);
    if current.is_some_and(|version| version.state == State::Building) {
        match build_version(context, &wanted.home, versions.current, parallel)? {
            Built::Here(report) => {
                wanted.built = report.finished;
                wanted.errors = report.errors;
            }
            Built::Elsewhere(builder) => {
                let (label, pid) = (wanted.home.label(versions.current), builder.pid);
                context
                    .output
                    .remark(format!("{label} is being built by process {pid} already"));
            }
        }
    }
    Ok(())
}

/// Waits until the current version holds what is wanted; a version that projectors feed moves on
/// without us.
fn until_held(
    context: &Context,
    log: &KafkaLog,
    wanted: Wanted<'_>,
    deadline: Instant,
) -> anyhow::Result<Restored> {
    let home = &wanted.home;
    let bar = context.output.bar(home.projection.name);
    bar.set_length(wanted.ends.values().sum());
    loop {
        let versions = home.versions()?;
        let current = versions.get(versions.current);
        let current = current.context("the current version is not one of the versions")?;
        let positions = home.positions(current.number)?;
        let missing = missing(log, &positions, context.generation(), &wanted.ends)?;
        let declared = declaration(home.projection.name, current.declared);
        let declared = declared.unwrap_or(home.projection);
        let tables = home.control.missing_tables(declared, current.number);
        let missing_tables = context.wait(tables)?;
        // Tables come before positions; where there are positions only, nobody makes tables.
        let begun = positions.iter().any(|(_, at)| at.next_offset > 0);
        let gone = begun && !missing_tables.is_empty();
        let is_settled = missing.is_empty() && current.state == State::Live;
        if is_settled || gone || Instant::now() >= deadline {
            bar.finish_and_clear();
            let key = [home.projection.name.into(), current.number.into()];
            let rows = context.wait(home.control.rows(&PARKED, &key))?;
            // Of a partition that is still empty in this log, pointers into the one before may be there.
            let waits = |row: &&Row| ParkedRow::waiting(row, context.generation()).is_some();
            return Ok(Restored {
                projection: home.projection.name,
                version: current.number,
                state: current.state.word(),
                store: home.projection.store.name(),
                built: wanted.built,
                events: positions.iter().map(|(_, position)| position.seq).sum(),
                parked: rows.iter().filter(waits).count(),
                missing,
                missing_tables,
                emptied_tables: Vec::new(),
                rows_checked: 0,
                wrong_rows: Vec::new(),
                errors: wanted.errors,
                gone,
            });
        }
        let behind: u64 = missing.iter().map(|each| each.end - each.next_offset).sum();
        bar.set_position(wanted.ends.values().sum::<u64>().saturating_sub(behind));
        bar.set_message(format!("{behind} records behind, waiting for a projector"));
        std::thread::sleep(POLL);
    }
}

impl Restored {
    fn is_complete(&self) -> bool {
        self.state == State::Live.word()
            && self.missing.is_empty()
            && self.missing_tables.is_empty()
            && !self.is_damaged()
    }

    /// Whether it has lost what its positions say that it holds.
    fn is_damaged(&self) -> bool {
        self.gone || !self.emptied_tables.is_empty() || !self.wrong_rows.is_empty()
    }
}

fn exit(report: &Report) -> Exit {
    let any = |is: fn(&Restored) -> bool| report.projections.iter().any(is);
    if any(Restored::is_damaged) {
        Exit::Refused
    } else if !report.complete {
        Exit::Unfinished
    } else if any(|each| each.parked > 0) {
        Exit::Warned
    } else {
        Exit::Done
    }
}

fn text(report: &Report) -> String {
    let Report { as_of, seconds, .. } = report;
    let head = match report.complete {
        true => format!(
            "everything is there: {} projections hold every record that the log held at {as_of}; \
             {seconds} s",
            report.projections.len()
        ),
        false => format!("NOT everything is there of what the log held at {as_of}; {seconds} s"),
    };
    let rows: Vec<Vec<String>> = report.projections.iter().map(cells).collect();
    let header = ["version", "store", "state", "", "events", "parked"];
    let mut text = format!("{head}\n\n{}\n", table(&header, &rows));
    for each in &report.projections {
        let name = each.projection;
        for missing in &each.missing {
            text.push_str(&format!(
                "\n{name}: {}[{}] is at {} of {}: does a projector run?",
                missing.topic, missing.partition, missing.next_offset, missing.end
            ));
        }
        let damage = match (
            each.missing_tables.as_slice(),
            each.emptied_tables.as_slice(),
        ) {
            ([], []) if each.wrong_rows.is_empty() => None,
            ([], []) => {
                let told = each.wrong_rows.iter().take(TOLD);
                let told: Vec<&str> = told.map(|wrong| wrong.detail.as_str()).collect();
                let count = each.wrong_rows.len();
                let told = told.join("\n  ");
                Some(format!(
                    "{count} rows are not what the log says:\n  {told}\n "
                ))
            }
            ([], emptied) => Some(format!(
                "{} is empty although the log says that it holds rows:",
                emptied.join(", ")
            )),
            (missing, _) if each.gone => Some(format!(
                "{} is gone although its positions are there:",
                missing.join(", ")
            )),
            (missing, _) => {
                let missing = missing.join(", ");
                text.push_str(&format!("\n{name}: {missing} is not there yet"));
                None
            }
        };
        if let Some(damage) = damage {
            text.push_str(&format!(
                "\n{name}: {damage} `replay start {name}`, then `replay flip {name} --force`"
            ));
        }
        for error in &each.errors {
            text.push_str(&format!("\n{name}: {error}"));
        }
        if each.parked > 0 {
            text.push_str(&format!(
                "\n{name}: {} records are parked: `replay parked list {name}`",
                each.parked
            ));
        }
    }
    text
}

fn cells(restored: &Restored) -> Vec<String> {
    vec![
        format!("{}@{}", restored.projection, restored.version),
        restored.store.to_owned(),
        restored.state.to_owned(),
        match restored.built {
            true => "built".to_owned(),
            false => "was there".to_owned(),
        },
        restored.events.to_string(),
        restored.parked.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections::{ORDERS, SALES};

    use super::*;

    #[test]
    fn who_works_for_a_version_is_known_by_the_group() {
        let groups = [
            ("cartwright-projector-orders-v3".to_owned(), 1),
            ("cartwright-projector-orders-v1".to_owned(), 2),
            ("cartwright-allocator".to_owned(), 1),
        ];
        assert_eq!(running(&ORDERS, &groups).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(running(&SALES, &groups).count(), 0);
    }
}
