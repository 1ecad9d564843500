//! `plan`: what building a version would read and write, about.

use cartwright_event_log::TopicPartition;
use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::versions::{Build, Took, Versions};
use cartwright_read_model::{Projection, Store};
use serde::Serialize;

use super::start::declared;
use super::until::point;
use crate::build::{End, cut_at};
use crate::context::Context;
use crate::estimate::{self, Partition};
use crate::exit::Exit;
use crate::output::table;
use crate::reading;
use crate::registry::Home;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// As of `start`.
    #[arg(long, value_name = "N")]
    as_declared: Option<u32>,
    /// As of `start`: a moment of the log's time, or a position token.
    #[arg(long, value_name = "POSITION|TIME")]
    until: Option<String>,
    /// As of `start`.
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    only_keys: Vec<String>,
    /// As of `start`.
    #[arg(long, value_name = "RECORDS/S")]
    max_rate: Option<u32>,
    /// As of `start`.
    #[arg(long, default_value_t = 4)]
    parallel: usize,
}

/// Every figure of what is to come is an estimate.
#[derive(Debug, Serialize)]
struct Planned {
    projection: &'static str,
    current: u32,
    next_version: u32,
    fold_version: u32,
    tables: Vec<String>,
    /// Offsets, control records included.
    records: u64,
    /// Of keys and values, from a sample.
    log_bytes: u64,
    /// From the current version's rows; not known of some keys only.
    rows: Option<u64>,
    /// From what the current version's tables take for each of them.
    disk_bytes: Option<u64>,
    /// Reading and decoding alone, from a sample; writing comes on top, and indexes.
    read_seconds: f64,
    /// All of it, at the pace of an earlier build of the same projection; not known without one, or of some
    /// keys only.
    build_seconds: Option<f64>,
    /// The version whose build that was.
    paced_by: Option<u32>,
    partitions: Vec<Partition>,
}

/// Estimates a build from a sample of the log and the current version's rows.
///
/// # Errors
/// An unknown projection, a wrong argument, or a store or a log that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let versions = home.versions()?;
    let number = versions.next_number(home.projection);
    let declared = declared(home.projection, number, arguments.as_declared)?;
    let (generation, now) = (context.generation(), Timestamp::now());
    let until = arguments.until.as_deref();
    let build = Build {
        until: until
            .map(|until| point(until, "plan", generation, now))
            .transpose()?,
        only_keys: arguments.only_keys.clone(),
        ..Build::default()
    };
    let partitions = partitions(context, declared, &build)?;
    let records: u64 = partitions.iter().map(|each| each.records).sum();
    let ends = reading::ends(&context.log()?, declared)?;
    let offsets: u64 = partitions.iter().map(|each| each.offsets).sum();
    let part = (offsets as f64 / ends.values().sum::<u64>().max(1) as f64).min(1.0);
    let (mut rows, mut disk_bytes) = (None, None);
    if build.only_keys.is_empty() {
        let (all_rows, all_bytes) = size(context, &home, versions.current)?;
        rows = Some((all_rows as f64 * part) as u64);
        disk_bytes = Some((all_bytes as f64 * part) as u64);
    }
    let tables = declared.tables.iter();
    let events = home.events(versions.current)? as f64 * part;
    let max_rate = arguments.max_rate.filter(|rate| *rate > 0);
    let least = max_rate.map_or(0.0, |rate| events / f64::from(rate));
    let read = estimate::seconds(&partitions, arguments.parallel).max(least);
    let earlier = earlier(&versions).filter(|_| build.only_keys.is_empty());
    let planned = Planned {
        projection: declared.name,
        current: versions.current,
        next_version: number,
        fold_version: declared.fold_version,
        tables: tables.map(|table| table.physical_name(number)).collect(),
        records,
        log_bytes: partitions.iter().map(|each| each.bytes).sum(),
        rows,
        disk_bytes,
        read_seconds: tenths(read),
        build_seconds: earlier.map(|(_, took)| tenths(at_pace(took, events).max(read))),
        paced_by: earlier.map(|(number, _)| number),
        partitions,
    };
    let store = declared.store;
    context
        .output
        .result(&planned, |planned| text(planned, store));
    Ok(Exit::Done)
}

