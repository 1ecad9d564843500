//! `flip` and `rollback`: which version is read.

mod goal;

use std::time::{Duration, Instant};

use anyhow::bail;
use cartwright_events::Timestamp;
use cartwright_read_model::control::Reader;
use cartwright_read_model::versions::{FlipCheck, Refused, Versions};
use serde::Serialize;

use self::goal::Goal;
use super::readers::{POLL, until_followed};
use crate::context::Context;
use crate::exit::Exit;
use crate::registry::Home;

/// Arguments of `flip` and `rollback`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// The version to read from now on. Default: for `flip` the live one that is newer than the current
    /// one, for `rollback` the one that was current before. Where there is none, or the last switch was
    /// a rollback already, nothing is done.
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

/// Makes a verified version current.
///
/// # Errors
/// [`Refused`], or what the store said.
pub fn flip(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let to = match arguments.to_version {
        Some(number) => Some(number),
        None => newer_than_current(&home.versions()?)?,
    };
    match to {
        Some(to) => switch(context, &home, arguments, to, true),
        None => {
            let detail = "; no newer version is live, and an older one needs --to-version";
            already(context, &home, arguments, detail)
        }
    }
}

/// Makes the version current that was it before. Done already, it changes nothing.
///
/// # Errors
/// [`Refused`], or what the store said.
pub fn rollback(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let versions = home.versions()?;
    let to = match (arguments.to_version, versions.gone_back_from()) {
        (Some(number), _) => number,
        (None, Some(from)) => {
            let from = home.label(from);
            let detail = format!("; it was gone back to from {from}, and more needs --to-version");
            return already(context, &home, arguments, &detail);
        }
        (None, None) => {
            let none = Refused::NoPrevious(versions.current);
            versions.previous().ok_or(none)?
        }
    };
    switch(context, &home, arguments, to, false)
}

/// The live version that is newer than the current one, if there is one.
///
/// # Errors
/// There are several.
fn newer_than_current(versions: &Versions) -> anyhow::Result<Option<u32>> {
    match versions.newer().as_slice() {
        [] => Ok(None),
        [number] => Ok(Some(*number)),
        several => bail!("several newer versions are live: {several:?}; say --to-version"),
    }
}

fn deadline(arguments: &Arguments) -> Instant {
    Instant::now() + Duration::from_secs(arguments.wait_s)
}

/// Changes nothing, and waits for readers all the same: whoever switched may have been killed before they
/// followed.
fn already(
    context: &Context,
    home: &Home<'_>,
    arguments: &Arguments,
    detail: &str,
) -> anyhow::Result<Exit> {
    let versions = home.versions()?;
    let current = versions.current;
    let serves = |reader: &Reader| follows(reader, versions.revision, current);
    let (readers, following) = until_followed(home, serves, deadline(arguments))?;
    let flipped = Flipped {
        projection: home.projection.name,
        from: current,
        to: current,
        revision: versions.revision,
        forced: None,
        readers,
        following,
    };
    context.output.result(&flipped, |flipped| {
        let Flipped {
            readers, following, ..
        } = flipped;
        let label = home.label(current);
        format!("{label} is current already; {following} of {readers} readers follow{detail}")
    });
    Ok(exit(&flipped))
}

const fn exit(flipped: &Flipped) -> Exit {
    match flipped.following == flipped.readers {
        true => Exit::Done,
        false => Exit::Unfinished,
    }
}

fn switch(
    context: &Context,
    home: &Home<'_>,
    arguments: &Arguments,
    to: u32,
    verified: bool,
) -> anyhow::Result<Exit> {
    let deadline = deadline(arguments);
    let mut goal = None;
    let (from, next) = loop {
        let from = home.versions()?.current;
        let goal = Goal::of(&mut goal, from, Instant::now(), || home.positions(from))?;
        let ahead = home.positions(to)?;
        let check = FlipCheck {
            current: &goal.positions,
            next: &ahead,
            verified,
            max_age: Duration::from_secs(arguments.max_age_s),
            now: Timestamp::now(),
        };
        match home.change(|versions| goal.flip(versions, to, &check, arguments.force)) {
            Ok(next) => break (from, next),
            Err(error) => {
                let refused = error.downcast_ref::<Refused>();
                if matches!(refused, Some(Refused::IsCurrent(_))) {
                    return already(context, home, arguments, "");
                }
                let passes = matches!(
                    refused,
                    Some(Refused::Behind { .. } | Refused::Switched { .. })
                );
                if !passes || Instant::now() >= deadline {
                    return Err(error);
                }
                std::thread::sleep(POLL);
            }
        }
    };
    let serves = |reader: &Reader| follows(reader, next.revision, to);
    let (readers, following) = until_followed(home, serves, deadline)?;
    // Somebody else may have switched since.
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
    Ok(exit(&flipped))
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

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections::SALES;

    use super::*;

    #[test]
    fn what_is_switched_to_by_default_is_newer_than_what_is_current() {
        let now = Timestamp::EPOCH;
        let add = |versions: &Versions, number| {
            let added = versions.add(&SALES, number, Default::default(), now);
            added.and_then(|added| added.built(number)).expect("live")
        };
        let mut versions = add(&Versions::begin(&SALES, 1, now), 2);
        assert_eq!(newer_than_current(&versions).expect("one"), Some(2));
        versions.current = 2;
        assert_eq!(newer_than_current(&versions).expect("none"), None);
        versions = add(&add(&versions, 3), 4);
        assert!(newer_than_current(&versions).is_err(), "3 or 4");
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
