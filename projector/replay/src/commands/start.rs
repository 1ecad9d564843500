//! `start`: builds a version beside the others.

mod number;

pub(super) use number::declared;

use cartwright_event_log::{EventLog, ReaderPurpose};
use cartwright_events::Timestamp;
use cartwright_read_model::Projection;
use cartwright_read_model::versions::{Build, State};
use serde::Serialize;

use self::number::{chosen, fits};
use super::drive::drive;
use super::finish::ended_elsewhere;
use super::until::point;
use crate::build::{check_held, log_ends};
use crate::context::Context;
use crate::exit::Exit;
use crate::reading;
use crate::registry::Home;

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// The number of the new version. Default: that of the build of the same kind that was begun and not
    /// finished, or finished and not switched to; without one, that of the newest declaration or the
    /// next free one.
    #[arg(long, value_name = "N")]
    to_version: Option<u32>,
    /// Build another version although one of the same kind is there that was not switched to.
    #[arg(long, conflicts_with = "to_version")]
    again: bool,
    /// Build what this version of the declaration says, under the next free number. Default: what
    /// `--to-version` says where that is declared, or else the newest.
    #[arg(long, value_name = "N")]
    as_declared: Option<u32>,
    /// Only records with these keys, for a trial that is never switched to.
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    only_keys: Vec<String>,
    /// Build the view as of a moment (RFC 3339) or of a position token (partitions that it does not
    /// name are read to where they end when the build is begun), to be read with `?as_of=NAME`. A moment is one of the log's
    /// time, at which the broker took a record, and not of the events' own: what was imported yesterday
    /// is of yesterday, whenever it is said to have occurred.
    #[arg(long, value_name = "POSITION|TIME", requires = "name")]
    until: Option<String>,
    /// The name of the point in time: letters, digits, `-` and `_`.
    #[arg(long, requires = "until")]
    name: Option<String>,
    /// Read at most so many records a second; 0: as fast as it can. Said of a build that was begun before,
    /// it counts from now on, also where another process builds; not said, that keeps its rate.
    #[arg(long, value_name = "RECORDS/S")]
    max_rate: Option<u32>,
    /// Partitions read at a time.
    #[arg(long, default_value_t = 4)]
    parallel: usize,
}

/// Registers the version where it is not there yet, and builds it. Run again, it goes on, or says that
/// the version is there.
///
/// # Errors
/// A wrong argument, a number that was used, or what the stores and the log say.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let build = asked_for(context, arguments)?;
    let (number, there) = register(context, &home, arguments, &build)?;
    match there {
        None => {}
        Some(State::Building) => {
            if arguments.max_rate.is_some()
                && let Err(error) = home.change(|versions| versions.pace(number, build.max_rate))
                // It may have come to its end just now.
                && ended_elsewhere(home.versions()?.get(number)) != Some(true)
            {
                return Err(error);
            }
        }
        Some(state) => {
            let there = There {
                projection: home.projection.name,
                version: number,
                state: state.word(),
                finished: true,
            };
            let label = home.label(number);
            let other = match arguments.to_version.is_none() && build.until.is_none() {
                true => "; --again builds another one",
                false => "",
            };
            context.output.result(&there, |there| {
                format!("{label} is {} already{other}", there.state)
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

/// The number of the version to build, and its state where it is there already; registers it where it is
/// not.
fn register(
    context: &Context,
    home: &Home<'_>,
    arguments: &Arguments,
    build: &Build,
) -> anyhow::Result<(u32, Option<State>)> {
    loop {
        let versions = home.versions()?;
        let number = chosen(home.projection, &versions, arguments, build)?;
        let declared = declared(home.projection, number, arguments.as_declared)?;
        if let Some(there) = versions.get(number) {
            let asked = (arguments.as_declared, declared);
            fits(&versions, there, build, asked)?;
            return Ok((number, Some(there.state)));
        }
        let mut build = build.clone();
        if let Some(until) = &build.until {
            let log = context.log()?;
            check_held(&log, declared, until)?;
            build.log_ends = log_ends(&log, declared)?;
        }
        let now = Timestamp::now();
        let added = home.change(|versions| versions.add(declared, number, build.clone(), now));
        match added {
            Ok(_) => return Ok((number, None)),
            // Somebody else has changed something first: the same build may be begun by now.
            Err(_) if home.versions()?.revision > versions.revision => {}
            Err(error) => return Err(error),
        }
    }
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
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    for (at, end) in reading::ends(log, projection)? {
        let first = reading::record_from(&mut reader, &at, 0, end)?;
        if first.is_some_and(|first| first.timestamp_us < time.as_micros()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn asked_for(context: &Context, arguments: &Arguments) -> anyhow::Result<Build> {
    Ok(Build {
        paused: false,
        until: match (&arguments.until, &arguments.name) {
            (Some(until), Some(name)) => {
                Some(point(until, name, context.generation(), Timestamp::now())?)
            }
            _ => None,
        },
        log_ends: [].into(),
        only_keys: arguments.only_keys.clone(),
        max_rate: arguments.max_rate.filter(|rate| *rate > 0),
        took: None,
    })
}
