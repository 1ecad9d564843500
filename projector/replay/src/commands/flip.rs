//! `flip`, `rollback`, `retire`: which version is read.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cartwright_events::Timestamp;
use cartwright_read_model::control::Reader;
use cartwright_read_model::declaration;
use cartwright_read_model::versions::{FlipCheck, Refused, State, Versions};
use serde::Serialize;

use super::verify::other_than_current;
use crate::context::Context;
use crate::exit::Exit;
use crate::registry::Home;

const POLL: Duration = Duration::from_millis(200);
/// How much longer than a reader's own bound it is waited for, for what clocks differ.
const SKEW: Duration = Duration::from_secs(5);
/// A reader that has said nothing for so long is not coming back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Seconds that reads which have begun may take.
pub(super) const READS_S: u64 = 35;

/// Arguments of `flip` and `rollback`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// The version to read from now on. Default: for `flip` the live one that is not current, for
    /// `rollback` the one that was current before.
    #[arg(long, value_name = "N")]
    to_version: Option<u32>,
    /// Do it even though a rule does not hold; which one is recorded.
    #[arg(long)]
    force: bool,
    /// How old the verification may be, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    max_age_s: u64,
    /// How long to wait for the version to have read as far, and for readers to follow, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait_s: u64,
}

/// Arguments of `retire`.
#[derive(Debug, clap::Args)]
pub struct RetireArguments {
    /// The projection.
    projection: String,
    /// The version to take out of use.
    #[arg(long, value_name = "N")]
    version: u32,
    /// How long cursors of a version are good for after it was last current, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    cursors_s: u64,
    /// How long reads that have begun may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = READS_S)]
    reads_s: u64,
    /// How long to wait for cursors and readers together, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    wait_s: u64,
}

#[derive(Debug, Serialize)]
struct Flipped {
    projection: &'static str,
    from: u32,
    to: u32,
    revision: u64,
    forced: Option<String>,
    /// Readers that live, and those of them that follow already.
    readers: usize,
    following: usize,
}

#[derive(Debug, Serialize)]
struct RetiredReport {
    projection: &'static str,
    version: u32,
    state: &'static str,
}

/// Makes a verified version current.
///
/// # Errors
/// [`Refused`], or what the store said.
pub fn flip(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let versions = home.versions()?;
    let to = match arguments.to_version {
        Some(number) => number,
        None => other_than_current(&versions)?,
    };
    if to == versions.current {
        let flipped = Flipped {
            projection: home.projection.name,
            from: to,
            to,
            revision: versions.revision,
            forced: None,
            readers: 0,
            following: 0,
        };
        let label = home.label(to);
        context
            .output
            .result(&flipped, |_| format!("{label} is current already"));
        return Ok(Exit::Done);
    }
    switch(context, &home, arguments, to, true)
}

/// Makes the version current that was it before.
///
/// # Errors
/// [`Refused`], or what the store said.
pub fn rollback(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let versions = home.versions()?;
    let none = Refused::NoPrevious(versions.current);
    let to = arguments.to_version.or(versions.previous()).ok_or(none)?;
    switch(context, &home, arguments, to, false)
}

fn switch(
    context: &Context,
    home: &Home<'_>,
    arguments: &Arguments,
    to: u32,
    verified: bool,
) -> anyhow::Result<Exit> {
    let deadline = Instant::now() + Duration::from_secs(arguments.wait_s);
    let from = home.versions()?.current;
    let next = loop {
        // The new version's first: it only grows while the other's are read.
        let (ahead, current) = (home.positions(to)?, home.positions(from)?);
        let check = FlipCheck {
            current: &current,
            next: &ahead,
            verified,
            max_age: Duration::from_secs(arguments.max_age_s),
            now: Timestamp::now(),
        };
        let change = |versions: &Versions| versions.flip(to, &check, arguments.force);
        match home.change(change) {
            Ok(next) => break next,
            Err(error) => {
                let behind = error.downcast_ref::<Refused>();
                let passes = matches!(behind, Some(Refused::Behind { .. }));
                if !passes || Instant::now() >= deadline {
                    return Err(error);
                }
                std::thread::sleep(POLL);
            }
        }
    };
    let serves = |reader: &Reader| follows(reader, next.revision, to);
    let (readers, following) = until_followed(context, home, serves, deadline)?;
    // Of two changes made at the same moment Cassandra may tell both that they were taken.
    still_current(home, &home.versions()?, to)?;
    let flipped = Flipped {
        projection: home.projection.name,
        from,
        to,
        revision: next.revision,
        forced: next.switches.last().and_then(|each| each.forced.clone()),
        readers,
        following,
    };
    context.output.result(&flipped, text);
    Ok(match following == readers {
        true => Exit::Done,
        false => Exit::Unfinished,
    })
}

fn text(flipped: &Flipped) -> String {
    let Flipped {
        projection,
        from,
        to,
        readers,
        following,
        ..
    } = flipped;
    let forced = flipped.forced.as_ref();
    let forced = forced.map_or_else(String::new, |rule| format!("; forced although {rule}"));
    format!(
        "{projection}@{to} is current, {projection}@{from} before; \
         {following} of {readers} readers follow{forced}"
    )
}

/// Whether a reader answers from the version that was made current by `revision`.
const fn follows(reader: &Reader, revision: u64, to: u32) -> bool {
    reader.revision >= revision && reader.serves == to
}

