//! `plan`: what building a version would read and write.

use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Start, TopicPartition};
use serde::Serialize;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::exit::Exit;
use crate::output::table;
use crate::registry::Home;

/// Records of each partition that are read for the estimate.
const SAMPLE: usize = 5_000;
const POLL: Duration = Duration::from_millis(500);

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
}

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
    /// Rows of the current version.
    rows: u64,
    /// What the new version will take in its store, from the current one's rows.
    disk_bytes: u64,
    /// From how fast the sample was read and folded; the store may be slower.
    least_seconds: f64,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Partition {
    topic: String,
    partition: u32,
    records: u64,
    bytes: u64,
}

/// Estimates a build from a sample of the log and the current version's rows.
///
/// # Errors
/// An unknown projection, or a store or a log that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let versions = home.versions()?;
    let (log, codec) = (context.log()?, context.codec()?);
    let (mut partitions, mut seconds) = (Vec::new(), 0.0);
    for stream in home.projection.streams {
        for number in 0..log.partition_count(stream.topic())? {
            let at = TopicPartition::new(stream.topic(), number);
            let begun = Instant::now();
            let mut reader = log.reader(ReaderPurpose::Recovery)?;
            let (low, high) = reader.watermarks(&at)?;
            reader.assign(&[(at.clone(), Start::Beginning)])?;
            let (mut read, mut bytes) = (0_u64, 0_u64);
            while (read as usize) < SAMPLE && reader.position(&at)? < high {
                let records = reader.poll(SAMPLE, POLL)?;
                for record in &records {
                    read += 1;
                    let value = record.value.as_deref().unwrap_or_default();
                    bytes += (record.key.as_ref().map_or(0, Vec::len) + value.len()) as u64;
                    // Decoding is what costs time.
                    let _ = codec.decode_event(*stream, value);
                }
            }
            let records = high.saturating_sub(low);
            let whole = records as f64 / read.max(1) as f64;
            seconds += begun.elapsed().as_secs_f64() * whole.max(1.0);
            partitions.push(Partition {
                topic: at.topic.to_string(),
                partition: number,
                records,
                bytes: (bytes as f64 * whole) as u64,
            });
        }
    }
    let current = versions.get(versions.current);
    let plan = current.map(|current| home.plan(current)).transpose()?;
    let (mut rows, mut disk_bytes) = (0_u64, 0_u64);
    for table in plan.map_or(home.projection.tables, |plan| plan.projection.tables) {
        context.wait(home.control.scan(table, versions.current, &mut |row| {
            rows += 1;
            let cells = serde_json::to_vec(&row.values).map_or(0, |json| json.len());
            disk_bytes += cells as u64;
        }))?;
    }
    let number = versions.next_number(home.projection);
    let tables = home.projection.tables.iter();
    let planned = Planned {
        projection: home.projection.name,
        current: versions.current,
        next_version: number,
        fold_version: home.projection.fold_version,
        tables: tables.map(|table| table.physical_name(number)).collect(),
        records: partitions.iter().map(|each| each.records).sum(),
        log_bytes: partitions.iter().map(|each| each.bytes).sum(),
        rows,
        disk_bytes,
        least_seconds: (seconds * 10.0).round() / 10.0,
        partitions,
    };
    context.output.result(&planned, text);
    Ok(Exit::Done)
}

fn text(planned: &Planned) -> String {
    let rows: Vec<Vec<String>> = planned
        .partitions
        .iter()
        .map(|each| {
            vec![
                format!("{}[{}]", each.topic, each.partition),
                each.records.to_string(),
                each.bytes.to_string(),
            ]
        })
        .collect();
    format!(
        "{name}@{next} beside {name}@{current}, fold version {fold}\nreads {records} records, \
         about {log_bytes} bytes, in {seconds} s or more\nwrites about {rows} rows, {disk} bytes, to \
         {tables}\n\n{table}",
        name = planned.projection,
        next = planned.next_version,
        current = planned.current,
        fold = planned.fold_version,
        records = planned.records,
        log_bytes = planned.log_bytes,
        seconds = planned.least_seconds,
        rows = planned.rows,
        disk = planned.disk_bytes,
        tables = planned.tables.join(", "),
        table = table(&["partition", "records", "bytes"], &rows),
    )
}
