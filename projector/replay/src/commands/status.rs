//! `status`: how versions stand, partition by partition.

use std::collections::BTreeMap;

use cartwright_event_log::TopicPartition;
use cartwright_event_log::kafka::KafkaLog;
use cartwright_events::Timestamp;
use cartwright_read_model::Projection;
use cartwright_read_model::versions::{State, Versions};

use super::standing::{BETWEEN, Look, Partition, Positions, Standing, standing};
use super::unknown::{self, Away, Told, exit, known};
use crate::context::{self, Context};
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

/// Tells how every version that is built or fed stands. A store that does not answer hides nothing of the
/// other.
///
/// # Errors
/// An unknown projection, or a log that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let wanted: Vec<&'static Projection> = match &arguments.projection {
        Some(name) => vec![context::known(name)?],
        None => cartwright_read_model::PROJECTIONS.to_vec(),
    };
    let mut away = Away::default();
    let looks = wanted.into_iter().map(|projection| {
        let home = away.open(context, projection);
        (projection, home.and_then(|home| first_look(&home)))
    });
    let looks: Vec<_> = looks.collect();
    std::thread::sleep(BETWEEN);
    let log = context.log()?;
    let mut told = Vec::new();
    for (projection, look) in looks {
        let ends = reading::ends(&log, projection)?;
        let standings = look.and_then(|look| second_look(context, &log, projection, look, &ends));
        match standings {
            Ok(standings) => told.extend(standings.into_iter().map(Told::Known)),
            Err(error) => told.push(Told::unknown(projection, &error)),
        }
    }
    context.output.result(&told, |told| text(told));
    Ok(exit(&told))
}

/// The versions of a projection, and the positions of those that are in use.
#[derive(Default)]
struct FirstLook {
    versions: Option<Versions>,
    before: BTreeMap<u32, Positions>,
}

fn first_look(home: &Home<'_>) -> anyhow::Result<FirstLook> {
    let Some(versions) = home.find()? else {
        return Ok(FirstLook::default());
    };
    let mut before = BTreeMap::new();
    for version in &versions.versions {
        if !matches!(version.state, State::Retired | State::Retiring) {
            before.insert(version.number, home.positions(version.number)?);
        }
    }
    Ok(FirstLook {
        versions: Some(versions),
        before,
    })
}

fn second_look(
    context: &Context,
    log: &KafkaLog,
    projection: &'static Projection,
    first: FirstLook,
    ends: &BTreeMap<TopicPartition, u64>,
) -> anyhow::Result<Vec<Standing>> {
    let Some(versions) = first.versions else {
        return Ok(Vec::new());
    };
    let home = Home::open(context, projection.name)?;
    let mut standings = Vec::new();
    for version in &versions.versions {
        let Some(before) = first.before.get(&version.number) else {
            continue;
        };
        let feeders = home.control.feeders(projection.name, version.number);
        let look = Look {
            log,
            ends,
            before,
            feeders: &home.ask(feeders)?,
            now: Timestamp::now(),
        };
        let mut standing = standing(context, &home, &versions, version, &look)?;
        standing.add(look.feeders, look.now);
        standings.push(standing);
    }
    Ok(standings)
}

fn text(told: &[Told<Standing>]) -> String {
    let mut text = String::new();
    for standing in known(told) {
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
    text.push_str(&unknown::text(told));
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
