//! `start`: builds a version beside the others.

use anyhow::{Context as _, bail, ensure};
use cartwright_event_log::{EventLog, ReaderPurpose};
use cartwright_events::{PositionToken, Timestamp};
use cartwright_read_model::versions::{Build, State, Until, Version, Versions};
use cartwright_read_model::{Projection, declaration};
use serde::Serialize;

use super::drive::{drive, ends};
use super::finish::ended_elsewhere;
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
    /// name are read to where they end now), to be read with `?as_of=NAME`. A moment is one of the log's
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
    let (number, there) = register(&home, arguments, &build)?;
    match there.as_ref().map(|version| version.state) {
        None => {}
        Some(State::Building) => {
            if !there.is_some_and(|there| is_same(&there, &build)) {
                let label = home.label(number);
                bail!("{label} is being built of other records; `replay resume` goes on with it");
            }
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

/// The number of the version to build, and the version where it is there already; registers it where it is
/// not.
fn register(
    home: &Home<'_>,
    arguments: &Arguments,
    build: &Build,
) -> anyhow::Result<(u32, Option<Version>)> {
    loop {
        let versions = home.versions()?;
        let number = chosen(home.projection, &versions, arguments, build)?;
        if let Some(there) = versions.get(number) {
            return Ok((number, Some(there.clone())));
        }
        let declared = declared(home.projection, number, arguments.as_declared)?;
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

/// The number that was asked for, or that of the same build where it was begun or made, or the next one.
fn chosen(
    projection: &'static Projection,
    versions: &Versions,
    arguments: &Arguments,
    build: &Build,
) -> anyhow::Result<u32> {
    if let Some(number) = arguments.to_version {
        return Ok(number);
    }
    let next = versions.next_number(projection);
    let wanted = declared(projection, next, arguments.as_declared)?;
    let finished = || finished(versions, build, wanted).filter(|_| !arguments.again);
    let there = unfinished(versions, build, arguments.as_declared);
    Ok(there.or_else(finished).unwrap_or(next))
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

/// A build of the same kind that was begun and not finished: what a second start goes on with.
fn unfinished(versions: &Versions, build: &Build, as_declared: Option<u32>) -> Option<u32> {
    let mut building = versions.versions.iter().filter(|version| {
        version.state == State::Building
            && is_same(version, build)
            && as_declared.is_none_or(|declared| declared == version.declared)
    });
    building.next().map(|version| version.number)
}

/// The newest version that a build of the same kind has made, as `declared` says now, and that nobody has
/// switched to: what a second start finds done.
fn finished(versions: &Versions, build: &Build, declared: &Projection) -> Option<u32> {
    let identity = declared.identity();
    let made = versions.versions.iter().filter(|version| {
        let is_there = match version.state {
            State::Live => version.number > versions.current,
            State::Frozen => true,
            State::Building | State::Retiring | State::Retired => false,
        };
        is_there
            && is_same(version, build)
            && (version.declared, &version.identity) == (declared.version, &identity)
    });
    made.map(|version| version.number).max()
}

/// Whether a version is built of the same records.
fn is_same(version: &Version, build: &Build) -> bool {
    let of = version.build.as_ref();
    of.is_some_and(|of| (&of.until, &of.only_keys) == (&build.until, &build.only_keys))
}

/// What a new version is built by: what was asked for, the declaration of its number, or the newest.
pub(super) fn declared(
    projection: &'static Projection,
    number: u32,
    asked: Option<u32>,
) -> anyhow::Result<&'static Projection> {
    let name = projection.name;
    match asked {
        Some(version) => declaration(name, version)
            .with_context(|| format!("this code does not declare version {version} of {name}")),
        None => Ok(declaration(name, number).unwrap_or(projection)),
    }
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
        only_keys: arguments.only_keys.clone(),
        max_rate: arguments.max_rate.filter(|rate| *rate > 0),
        took: None,
    })
}

/// The point in time that `text` says, in the log of this `generation`. Not one that is to come: the view
/// would end where the log ends, and be taken for what it is not.
pub(super) fn point(
    text: &str,
    name: &str,
    generation: u32,
    now: Timestamp,
) -> anyhow::Result<Until> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
        bail!("--name must be 1 to 64 letters, digits, '-' and '_'");
    }
    let name = name.to_owned();
    if let Ok(token) = text.parse::<PositionToken>() {
        ensure!(
            token.generation == generation,
            "--until is a position in generation {} of the log, and this log is of generation {generation}",
            token.generation
        );
        return Ok(Until {
            name,
            time: None,
            ends: ends(&token),
        });
    }
    let time = text.parse::<Timestamp>().ok();
    let time = time.context("--until must be a time as RFC 3339 or a position token")?;
    ensure!(
        time <= now,
        "--until is after now, {now}: a view can be built only of what the log holds"
    );
    Ok(Until {
        name,
        time: Some(time),
        ends: [].into(),
    })
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections::{SALES, SALES_1};

    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn named(name: &str, second: i64) -> Build {
        Build {
            until: Some(Until {
                name: name.to_owned(),
                time: Some(Timestamp::from_micros(second * 1_000_000)),
                ends: [].into(),
            }),
            ..Build::default()
        }
    }

    fn begun(versions: &Versions, declared: &Projection, build: &Build) -> Versions {
        let number = versions.next_number(declared);
        let added = versions.add(declared, number, build.clone(), NOW);
        added.expect("begun")
    }

    fn built(versions: &Versions, declared: &Projection, build: &Build) -> Versions {
        let begun = begun(versions, declared, build);
        begun.built(begun.highest).expect("built")
    }

    #[test]
    fn a_second_start_goes_on_with_a_build_of_the_same_kind_or_finds_it_done() {
        let (whole, cut) = (Build::default(), named("then", 5));
        let slow = Build {
            max_rate: Some(9),
            ..Build::default()
        };
        let one = Versions::begin(&SALES, 2, NOW);
        assert_eq!(finished(&one, &whole, &SALES), None, "a projector began it");
        let building = begun(&begun(&one, &SALES, &cut), &SALES, &slow);
        assert_eq!(unfinished(&building, &whole, None), Some(4));
        assert_eq!(unfinished(&building, &cut, None), Some(3));
        assert_eq!(finished(&building, &whole, &SALES), None);
        let done = building.built(3).and_then(|each| each.built(4));
        let done = done.expect("built");
        assert_eq!(unfinished(&done, &whole, None), None);
        assert_eq!(finished(&done, &whole, &SALES), Some(4));
        assert_eq!(finished(&done, &cut, &SALES), Some(3));
        for other in [named("then", 6), named("now", 5)] {
            assert_eq!(finished(&done, &other, &SALES), None, "another cut");
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_build_that_another_tool_has_registered_meanwhile_is_gone_on_with() {
        let start = |line: &str| {
            let words = ["start", "sales"].into_iter().chain(line.split(' '));
            <Line as clap::Parser>::parse_from(words).arguments
        };
        let (whole, cut) = (Build::default(), named("then", 5));
        let one = Versions::begin(&SALES, 2, NOW);
        for (line, build) in [
            ("--parallel 4", &whole),
            ("--again", &whole),
            ("--to-version 3", &whole),
            ("--until 1970-01-01T00:00:05Z --name then", &cut),
        ] {
            let arguments = start(line);
            let choose = |versions| chosen(&SALES, versions, &arguments, build).expect("a number");
            let number = choose(&one);
            let other = one.add(&SALES, number, build.clone(), NOW).expect("begun");
            let refused = other.add(&SALES, number, build.clone(), NOW);
            assert!(refused.is_err(), "{line}: another one came first");
            assert_eq!(choose(&other), number, "{line}");
        }
    }

    #[test]
    fn a_point_in_time_is_one_of_this_log_and_not_to_come() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-03-01T10:00:00Z");
        let point = |text| point(text, "then", 2, now);
        let past = point("2026-03-01T10:00:00Z").expect("the present");
        assert_eq!(past.time, Some(now));
        let error = point("2026-03-01T10:00:01Z").expect_err("to come");
        assert!(error.to_string().contains("is after now"), "{error}");
        assert_eq!(point("g2:o0=7").expect("a position").ends.len(), 1);
        let error = point("g1:o0=7").expect_err("another log").to_string();
        let both = error.contains("generation 1 ") && error.ends_with("generation 2");
        assert!(both, "{error}");
    }

    #[test]
    fn what_was_switched_to_or_is_built_by_another_declaration_is_built_again() {
        let whole = Build::default();
        let one = Versions::begin(&SALES, 2, NOW);
        let mut older = built(&one, &SALES_1, &whole);
        assert_eq!(finished(&older, &whole, &SALES), None);
        assert_eq!(finished(&older, &whole, &SALES_1), Some(3));
        let changed = Projection {
            name: SALES_1.name,
            version: SALES_1.version,
            fold_version: SALES_1.fold_version + 9,
            store: SALES_1.store,
            streams: SALES_1.streams,
            tables: SALES_1.tables,
            differs: SALES_1.differs,
        };
        assert_eq!(finished(&older, &whole, &changed), None, "another fold");
        older.current = 3;
        assert_eq!(finished(&older, &whole, &SALES_1), None);
        let mut newer = built(&built(&older, &SALES, &whole), &SALES, &whole);
        assert_eq!(finished(&newer, &whole, &SALES), Some(5), "the newest");
        newer.current = 5;
        assert_eq!(finished(&newer, &whole, &SALES), None, "an older one");
    }
}
