//! `start`: builds a version beside the others.

use anyhow::{Context as _, bail};
use cartwright_event_log::EventLog;
use cartwright_events::{PositionToken, Timestamp};
use cartwright_read_model::versions::{Build, State, Until, Versions};
use cartwright_read_model::{Projection, declaration};
use serde::Serialize;

use super::drive::{drive, ends};
use crate::context::Context;
use crate::exit::Exit;
use crate::reading;
use crate::registry::Home;

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// The number of the new version. Default: that of the newest declaration, or the next free one.
    #[arg(long, value_name = "N")]
    to_version: Option<u32>,
    /// Build what this version of the declaration says, under the next free number. Default: what
    /// `--to-version` says where that is declared, or else the newest.
    #[arg(long, value_name = "N")]
    as_declared: Option<u32>,
    /// Only records with these keys, for a trial that is never switched to.
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    only_keys: Vec<String>,
    /// Build the view as of a moment (RFC 3339) or of a position token (partitions that it does not
    /// name are read to where they end now), to be read with `?as_of=NAME`. A moment is one of the log's
    /// time, at which the broker took a record, and not of the events' own: what was imported yesterday
    /// is of yesterday, whenever it is said to have occurred.
    #[arg(long, value_name = "POSITION|TIME", requires = "name")]
    until: Option<String>,
    /// The name of the point in time: letters, digits, `-` and `_`.
    #[arg(long, requires = "until")]
    name: Option<String>,
    /// Read at most so many records a second.
    #[arg(long, value_name = "RECORDS/S")]
    max_rate: Option<u32>,
    /// Partitions read at a time.
    #[arg(long, default_value_t = 4)]
    parallel: usize,
}

/// Registers the version where it is not there yet, and builds it. Run again, it goes on.
///
/// # Errors
/// A wrong argument, a number that was used, or what the stores and the log say.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let build = asked_for(arguments)?;
    let versions = home.versions()?;
    let number = arguments
        .to_version
        .or_else(|| unfinished(&versions, &build, arguments.as_declared))
        .unwrap_or_else(|| versions.next_number(home.projection));
    match versions.get(number).map(|version| version.state) {
        None => {
            let declared = declared(&home, number, arguments.as_declared)?;
            let now = Timestamp::now();
            home.change(|versions| versions.add(declared, number, build.clone(), now))?;
        }
        Some(State::Building) => {}
        Some(state) => {
            let there = There {
                projection: home.projection.name,
                version: number,
                state: state.word(),
                finished: true,
            };
            let label = home.label(number);
            context.output.result(&there, |there| {
                format!("{label} is {} already", there.state)
            });
            return Ok(Exit::Done);
        }
    }
    if let Some(time) = build.until.as_ref().and_then(|until| until.time)
        && !holds_before(&context.log()?, home.projection, time)?
    {
        context.output.warn(format!(
            "the log holds nothing from before {time}, by its own time: the view will be empty"
        ));
    }
    drive(context, &home, number, arguments.parallel)
}

/// A version that needs no building.
#[derive(Debug, Serialize)]
struct There {
    projection: &'static str,
    version: u32,
    state: &'static str,
    finished: bool,
}

/// Whether the log took a record of the projection before `time`. Its times grow with its offsets, but
/// for what clocks do.
fn holds_before(
    log: &impl EventLog,
    projection: &Projection,
    time: Timestamp,
) -> anyhow::Result<bool> {
    for (at, end) in reading::ends(log, projection)? {
        let first = reading::first_record(log, &at, end)?;
        if first.is_some_and(|first| first.timestamp_us < time.as_micros()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A build of the same kind that was begun and not finished: what a second start goes on with.
fn unfinished(versions: &Versions, build: &Build, as_declared: Option<u32>) -> Option<u32> {
    let same = |other: &Build| other.until == build.until && other.only_keys == build.only_keys;
    let mut building = versions.versions.iter().filter(|version| {
        version.state == State::Building
            && version.build.as_ref().is_some_and(same)
            && as_declared.is_none_or(|declared| declared == version.declared)
    });
    building.next().map(|version| version.number)
}

/// What a new version is built by: what was asked for, the declaration of its number, or the newest.
pub(super) fn declared(
    home: &Home<'_>,
    number: u32,
    asked: Option<u32>,
) -> anyhow::Result<&'static Projection> {
    let name = home.projection.name;
    match asked {
        Some(version) => declaration(name, version)
            .with_context(|| format!("this code does not declare version {version} of {name}")),
        None => Ok(declaration(name, number).unwrap_or(home.projection)),
    }
}

fn asked_for(arguments: &Arguments) -> anyhow::Result<Build> {
    Ok(Build {
        paused: false,
        until: match (&arguments.until, &arguments.name) {
            (Some(until), Some(name)) => Some(point(until, name)?),
            _ => None,
        },
        only_keys: arguments.only_keys.clone(),
        max_rate: arguments.max_rate,
    })
}

pub(super) fn point(text: &str, name: &str) -> anyhow::Result<Until> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
        bail!("--name must be 1 to 64 letters, digits, '-' and '_'");
    }
    let name = name.to_owned();
    if let Ok(token) = text.parse::<PositionToken>() {
        return Ok(Until {
            name,
            time: None,
            ends: ends(&token),
        });
    }
    let time = text.parse::<Timestamp>().ok();
    let time = time.context("--until must be a time as RFC 3339 or a position token")?;
    Ok(Until {
        name,
        time: Some(time),
        ends: [].into(),
    })
}