fn still_current(home: &Home<'_>, versions: &Versions, to: u32) -> anyhow::Result<()> {
    if versions.current == to {
        return Ok(());
    }
    let (to, current) = (home.label(to), home.label(versions.current));
    bail!("{to} did not become current or is no longer: somebody else has made {current} current")
}

/// Waits until every reader that lives follows; answers how many live and do.
pub(super) fn until_followed(
    context: &Context,
    home: &Home<'_>,
    follows: impl Fn(&Reader) -> bool,
    deadline: Instant,
) -> anyhow::Result<(usize, usize)> {
    loop {
        let readers = context.wait(home.control.readers(home.projection.name))?;
        let alive: Vec<&Reader> = readers.iter().filter(|reader| is_alive(reader)).collect();
        let following = alive.iter().filter(|reader| follows(reader));
        let following = following.count();
        if following == alive.len() || Instant::now() >= deadline {
            return Ok((alive.len(), following));
        }
        std::thread::sleep(POLL);
    }
}

/// A reader that has said nothing for longer than its own bound answers nothing from these versions
/// any more.
fn is_alive(reader: &Reader) -> bool {
    let bound = Duration::from_millis(reader.pointer_max_age_ms) + SKEW;
    !is_silent(reader, bound, Timestamp::now())
}

fn is_silent(reader: &Reader, for_longer_than: Duration, now: Timestamp) -> bool {
    let silent_us = now.as_micros() - reader.seen_at.as_micros();
    i128::from(silent_us) > for_longer_than.as_micros() as i128
}

/// Removes what readers said of themselves that were killed, and so could not do it. One that comes
/// back after all says it again.
fn forget_the_dead(context: &Context, home: &Home<'_>) -> anyhow::Result<()> {
    let name = home.projection.name;
    let now = Timestamp::now();
    for reader in context.wait(home.control.readers(name))? {
        if is_silent(&reader, FORGOTTEN_AFTER, now) {
            context.wait(home.control.forget_reader(name, &reader.instance))?;
        }
    }
    Ok(())
}

/// Takes a version out of use and removes its tables, when nobody reads them any more.
///
/// # Errors
/// [`Refused`], readers that do not follow, or what the store said.
pub fn retire(context: &Context, arguments: &RetireArguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.wait_s);
    let number = arguments.version;
    let versions = home.versions()?;
    let version = versions.get(number).ok_or(Refused::Unknown(number))?;
    let declared = declaration(home.projection.name, version.declared);
    let declared = declared.context("this code does not declare that version any more")?;
    if version.state != State::Retired {
        let next = until_cursors_died(&home, arguments, deadline)?;
        let knows = |reader: &Reader| reader.revision >= next.revision && reader.serves != number;
        let (readers, following) = until_followed(context, &home, knows, deadline)?;
        if following < readers {
            let late = readers - following;
            bail!(
                "{late} of {readers} readers have not seen that {} goes; try again",
                home.label(number)
            );
        }
        forget_the_dead(context, &home)?;
        // Reads that began before are still answered from it.
        std::thread::sleep(Duration::from_secs(arguments.reads_s));
        context.wait(home.control.remove_version(declared, number))?;
        home.change(|versions| versions.retired(number))?;
    }
    let report = RetiredReport {
        projection: home.projection.name,
        version: number,
        state: State::Retired.word(),
    };
    context
        .output
        .result(&report, |_| format!("{} is retired", home.label(number)));
    Ok(Exit::Done)
}

fn until_cursors_died(
    home: &Home<'_>,
    arguments: &RetireArguments,
    deadline: Instant,
) -> anyhow::Result<Versions> {
    let grace = Duration::from_secs(arguments.cursors_s);
    loop {
        let retire =
            |versions: &Versions| versions.retire(arguments.version, grace, Timestamp::now());
        match home.change(retire) {
            Ok(next) => return Ok(next),
            Err(error) => {
                let refused = error.downcast_ref::<Refused>();
                let alive = matches!(refused, Some(Refused::CursorsAlive { .. }));
                if !alive || Instant::now() >= deadline {
                    return Err(error);
                }
                std::thread::sleep(POLL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_waited_for_while_it_may_answer_and_remembered_for_longer() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let reader = Reader {
            instance: "one".to_owned(),
            revision: 1,
            serves: 1,
            pointer_max_age_ms: 5_000,
            seen_at: at(10_000),
        };
        let bound = Duration::from_millis(5_000) + SKEW;
        assert!(!is_silent(&reader, bound, at(10_010)));
        assert!(is_silent(&reader, bound, at(10_011)));
        assert!(!is_silent(&reader, FORGOTTEN_AFTER, at(13_600)));
        assert!(is_silent(&reader, FORGOTTEN_AFTER, at(13_601)));
        assert!(!is_silent(&reader, bound, at(9_000)), "its clock is ahead");
    }

    #[test]
    fn a_reader_follows_when_it_answers_from_the_version() {
        let reader = Reader {
            instance: "one".to_owned(),
            revision: 7,
            serves: 3,
            pointer_max_age_ms: 5_000,
            seen_at: Timestamp::EPOCH,
        };
        assert!(follows(&reader, 7, 3));
        assert!(!follows(&reader, 8, 3), "it has not seen the change");
        assert!(!follows(&reader, 7, 2), "another change was taken");
    }
}