/// The newest version of which it is known what its build took.
fn earlier(versions: &Versions) -> Option<(u32, Took)> {
    let took = versions.versions.iter().filter_map(|version| {
        let took = version.build.as_ref()?.took?;
        Some((version.number, took))
    });
    took.max_by_key(|(number, _)| *number)
}

/// The seconds that so many events take at the pace of an earlier build.
fn at_pace(took: Took, events: f64) -> f64 {
    took.time_ms as f64 / 1_000.0 * events / took.events.max(1) as f64
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn partitions(
    context: &Context,
    declared: &Projection,
    build: &Build,
) -> anyhow::Result<Vec<Partition>> {
    let (log, codec) = (context.log()?, context.codec()?);
    let mut partitions = Vec::new();
    for (at, offset) in reading::ends(&log, declared)? {
        let Some(stream) = Stream::of_topic(&at.topic) else {
            continue;
        };
        let end = End {
            offset,
            cut: cut_at(build, &at),
        };
        let at: &TopicPartition = &at;
        partitions.push(estimate::partition(&log, &codec, stream, at, &end)?);
    }
    Ok(partitions)
}

/// The rows of a version, and the bytes that they take.
fn size(context: &Context, home: &Home<'_>, number: u32) -> anyhow::Result<(u64, u64)> {
    let versions = home.versions()?;
    let version = versions.get(number);
    let plan = version.map(|version| home.plan(version)).transpose()?;
    let (mut rows, mut bytes) = (0, 0);
    for table in plan.map_or(home.projection.tables, |plan| plan.projection.tables) {
        let (more_rows, more_bytes) = context.wait(home.control.size(table, number))?;
        rows += more_rows;
        bytes += more_bytes;
    }
    Ok((rows, bytes))
}

fn text(planned: &Planned, store: Store) -> String {
    let partitions = planned.partitions.iter().map(|each| {
        vec![
            format!("{}[{}]", each.topic, each.partition),
            each.records.to_string(),
            each.bytes.to_string(),
        ]
    });
    let writes = match (planned.rows, planned.disk_bytes, store) {
        (Some(rows), Some(bytes), Store::Postgres) => format!("{rows} rows, {bytes} bytes of disk"),
        (Some(rows), Some(bytes), Store::Cassandra) => {
            format!("{rows} rows, {bytes} bytes before what the store adds")
        }
        _ => "the rows of these keys".to_owned(),
    };
    let whole = match (planned.build_seconds, planned.paced_by) {
        (Some(seconds), Some(number)) => {
            let name = planned.projection;
            format!("the whole takes {seconds} s at the pace at which {name}@{number} was built")
        }
        _ => "writing comes on top".to_owned(),
    };
    format!(
        "{name}@{next} beside {name}@{current}, fold version {fold}; an estimate:\nreads {records} \
         records, {log_bytes} bytes, which takes {seconds} s; {whole}\nwrites {writes}, \
         to {tables}\n\n{table}",
        name = planned.projection,
        next = planned.next_version,
        current = planned.current,
        fold = planned.fold_version,
        records = planned.records,
        log_bytes = planned.log_bytes,
        seconds = planned.read_seconds,
        tables = planned.tables.join(", "),
        table = table(
            &["partition", "records", "bytes"],
            &partitions.collect::<Vec<_>>()
        ),
    )
}

#[cfg(test)]
mod tests {
    use cartwright_events::Timestamp;
    use cartwright_read_model::tables::projections::SALES;

    use super::*;

    #[test]
    fn a_build_is_estimated_at_the_pace_of_the_newest_whose_time_is_known() {
        let now = Timestamp::EPOCH;
        let built = |versions: &Versions, took| {
            let number = versions.next_number(&SALES);
            let added = versions.add(&SALES, number, Build::default(), now);
            added.and_then(|added| added.built_in(number, took))
        };
        let one = Versions::begin(&SALES, 1, now);
        assert_eq!(earlier(&one), None);
        let took = |time_ms| {
            let events = 1_000;
            Some(Took { events, time_ms })
        };
        let built_twice = built(&one, took(9_000)).and_then(|each| built(&each, took(4_000)));
        let and_slowly = built_twice.and_then(|each| built(&each, None));
        let (number, took) = earlier(&and_slowly.expect("built")).expect("known");
        assert_eq!(number, 3);
        assert_eq!(at_pace(took, 2_500.0), 10.0);
    }
}
