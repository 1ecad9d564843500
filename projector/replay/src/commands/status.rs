//! `status`: how versions stand, partition by partition.

use cartwright_events::Timestamp;
use cartwright_read_model::Projection;
use cartwright_read_model::versions::State;

use super::standing::{BETWEEN, Look, Partition, Standing, standing};
use crate::context::{Context, known};
use crate::exit::Exit;
use crate::output::table;
use crate::reading;
use crate::registry::Home;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection. Default: all.
    projection: Option<String>,
}

/// Tells how every version that is built or fed stands.
///
/// # Errors
/// An unknown projection, or a store or a log that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let wanted: Vec<&'static Projection> = match &arguments.projection {
        Some(name) => vec![known(name)?],
        None => cartwright_read_model::PROJECTIONS.to_vec(),
    };
    let mut looked = Vec::new();
    for projection in wanted {
        let home = Home::open(context, projection.name)?;
        let Some(versions) = home.find()? else {
            continue;
        };
        for version in versions.versions.clone() {
            if matches!(version.state, State::Retired | State::Retiring) {
                continue;
            }
            let before = home.positions(version.number)?;
            looked.push((projection, versions.clone(), version, before));
        }
    }
    std::thread::sleep(BETWEEN);
    let log = context.log()?;
    let mut standings = Vec::new();
    for (projection, versions, version, before) in looked {
        let home = Home::open(context, projection.name)?;
        let ends = reading::ends(&log, projection)?;
        let feeders = home.control.feeders(projection.name, version.number);
        let look = Look {
            log: &log,
            ends: &ends,
            before: &before,
            feeders: &context.wait(feeders)?,
            now: Timestamp::now(),
        };
        let mut standing = standing(context, &home, &versions, &version, &look)?;
        standing.add(look.feeders, look.now);
        standings.push(standing);
    }
    context
        .output
        .result(&standings, |standings| text(standings));
    Ok(Exit::Done)
}

fn text(standings: &[Standing]) -> String {
    let mut text = String::new();
    for standing in standings {
        let current = if standing.current { ", current" } else { "" };
        let paused = if standing.paused { ", paused" } else { "" };
        let builder = match (standing.state, standing.builder_pid) {
            ("building", Some(pid)) => format!(", by process {pid}"),
            ("building", None) => ", by nobody now: `replay resume` goes on".to_owned(),
            _ => String::new(),
        };
        let doing = match (&standing.phase, &standing.reason) {
            (Some(phase), Some(reason)) => format!(", {phase}: {reason}"),
            (Some(phase), None) => format!(", {phase}"),
            (None, _) => String::new(),
        };
        let Standing {
            projection,
            version,
            state,
            ..
        } = standing;
        text.push_str(&format!(
            "{projection}@{version}: {state}{current}{paused}{builder}{doing}\n"
        ));
        let rows: Vec<Vec<String>> = standing.partitions.iter().map(cells).collect();
        if !rows.is_empty() {
            let header = [
                "",
                "partition",
                "seq",
                "behind",
                "lag",
                "records/s",
                "eta",
                "parked",
                "fed by",
                "error",
            ];
            text.push_str(&table(&header, &rows));
            text.push_str("\n\n");
        }
    }
    text
}

fn cells(partition: &Partition) -> Vec<String> {
    vec![
        String::new(),
        format!("{}[{}]", partition.topic, partition.partition),
        partition.seq.to_string(),
        partition.behind.to_string(),
        partition
            .lag_s
            .map_or_else(String::new, |lag| format!("{lag:.1} s")),
        format!("{:.0}", partition.records_per_s),
        partition
            .eta_s
            .map_or_else(String::new, |eta| format!("{eta} s")),
        partition.parked.to_string(),
        partition
            .owner
            .as_ref()
            .map_or_else(String::new, |owner| owner.address.clone()),
        match (&partition.error, &partition.stuck) {
            (Some(error), _) => error.clone(),
            (None, Some(stuck)) => format!("stuck: {stuck}"),
            (None, None) => String::new(),
        },
    ]
}
